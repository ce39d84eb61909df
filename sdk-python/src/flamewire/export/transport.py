"""How a body reaches the server: the interface, and its one real implementation on ``requests``."""

from __future__ import annotations

import contextlib
import email.utils
import encodings.idna  # noqa: F401 - resolving a host name imports it; that could dead-lock in a fork child
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from flamewire._version import __version__

if TYPE_CHECKING:
    import requests

    from flamewire.config import Options

__all__ = ["PUSH_PATH", "Answer", "RequestsTransport", "Transport", "TransportError", "open_session"]

PUSH_PATH: Final = "/push.v1.PusherService/Push"
_MAX_ANSWER_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said: HTTP status, words for people, and how long it asked to be left alone."""

    status: int
    words: str
    retry_after_s: float | None = None


class TransportError(Exception):
    """No answer came. ``connected`` tells whether a server was there at all."""

    def __init__(self, words: str, *, connected: bool) -> None:
        super().__init__(words)
        self.connected = connected


class Transport(Protocol):
    """Carries a gzipped PushRequest to the server."""

    def send(self, body: bytes, timeout_s: float) -> Answer:
        """Push once; blocks for up to about ``timeout_s`` for the connection and as long for each read.

        Raises:
            TransportError: no answer came.
        """

    def fresh(self) -> Transport:
        """Return a transport to the same server that shares no connection with this one. Imports nothing."""


class RequestsTransport:
    """Pushes over HTTP/1.1 with ``requests``; proxies and CA bundles come from the usual environment
    variables.

    ``requests`` is imported by the constructor, so on the thread that calls ``start()``: an import on a
    background thread could meet a lock that a fork left behind.
    """

    def __init__(self, options: Options) -> None:
        import requests

        self._requests = requests
        self._options = options
        self._url = options.server_url + PUSH_PATH
        self._session = open_session(options)

    def send(self, body: bytes, timeout_s: float) -> Answer:
        """Push once. Redirects are not followed, since they could carry credentials to another host."""
        requests = self._requests
        try:
            with (
                _untraced(),
                self._session.post(
                    self._url, data=body, timeout=timeout_s, allow_redirects=False, stream=True
                ) as response,
            ):
                text = response.raw.read(_MAX_ANSWER_BYTES, decode_content=True)
                return _answer(response, text)
        except requests.exceptions.ConnectTimeout as error:
            raise TransportError(_words(error, "no connection in time"), connected=False) from error
        except requests.exceptions.Timeout as error:
            raise TransportError(_words(error, "no answer in time"), connected=True) from error
        except requests.exceptions.ConnectionError as error:
            refused = isinstance(_root(error), ConnectionRefusedError)
            raise TransportError(_words(error, "no connection"), connected=not refused) from error
        except Exception as error:
            # urllib3 and ssl let some of their own errors through while the answer is read.
            raise TransportError(_words(error, "push failed"), connected=True) from error

    def fresh(self) -> RequestsTransport:
        """Return a new transport; in a fork child the old one's sockets belong to the parent."""
        return RequestsTransport(self._options)


def open_session(options: Options) -> requests.Session:
    """Return a session of ``requests`` that sends the headers and credentials of every push."""
    import requests

    session = requests.Session()
    session.headers.clear()
    session.headers.update(_headers(options))
    # An auth object of our own: otherwise requests looks into ~/.netrc and may replace the Authorization.
    session.auth = _authorize(options)
    return session


def _headers(options: Options) -> dict[str, str]:
    headers = {
        "User-Agent": f"flamewire-python/{__version__}",
        "Accept": "application/proto, application/json",
        "Content-Type": "application/proto",
        "Content-Encoding": "gzip",
        "Connection": "keep-alive",
    }
    if options.tenant_id is not None:
        headers["X-Scope-OrgID"] = options.tenant_id
    headers.update(options.http_headers)
    return headers


@contextlib.contextmanager
def _untraced() -> Iterator[None]:
    """Keep the push out of the host's traces, where it uses OpenTelemetry (SDK-038).

    This is what OpenTelemetry's own exporters do. Nothing is imported: without the module nobody traces.
    """
    context = sys.modules.get("opentelemetry.context")
    key = getattr(context, "_SUPPRESS_INSTRUMENTATION_KEY", None)
    if context is None or key is None:
        yield
        return
    token = context.attach(context.set_value(key, True))
    try:
        yield
    finally:
        context.detach(token)


class _authorize:  # noqa: N801 - requests calls it like a function
    def __init__(self, options: Options) -> None:
        from requests.auth import _basic_auth_str

        self._value: str | None = None
        if options.auth_token is not None:
            self._value = f"Bearer {options.auth_token}"
        elif options.basic_auth_user is not None and options.basic_auth_password is not None:
            user, password = options.basic_auth_user.encode(), options.basic_auth_password.encode()
            self._value = _basic_auth_str(user, password)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._value is not None:
            request.headers["Authorization"] = self._value
        return request


def _answer(response: requests.Response, body: bytes) -> Answer:
    words = response.reason or ""
    if response.is_redirect:
        words = (
            f"redirects to {response.headers.get('Location')}; set server_url to where the server really is"
        )
    elif response.status_code >= 400:
        words = _connect_message(body) or words
    return Answer(response.status_code, words, _retry_after_s(response.headers, time.time()))


def _connect_message(body: bytes) -> str:
    """Return code and message of a Connect error body, or the first words of any other body."""
    try:
        error = json.loads(body)
        return f"{error['code']}: {error.get('message', '')}"
    except (ValueError, TypeError, KeyError, AttributeError):
        return " ".join(body[:200].decode("utf-8", "replace").split())


def _retry_after_s(headers: Mapping[str, str], now_unix_s: float) -> float | None:
    """Read Retry-After in either form (RFC 9110, 10.2.3); None where it is absent or unreadable."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    if not text:
        return None
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now_unix_s)
    except ValueError:
        return None


def _root(error: BaseException) -> BaseException:
    """Return the operating system's error under those that requests and urllib3 wrapped around it."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        reason = getattr(error, "reason", None)
        inner = reason if isinstance(reason, BaseException) else error.__cause__ or error.__context__
        if inner is None and error.args and isinstance(error.args[0], BaseException):
            inner = error.args[0]
        if inner is None:
            break
        error = inner
    return error


def _words(error: BaseException, what: str) -> str:
    root = _root(error)
    return f"{what}: {type(root).__name__}: {root}" if str(root) else f"{what}: {type(root).__name__}"
