"""A server with one fault: passes all on to the right server at UPSTREAM, but for what BROKEN changes."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import socketserver
import sys
from typing import Any
from urllib.parse import urlsplit

import push_faults
import query_faults
from exchange import Exchange, split_target

UPSTREAM = urlsplit(os.environ.get("UPSTREAM", ""))
FAULTS = {**push_faults.FAULTS, **query_faults.FAULTS}
BROKEN = os.environ.get("BROKEN", "")
MEMORY: dict[str, Any] = {}
HOP = {"host", "content-length", "transfer-encoding", "connection", "accept-encoding"}


def forward(exchange: Exchange) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(UPSTREAM.hostname or "", UPSTREAM.port, timeout=60)
    try:
        connection.request(exchange.method, exchange.target, exchange.body, exchange.headers)
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    finally:
        connection.close()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        path, query = split_target(self.path)
        headers = {name.lower(): value for name, value in self.headers.items() if name.lower() not in HOP}
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        exchange = Exchange(self.command, path, query, headers, body, forward, MEMORY)
        if BROKEN:
            FAULTS[BROKEN](exchange)
        if not exchange.status:
            exchange.send()
        self.send_response(exchange.status)
        for name, value in exchange.answer_headers.items():
            if name not in HOP and name not in ("date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(exchange.answer)))
        self.end_headers()
        self.wfile.write(exchange.answer)

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


if __name__ == "__main__":
    if BROKEN and BROKEN not in FAULTS:
        sys.exit(f"there is no fault {BROKEN}")
    server = Server(("127.0.0.1", 0), Handler)
    print(json.dumps({"event": "listening", "url": f"http://127.0.0.1:{server.server_port}"}), flush=True)
    server.serve_forever()
