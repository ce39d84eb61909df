"""Listening sockets: each connection shows by its first bytes which version of HTTP it speaks."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from flamewire_server.http.http2 import PREFACE, Http2Connection

__all__ = ["Listeners"]


class Listeners:
    """Accepts connections of HTTP/1.1 and HTTP/2 for one application. Belongs to the event loop.

    Args:
        make_handler: makes a protocol that serves a connection of HTTP/1.1.
    """

    def __init__(self, make_handler: Callable[[], asyncio.Protocol]) -> None:
        self._make_handler = make_handler
        self._servers: list[asyncio.Server] = []
        self._new: set[_Sniffer] = set()
        self._http2: set[Http2Connection] = set()

    async def listen(self, listener: socket.socket, ssl_context: ssl.SSLContext | None = None) -> None:
        """Accept connections on a socket that is bound already."""
        server = await asyncio.get_running_loop().create_server(
            lambda: _Sniffer(self), sock=listener, ssl=ssl_context
        )
        self._servers.append(server)

    def stop(self) -> None:
        """Accept no more, and take no new requests; those that run are answered."""
        for server in self._servers:
            server.close()
        for sniffer in list(self._new):
            sniffer.close()
        for connection in list(self._http2):
            connection.drain()

    def abort(self) -> None:
        """Close what is left of the connections of HTTP/2."""
        for connection in list(self._http2):
            connection.transport.abort()

    def choose(self, sniffer: _Sniffer, first: bytes) -> None:
        """Hand a connection over to its protocol."""
        self._new.discard(sniffer)
        transport = sniffer.transport
        protocol: asyncio.Protocol
        if first.startswith(PREFACE[: len(first)]) and first:
            protocol = connection = Http2Connection(self._make_handler, self._http2.discard)
            self._http2.add(connection)
        else:
            protocol = self._make_handler()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if first:
            protocol.data_received(first)

    def watch(self, sniffer: _Sniffer) -> None:
        """Count a connection that has not spoken yet."""
        self._new.add(sniffer)

    def forget(self, sniffer: _Sniffer) -> None:
        """Count it no longer."""
        self._new.discard(sniffer)


class _Sniffer(asyncio.Protocol):
    """Waits for the first bytes of a connection."""

    _WAIT_S = 60.0

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners
        self._first = b""
        self._timer: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._timer = asyncio.get_running_loop().call_later(self._WAIT_S, self.close)
        self._listeners.watch(self)

    def data_received(self, data: bytes) -> None:
        self._first += data
        # "PRI" begins no request of HTTP/1.1; less than that is not enough to tell.
        if len(self._first) < 3 and PREFACE.startswith(self._first):
            return
        self._stop_waiting()
        self._listeners.choose(self, self._first)

    def eof_received(self) -> None:
        self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_waiting()
        self._listeners.forget(self)

    def close(self) -> None:
        """Close a connection that has not spoken."""
        self._stop_waiting()
        self.transport.close()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
