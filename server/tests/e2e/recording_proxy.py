"""A proxy before the server that keeps what passes: the truth about what a foreign client sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from server_process import ServerProcess


@dataclass(frozen=True)
class Passed:
    """A request that went through, and how it was answered."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int


@dataclass
class Recording:
    url: str
    requests: list[Passed] = field(default_factory=list)


@contextmanager
def recording_proxy(server: ServerProcess) -> Iterator[Recording]:
    """Forward POST requests to the server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self._read_body()
            headers = {name.lower(): value for name, value in self.headers.items()}
            sent = {
                name: value
                for name, value in headers.items()
                if name not in ("host", "content-length", "transfer-encoding", "connection")
            }
            reply = server.ask("POST", self.path, body, sent)
            recording.requests.append(Passed(self.path, headers, body, reply.status))
            self.send_response(reply.status)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def _read_body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        def log_message(self, format: str, *args: object) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    recording = Recording(f"http://127.0.0.1:{proxy.server_port}")
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield recording
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join(30)
