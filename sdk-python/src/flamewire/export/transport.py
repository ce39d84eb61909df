"""How a body reaches the server: the interface, and its one real implementation on ``requests``."""

from __future__ import annotations

import contextlib
import email.utils
import encodings.idna  # noqa: F401 - resolving a host name imports it; that could dead-lock in a fork child
import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from flamewire._version import __version__
from flamewire.export.wires import wire_of

if TYPE_CHECKING:
    import requests

    from flamewire.config import Options

__all__ = ["Answer", "RequestsTransport", "Transport", "TransportError", "open_session"]

_MAX_ANSWER_BYTES: Final = 64 * 1024
_USER_INFO: Final = re.compile(r"//[^/@\s]*@")
_SHORTEST_SECRET: Final = 4
"""A shorter one would blot out half of the words, and is none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said: HTTP status, words for people, and how long it asked to be left alone."""

    status: int
    words: str
    retry_after_s: float | None = None
    refusal: str = ""
    """Why a server that answered with success has not taken all."""


class TransportError(Exception):
    """No answer came. ``connected`` tells whether a server was there at all."""

    def __init__(self, words: str, *, connected: bool) -> None:
        super().__init__(words)
        self.connected = connected


class Transport(Protocol):
    """Carries a gzipped request to the server."""

    def send(self, body: bytes, timeout_s: float) -> Answer:
        """Push once; blocks for up to about ``timeout_s`` for the connection and as long for each read.

        Raises:
            TransportError: no answer came.
        """

    def fresh(self) -> Transport:
        """Return a transport to the same server that shares no connection with this one. Imports nothing."""


class RequestsTransport:
    """Pushes over HTTP/1.1 with ``requests``; where the options name no proxy and no CA bundle, the usual
    environment variables do.

    ``requests`` is imported by the constructor, so on the thread that calls ``start()``: an import on a
    background thread could meet a lock that a fork left behind.
    """

    def __init__(self, options: Options) -> None:
        import requests

        self._requests = requests
        self._options = options
        self._wire = wire_of(options)
        self._url = options.server_url + self._wire.path
        self._unsaid = _secrets(options)
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
                answer = _answer(response, text)
                refusal = self._wire.refusal(text) if answer.status < 300 else ""
                return replace(answer, words=self._without_secrets(refusal or answer.words), refusal=refusal)
        except requests.exceptions.ConnectTimeout as error:
            raise self._error(error, "no connection in time", connected=False) from error
        except requests.exceptions.Timeout as error:
            raise self._error(error, "no answer in time", connected=True) from error
        except requests.exceptions.ConnectionError as error:
            refused = isinstance(_root(error), ConnectionRefusedError)
            raise self._error(error, "no connection", connected=not refused) from error
        except Exception as error:
            # urllib3 and ssl let some of their own errors through while the answer is read.
            raise self._error(error, "push failed", connected=True) from error

    def fresh(self) -> RequestsTransport:
        """Return a new transport; in a fork child the old one's sockets belong to the parent."""
        return RequestsTransport(self._options)

    def _error(self, error: BaseException, what: str, *, connected: bool) -> TransportError:
        return TransportError(self._without_secrets(_words(error, what)), connected=connected)

    def _without_secrets(self, words: str) -> str:
        """Blot out credentials that a server or a proxy repeats (SDK-005)."""
        for secret in self._unsaid:
            words = words.replace(secret, "(secret)")
        return _USER_INFO.sub("//(secret)@", words)


def open_session(options: Options) -> requests.Session:
    """Return a session of ``requests`` with headers, credentials, proxy and certificates of every push."""
    import requests

    class OwnSession(requests.Session):
        """Lets the options outweigh the environment, which ``requests`` puts before a session's settings."""

        def merge_environment_settings(
            self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
        ) -> Any:
            merged: dict[str, Any] = {
                **super().merge_environment_settings(url, proxies, stream, verify, cert)
            }
            if options.proxy_url is not None:
                merged["proxies"] = {"http": options.proxy_url, "https": options.proxy_url}
            if options.ca_file is not None:
                merged["verify"] = options.ca_file
            if options.client_cert_file is not None:
                key = options.client_key_file
                merged["cert"] = options.client_cert_file if key is None else (options.client_cert_file, key)
            return merged

    session = OwnSession()
    session.headers.clear()
    session.headers.update(_headers(options))
    # An auth object of our own: otherwise requests looks into ~/.netrc and may replace the Authorization.
    session.auth = _authorize(options)
    return session


def _headers(options: Options) -> dict[str, str]:
    headers = {
        "User-Agent": f"flamewire-python/{__version__}",
        "Accept": "application/proto, application/json",
        "Content-Type": wire_of(options).content_type,
        "Content-Encoding": "gzip",
        "Connection": "keep-alive",
    }
    if options.tenant_id is not None:
        headers["X-Scope-OrgID"] = options.tenant_id
    headers.update(options.http_headers)
    return headers


def _secrets(options: Options) -> list[str]:
    given = [options.auth_token, options.basic_auth_password, *options.http_headers.values()]
    authorization = _authorize(options).value
    if authorization is not None:
        given.append(authorization.partition(" ")[2])
    return [secret for secret in given if secret is not None and len(secret) >= _SHORTEST_SECRET]


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

        self.value: str | None = None
        if options.auth_token is not None:
            self.value = f"Bearer {options.auth_token}"
        elif options.basic_auth_user is not None and options.basic_auth_password is not None:
            user, password = options.basic_auth_user.encode(), options.basic_auth_password.encode()
            self.value = _basic_auth_str(user, password)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self.value is not None:
            request.headers["Authorization"] = self.value
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
