"""The WSGI application (PEP 3333)."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from flamewire.pull.questions import FULL, Pull, Reply, Seats, belongs_here, profile_reply, question
from flamewire.pull.recording import Recording

if TYPE_CHECKING:
    from flamewire.session import Session

__all__ = ["WsgiApp"]

_LOOK_S: Final = 0.25
# WSGI does not tell that a client has gone; these servers hand out the connection.
_SOCKETS: Final = ("gunicorn.socket", "werkzeug.socket")

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class WsgiApp:
    """Serves ``/debug/pprof/`` from a running session; a request keeps its worker for as long as it asks.

    Args:
        app: gets all requests but those for ``/debug/pprof`` and ``/debug/fgprof``; None: there are no
            others, and the application may be mounted under any path.
        session: which one; default the session of ``flamewire.start()``.
        max_seconds: longest profile that can be asked for.
        max_pulls: how many may wait at once; further ones are answered with 429.
    """

    def __init__(
        self,
        app: Application | None = None,
        *,
        session: Session | None = None,
        max_seconds: float = 60.0,
        max_pulls: int = 8,
    ) -> None:
        self._app = app
        self._session = session
        self._max_seconds = max_seconds
        self._seats = Seats(max_pulls)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        if self._app is not None and not belongs_here(path):
            return self._app(environ, start_response)
        method = environ.get("REQUEST_METHOD", "GET")
        query = environ.get("QUERY_STRING", "")
        asked = question(method, path, query, session=self._session, max_seconds=self._max_seconds)
        reply = self._record(asked, environ) if isinstance(asked, Pull) else asked
        start_response(reply.status, reply.all_headers)
        return [b"" if method == "HEAD" else reply.body]

    def _record(self, asked: Pull, environ: Environ) -> Reply:
        with self._seats.one() as seated:
            if not seated:
                return FULL
            recording = Recording(asked.session, asked.profile_type)
            recording.begin()
            try:
                if not _wait(asked.duration_s, environ):
                    return Reply("499 Client Closed Request", b"")
                return profile_reply(recording.end(), asked.profile_type)
            finally:
                recording.cancel()


def _wait(duration_s: float, environ: Environ) -> bool:
    """Wait, and return whether the client is still there, as far as the server lets one see."""
    connection = next((environ[name] for name in _SOCKETS if name in environ), None)
    end_s = time.monotonic() + duration_s
    while (left_s := end_s - time.monotonic()) > 0:
        if connection is not None and _is_gone(connection):
            return False
        time.sleep(min(left_s, _LOOK_S))
    return True


def _is_gone(connection: socket.socket) -> bool:
    with contextlib.suppress(OSError, ValueError):
        blocking = connection.gettimeout()
        connection.setblocking(False)
        try:
            return connection.recv(1, socket.MSG_PEEK) == b""
        finally:
            connection.settimeout(blocking)
    return False
