"""A push server for tests: real HTTP on a free port, scripted answers, everything recorded."""

from __future__ import annotations

import contextlib
import gzip
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sdk_support.pprof_reader import Push, read_push

DEADLINE_S = 120.0
HANG_S = 900.0


@dataclass(frozen=True)
class Reply:
    """One scripted answer. ``hang`` answers only when the server closes, ``reset`` cuts the connection,
    ``delay_s`` is how long the answer takes."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    hang: bool = False
    reset: bool = False
    delay_s: float = 0.0

    @property
    def acknowledges(self) -> bool:
        return 200 <= self.status < 300 and not self.hang and not self.reset


@dataclass(frozen=True)
class Request:
    client: tuple[str, int]
    path: str
    headers: dict[str, str]
    body: bytes
    monotonic_s: float
    unix_ns: int
    reply: Reply = Reply()

    @property
    def pushes(self) -> list[Push]:
        return read_push(gzip.decompress(self.body))


class PushServer:
    """Answers with the script's replies in order, then with ``fallback``.

    Args:
        script: the first answers.
        fallback: all further ones.
        tls: speak HTTPS with this.
        port: where to listen; default a free one.
    """

    def __init__(
        self,
        *script: Reply,
        fallback: Reply = Reply(),
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self.script = deque(script)
        self.fallback = fallback
        self._scheme = "https" if tls is not None else "http"
        self.requests: list[Request] = []
        self._connections: list[socket.socket] = []
        self._changed = threading.Condition()
        self._closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: Any) -> None:
                """A client that is killed in mid-request is what some tests are about."""

            def finish_request(self, request: Any, client_address: Any) -> None:
                outer._connections.append(request)
                # The handshake here and not at accept: a client that refuses us would end the server.
                if tls is None:
                    super().finish_request(request, client_address)
                    return
                with tls.wrap_socket(request, server_side=True) as secured:
                    super().finish_request(secured, client_address)

        self._server = Server(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def pushes(self) -> list[Push]:
        """Everything received, answered with success or not."""
        with self._changed:
            return [push for request in self.requests for push in request.pushes]

    @property
    def acknowledged(self) -> list[Push]:
        """What was answered with success."""
        with self._changed:
            requests = [request for request in self.requests if request.reply.acknowledges]
        return [push for request in requests for push in request.pushes]

    def wait_for(self, condition: Callable[[PushServer], bool], deadline_s: float = DEADLINE_S) -> None:
        end_s = time.monotonic() + deadline_s
        with self._changed:
            while not condition(self):
                left_s = end_s - time.monotonic()
                assert left_s > 0, f"still waiting after {deadline_s} s; {len(self.requests)} requests came"
                self._changed.wait(min(left_s, 0.5))

    def __enter__(self) -> PushServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        for connection in self._connections:  # those that are kept alive would be answered on
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(DEADLINE_S)

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        client = handler.client_address
        with self._changed:
            reply = self.script.popleft() if self.script else self.fallback
            came = (time.monotonic(), time.time_ns())
            self.requests.append(Request(client, handler.path, dict(handler.headers), body, *came, reply))
            self._changed.notify_all()
        if reply.delay_s:
            self._closing.wait(reply.delay_s)
        if reply.hang:
            self._closing.wait(HANG_S)
            handler.close_connection = True
            return
        if reply.reset:
            # Linger 0 makes close() send a reset instead of an orderly end.
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
            handler.close_connection = True
            return
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(reply.body)))
        handler.end_headers()
        handler.wfile.write(reply.body)
