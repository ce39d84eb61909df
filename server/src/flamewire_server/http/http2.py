"""HTTP/2 for an application that speaks HTTP/1.1.

Each stream becomes a request of HTTP/1.1 to a protocol of its own, in memory: routes, keys, limits, timeouts
and backpressure are the application's, whichever protocol a client speaks. Source: RFC 9113.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError, StreamClosedError
from h2.settings import SettingCodes, Settings

__all__ = ["PREFACE", "Http2Connection"]

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_MAX_STREAMS = 128
_MAX_HEADER_BYTES = 16 << 10
# Of a stream, and of all streams of a connection: what a client may have sent before the application took it.
_STREAM_WINDOW_BYTES = 1 << 20
_CONNECTION_WINDOW_BYTES = 8 << 20
_DEFAULT_WINDOW_BYTES = 65535
# Frames that cost the server work and bring no request on: pings, settings, resets, empty data, updates. A
# client may send so many more of them than it ends requests.
_MAX_IDLE_FRAMES = 2000
_FRAMES_PER_REQUEST = 100
# What may wait for a client that does not read.
_MAX_UNSENT_BYTES = 4 << 20
_STALLED_S = 60.0
_IDLE_S = 600.0
_GOODBYE_S = 1.0
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_TARGET = re.compile(rb"/[\x21-\x7e]*")
_METHOD = re.compile(rb"[A-Z]{1,20}")
# Of HTTP/1.1 alone, or made anew for the request inside.
_HOP_BY_HOP = frozenset(
    (b"connection", b"expect", b"host", b"http2-settings", b"keep-alive", b"proxy-connection", b"te",
     b"transfer-encoding", b"upgrade")
)  # fmt: skip
_TRAILERS = (b"grpc-status", b"grpc-message", b"grpc-retry-pushback-ms")

Headers = Sequence[tuple[bytes, bytes]]


class Http2Connection(asyncio.Protocol):
    """One connection of HTTP/2.

    Args:
        make_handler: makes a protocol that serves one request of HTTP/1.1.
        on_close: called once, when the connection is gone.
    """

    def __init__(
        self, make_handler: Callable[[], asyncio.Protocol], on_close: Callable[[Http2Connection], None]
    ) -> None:
        self._make_handler = make_handler
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self._streams: dict[int, _Stream] = {}
        self._idle_frames = 0
        self._draining = False
        self._timer: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        # As settings from the start, not as changes: those would count before the client has heard of them.
        self._h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: _MAX_STREAMS,
                SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW_BYTES,
                SettingCodes.MAX_HEADER_LIST_SIZE: _MAX_HEADER_BYTES,
            },
        )
        self._h2.decoder.max_header_list_size = _MAX_HEADER_BYTES
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_CONNECTION_WINDOW_BYTES - _DEFAULT_WINDOW_BYTES)
        self.flush()
        self._rest()

    def data_received(self, data: bytes) -> None:
        """Take what came, frame by frame."""
        try:
            for event in self._h2.receive_data(data):
                self._take(event)
        except ProtocolError:
            # h2 has put a GOAWAY that says why into its output.
            self._end()
            return
        if self._idle_frames > _MAX_IDLE_FRAMES or self.transport.get_write_buffer_size() > _MAX_UNSENT_BYTES:
            self._end(ErrorCodes.ENHANCE_YOUR_CALM)
            return
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell every request that its client is gone."""
        if self._timer is not None:
            self._timer.cancel()
        for stream in list(self._streams.values()):
            stream.abandon(error or ConnectionResetError("the client closed the connection"))
        self._streams.clear()
        self._on_close(self)

    def drain(self) -> None:
        """Take no new requests; close when those that run are answered."""
        self._draining = True
        if not self._streams:
            self._end()

    def flush(self) -> None:
        """Send what h2 has ready."""
        if (ready := self._h2.data_to_send()) and not self.transport.is_closing():
            self.transport.write(ready)

    def _take(self, event: Event) -> None:
        self._idle_frames += 1
        if isinstance(event, RequestReceived):
            self._begin(event)
        elif isinstance(event, DataReceived):
            self._take_data(event)
        elif isinstance(event, StreamEnded):
            if (stream := self._streams.get(event.stream_id)) is not None:
                stream.end()
        elif isinstance(event, StreamReset):
            self._forget(event.stream_id, ConnectionResetError("the client gave the request up"))
        elif isinstance(event, WindowUpdated):
            for stream in (
                [self._streams.get(event.stream_id)] if event.stream_id else [*self._streams.values()]
            ):
                if stream is not None:
                    stream.send()
        elif isinstance(event, ConnectionTerminated):
            self.drain()
        elif isinstance(event, TrailersReceived):
            pass  # gRPC's clients send none, and a request has no use for them

    def _begin(self, event: RequestReceived) -> None:
        assert event.stream_id is not None
        head = _head_of(event.headers or [], ended=event.stream_ended is not None)
        if head is None or self._draining:
            code = ErrorCodes.REFUSED_STREAM if self._draining else ErrorCodes.PROTOCOL_ERROR
            self._h2.reset_stream(event.stream_id, code)
            return
        if self._timer is not None:
            self._timer.cancel()
        self._streams[event.stream_id] = _Stream(self, event.stream_id, self._make_handler, *head)

    def _take_data(self, event: DataReceived) -> None:
        assert event.stream_id is not None
        stream, size_bytes = self._streams.get(event.stream_id), event.flow_controlled_length or 0
        if event.data:
            self._idle_frames -= 1
        if stream is None or not stream.take(event.data or b"", size_bytes):
            self.acknowledge(event.stream_id, size_bytes)

    def acknowledge(self, stream_id: int, size_bytes: int) -> None:
        """Let the client send as much again."""
        try:
            self._h2.acknowledge_received_data(size_bytes, stream_id)
        except (StreamClosedError, ProtocolError):
            return

    def room(self, stream_id: int) -> int:
        """Tell how many bytes the stream may send now, in one frame."""
        return min(self._h2.local_flow_control_window(stream_id), self._h2.max_outbound_frame_size)

    def send_headers(self, stream_id: int, headers: Headers, *, end: bool) -> None:
        """Send headers, or trailers."""
        self._h2.send_headers(stream_id, headers, end_stream=end)

    def send_data(self, stream_id: int, data: bytes, *, end: bool) -> None:
        """Send a frame of data, not longer than `room`."""
        self._h2.send_data(stream_id, data, end_stream=end)

    def finish(self, stream_id: int) -> None:
        """Forget a stream that is answered."""
        self._streams.pop(stream_id, None)
        self._idle_frames = max(0, self._idle_frames - _FRAMES_PER_REQUEST)
        if not self._streams:
            if self._draining:
                self._end()
            else:
                self._rest()

    def reset(self, stream_id: int, code: ErrorCodes) -> None:
        """End a stream whose request cannot be answered."""
        with contextlib.suppress(ProtocolError):
            self._h2.reset_stream(stream_id, code)
        self._forget(stream_id, ConnectionResetError("the request was reset"))
        self.flush()

    def _forget(self, stream_id: int | None, error: Exception) -> None:
        if stream_id is not None and (stream := self._streams.pop(stream_id, None)) is not None:
            stream.abandon(error)
            if not self._streams:
                self._rest()

    def _rest(self) -> None:
        """Close a connection that stays without a request."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(_IDLE_S, self.drain)

    def _end(self, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Say goodbye and close, soon even to a client that does not read."""
        with contextlib.suppress(ProtocolError):
            self._h2.close_connection(code)
        self.flush()
        self.transport.close()
        self._loop.call_later(_GOODBYE_S, self.transport.abort)


class _Stream(asyncio.Transport):
    """One request: to the application a connection of HTTP/1.1 that brings one request and is then closed."""

    def __init__(
        self,
        connection: Http2Connection,
        number: int,
        make_handler: Callable[[], asyncio.Protocol],
        head: bytes,
        chunked: bool,
    ) -> None:
        super().__init__()
        self._connection = connection
        self._number = number
        self._make_handler = make_handler
        self._handler: asyncio.Protocol | None = None
        self._early = [head]
        self._chunked = chunked
        self._paused = False
        self._held_bytes = 0
        self._closing = False
        self._answer = bytearray()
        self._body: memoryview | None = None
        self._trailers: list[tuple[bytes, bytes]] = []
        self._timer: asyncio.TimerHandle | None = None
        # Not at once: a request that is reset in the next frame has cost nothing then.
        asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        if self._closing:
            return
        self._handler = self._make_handler()
        self._handler.connection_made(self)
        for data in self._early:
            self._handler.data_received(data)
        self._early.clear()

    def _feed(self, data: bytes) -> None:
        if self._handler is None:
            self._early.append(data)
        else:
            self._handler.data_received(data)

    # What comes from the client.

    def take(self, data: bytes, size_bytes: int) -> bool:
        """Hand data on; tells whether its acknowledgement is kept back until the application has read."""
        if self._closing:
            return False
        if data:
            self._feed(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        if not self._paused or self._closing:
            return False
        self._held_bytes += size_bytes
        return True

    def end(self) -> None:
        """Tell that the request is whole."""
        if self._chunked and not self._closing:
            self._feed(b"0\r\n\r\n")

    def abandon(self, error: Exception) -> None:
        """Tell the application that the client is gone."""
        self._stop_waiting()
        if not self._closing:
            self._closing = True
            self._early.clear()
            if self._handler is not None:
                # Later: the handler's task has not looked at its request if it was started just now.
                asyncio.get_running_loop().call_soon(self._handler.connection_lost, error)

    # What the application does with its connection.

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Tell of the real connection; its socket is not the application's to change."""
        return default if name == "socket" else self._connection.transport.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Collect the answer: it is one message of a known length."""
        if not self._closing:
            self._answer += data

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Collect the answer."""
        for data in list_of_data:
            self.write(data)

    def pause_reading(self) -> None:
        """Let the client send no more than its window."""
        self._paused = True

    def resume_reading(self) -> None:
        """Open the window again."""
        self._paused = False
        held_bytes, self._held_bytes = self._held_bytes, 0
        if held_bytes:
            self._connection.acknowledge(self._number, held_bytes)
            self._connection.flush()

    def is_reading(self) -> bool:
        """Tell whether the window opens by itself."""
        return not self._paused

    def get_write_buffer_size(self) -> int:
        """Tell that nothing waits: the answer is collected."""
        return 0

    def is_closing(self) -> bool:
        """Tell whether the application has answered."""
        return self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Refuse: no upgrade leaves HTTP here."""
        raise NotImplementedError

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Give the handler."""
        assert self._handler is not None
        return self._handler

    def abort(self) -> None:
        """Give up."""
        self.close()

    def close(self) -> None:
        """Send the answer that is collected."""
        if self._closing:
            return
        self._closing = True
        assert self._handler is not None
        asyncio.get_running_loop().call_soon(self._handler.connection_lost, None)
        # What was held back is nobody's now.
        self._connection.acknowledge(self._number, self._held_bytes)
        parsed = _parse_answer(bytes(self._answer))
        if parsed is None:
            self._connection.reset(self._number, ErrorCodes.INTERNAL_ERROR)
            return
        headers, body = parsed
        self._trailers = [pair for pair in headers if pair[0] in _TRAILERS]
        kept = [pair for pair in headers if pair[0] not in _TRAILERS]
        if self._trailers and not body:
            kept, self._trailers = headers, []
        self._body = memoryview(body)
        try:
            self._connection.send_headers(self._number, kept, end=not body)
        except ProtocolError:
            self._connection.finish(self._number)
            return
        if not body:
            self._finish()
            return
        self._timer = asyncio.get_running_loop().call_later(
            _STALLED_S, self._connection.reset, self._number, ErrorCodes.CANCEL
        )
        self.send()

    def send(self) -> None:
        """Send as much of the answer as the windows allow."""
        if self._body is None:
            return
        try:
            while len(self._body):
                room = self._connection.room(self._number)
                if room <= 0:
                    self._connection.flush()
                    return
                frame, self._body = self._body[:room], self._body[room:]
                end = not len(self._body) and not self._trailers
                self._connection.send_data(self._number, bytes(frame), end=end)
            if self._trailers:
                self._connection.send_headers(self._number, self._trailers, end=True)
        except ProtocolError:
            pass  # the stream is gone, and so is the answer
        self._finish()

    def _finish(self) -> None:
        self._body = None
        self._stop_waiting()
        self._connection.flush()
        self._connection.finish(self._number)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def _head_of(headers: Headers, *, ended: bool) -> tuple[bytes, bool] | None:
    """Write a request's head as HTTP/1.1, and say whether its body comes in chunks; None: it is wrong."""
    pseudo = {name: value for name, value in headers if name.startswith(b":")}
    method, target = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    lines = [b"%b %b HTTP/1.1" % (method, target)]
    if not _METHOD.fullmatch(method) or not _TARGET.fullmatch(target):
        return None
    host = pseudo.get(b":authority") or next((value for name, value in headers if name == b"host"), b"")
    for name, value in [(b"host", host), *(pair for pair in headers if pair[0] not in _HOP_BY_HOP)]:
        if name.startswith(b":"):
            continue
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            return None
        lines.append(b"%b: %b" % (name, value))
    chunked = not ended and not any(name == b"content-length" for name, _ in headers)
    lines += [b"connection: close", *([b"transfer-encoding: chunked"] if chunked else [])]
    return b"\r\n".join(lines) + b"\r\n\r\n", chunked


def _parse_answer(answer: bytes) -> tuple[list[tuple[bytes, bytes]], bytes] | None:
    """Read the application's answer: headers with the status first, and the body. None: it is none."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    status_line, *lines = head.split(b"\r\n")
    parts = status_line.split(b" ", 2)
    if not blank or len(parts) < 2:
        return None
    headers = [(b":status", parts[1])]
    for line in lines:
        name, _, value = line.partition(b":")
        name, value = name.strip().lower(), value.strip()
        if name == b"transfer-encoding":
            return None  # an answer of unknown length; the application makes none
        if name not in _HOP_BY_HOP:
            headers.append((name, value))
    return headers, body
