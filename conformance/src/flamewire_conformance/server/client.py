"""Raw requests to a server, kept for the report."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from flamewire_conformance.errors import TesteeError

__all__ = ["Answered", "Client"]

_DEADLINE_S = 60.0
_KEPT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Answered:
    """One exchange with the server.

    Attributes:
        status: 0 where the server broke the connection instead of answering.
    """

    method: str
    path: str
    sent_headers: Mapping[str, str]
    sent: bytes
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON, an empty object where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return {}


@dataclass(slots=True)
class Client:
    """Asks one server; not for use by several threads.

    Args:
        url: of the server, with its path.
        headers: of every request, such as its credentials.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    exchanges: list[Answered] = field(default_factory=list)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Answered:
        """Send one request.

        Raises:
            TesteeError: there is no server, or it does not answer for a minute.
        """
        url = urlsplit(self.url)
        full = url.path.rstrip("/") + path + (f"?{urlencode(query)}" if query else "")
        sent = {**self.headers, **(headers or {})}
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=_DEADLINE_S)
        try:
            # It may answer before it has read all.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, full, body, sent)
            response = connection.getresponse()
            got = {name.lower(): value for name, value in response.getheaders()}
            answered = Answered(method, full, sent, body, response.status, got, response.read())
        except TimeoutError as error:
            raise TesteeError(f"the server did not answer {method} {path} in {_DEADLINE_S:.0f} s") from error
        except ConnectionRefusedError as error:
            raise TesteeError(f"nobody listens at {self.url}") from error
        except (OSError, http.client.HTTPException):
            answered = Answered(method, full, sent, body, 0, {}, b"")
        finally:
            connection.close()
        self.exchanges.append(answered)
        return answered

    def transcript(self) -> list[dict[str, object]]:
        """Return the exchanges as plain data."""
        return [
            {
                "request": {
                    "method": one.method,
                    "path": one.path,
                    "headers": dict(one.sent_headers),
                    "body": _text(one.sent),
                },
                "answer": {"status": one.status, "headers": dict(one.headers), "body": _text(one.body)},
            }
            for one in self.exchanges
        ]


def _text(body: bytes) -> str:
    try:
        return body[:_KEPT_BYTES].decode("utf-8")
    except UnicodeDecodeError:
        return body[:_KEPT_BYTES].hex()
