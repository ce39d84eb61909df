"""gRPC and gRPC-Web, unary: a call becomes the Connect call of the same path, its answer one of gRPC.

Handlers, keys, limits and logs are those of Connect. Sources: gRPC over HTTP/2, gRPC-Web, Connect.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
from typing import Final

from aiohttp import StreamReader, web
from aiohttp.typedefs import Handler, Middleware

from flamewire_server.errors import RequestError
from flamewire_server.http.connect import BODY, JSON, PROTO, error_response

__all__ = ["make_grpc_middleware"]

_TYPE = re.compile(r"application/grpc(?P<web>-web(?P<text>-text)?)?(?:\+(?P<codec>proto|json))?")
_TIMEOUT = re.compile(r"(\d{1,8})([HMSmun])")
_UNIT_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_PREFIX_BYTES: Final = 5
_HEAD_TIMEOUT_S: Final = 60
_CODES = {
    "invalid_argument": 3, "deadline_exceeded": 4, "not_found": 5, "permission_denied": 7,
    "resource_exhausted": 8,
    "unimplemented": 12, "internal": 13, "unavailable": 14, "unauthenticated": 16,
}  # fmt: skip
# Of an answer that is none of Connect's: a path or a method that nobody serves.
_CODES_OF_STATUS = {401: 16, 403: 7, 404: 12, 405: 12, 413: 8, 429: 8, 503: 14, 504: 4}


class MessageBody:
    """The one message of a unary call, as a body: not a byte more or less than its prefix says.

    Args:
        content: what follows the prefix.
        size_bytes: the message's length.
    """

    def __init__(self, content: StreamReader | _Base64Body, size_bytes: int) -> None:
        self._content = content
        self._left_bytes = size_bytes

    async def readany(self) -> bytes:
        """Read what is there, b"" at the end.

        Raises:
            RequestError: the body is shorter or longer than the message.
        """
        chunk = await self._content.readany()
        if len(chunk) > self._left_bytes or (not chunk and self._left_bytes):
            raise _wrong_body("does not hold one whole message")
        self._left_bytes -= len(chunk)
        return chunk


class _Base64Body:
    """A body of gRPC-Web's text form."""

    def __init__(self, content: StreamReader) -> None:
        self._content = content
        self._rest = b""
        self._decoded = b""

    async def readexactly(self, size_bytes: int) -> bytes:
        while len(self._decoded) < size_bytes:
            chunk = await self._decode()
            if not chunk:
                raise asyncio.IncompleteReadError(self._decoded, size_bytes)
            self._decoded += chunk
        head, self._decoded = self._decoded[:size_bytes], self._decoded[size_bytes:]
        return head

    async def readany(self) -> bytes:
        decoded, self._decoded = self._decoded, b""
        return decoded or await self._decode()

    async def _decode(self) -> bytes:
        while chunk := await self._content.readany():
            self._rest += chunk
            whole = len(self._rest) // 4 * 4
            text, self._rest = self._rest[:whole], self._rest[whole:]
            if text:
                try:
                    return base64.b64decode(text, validate=True)
                except binascii.Error as error:
                    raise _wrong_body("is not base64") from error
        if self._rest:
            raise _wrong_body("is not base64")
        return b""


def _wrong_body(what: str) -> RequestError:
    return RequestError(
        "invalid_argument", f"the body of the call {what}; send one message", reason="bad_grpc"
    )


def make_grpc_middleware() -> Middleware:
    """Make the middleware; it stands before all others, so that they see calls of Connect only."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        kind = _TYPE.fullmatch(request.content_type)
        if kind is None or request.method != "POST":
            return await handler(request)
        try:
            answer = await _call(request, handler, kind)
        except RequestError as error:
            answer = error_response(error)
        except web.HTTPException as error:
            answer = error
        return _encode(request, answer, kind)

    return middleware


async def _call(request: web.Request, handler: Handler, kind: re.Match[str]) -> web.StreamResponse:
    limit_s = _timeout_s(request)
    try:
        async with asyncio.timeout(limit_s) as deadline:
            return await handler(await _as_connect(request, kind))
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise RequestError(
            "deadline_exceeded", f"no answer within the call's {limit_s} s", reason="grpc_timeout"
        ) from error


async def _as_connect(request: web.Request, kind: re.Match[str]) -> web.Request:
    content = _Base64Body(request.content) if kind["text"] else request.content
    try:
        async with asyncio.timeout(_HEAD_TIMEOUT_S):
            prefix = await content.readexactly(_PREFIX_BYTES)
    except asyncio.IncompleteReadError as error:
        raise _wrong_body("ends before the message begins") from error
    headers = request.headers.copy()
    # The message itself is not compressed in an answer of gRPC, and an answer cannot be conditional.
    for name in ("Accept-Encoding", "Content-Encoding", "Content-Length", "Transfer-Encoding"):
        headers.popall(name, None)
    if prefix[0] > 1:
        raise _wrong_body(f"has a frame with the flags {prefix[0]:#x}, which are not known")
    if prefix[0]:
        headers["Content-Encoding"] = request.headers.get("grpc-encoding", "gzip")
    size_bytes = int.from_bytes(prefix[1:], "big")
    headers["Content-Length"] = str(size_bytes)
    headers["Content-Type"] = JSON if kind["codec"] == "json" else PROTO
    call = request.clone(headers=headers)
    call[BODY] = MessageBody(content, size_bytes)
    return call


def _timeout_s(request: web.Request) -> float | None:
    text = request.headers.get("grpc-timeout")
    if text is None:
        return None
    match = _TIMEOUT.fullmatch(text)
    if match is None:
        raise RequestError(
            "invalid_argument", f"grpc-timeout {text[:40]!r} is no timeout, as 10S or 500m", reason="bad_grpc"
        )
    return int(match[1]) * _UNIT_S[match[2]]


def _encode(request: web.Request, answer: web.StreamResponse, kind: re.Match[str]) -> web.Response:
    body = answer.body if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else b""
    trailers = {"grpc-status": "0"}
    if answer.status == 200:
        body = b"\0" + len(body).to_bytes(4, "big") + body
    else:
        code, message = _read_error(answer, body)
        trailers = {"grpc-status": str(code), "grpc-message": _percent_encode(message)}
        if retry_after := answer.headers.get("Retry-After", ""):
            trailers["grpc-retry-pushback-ms"] = f"{retry_after}000"
        body = b""
    headers = {"Content-Type": request.content_type, "grpc-accept-encoding": "identity,gzip,zstd"}
    if not kind["web"]:
        # The connection sends these behind the body.
        return web.Response(body=body, headers={**headers, **trailers})
    text = "".join(f"{name}:{value}\r\n" for name, value in trailers.items()).encode()
    body += b"\x80" + len(text).to_bytes(4, "big") + text
    return web.Response(body=base64.b64encode(body) if kind["text"] else body, headers=headers)


def _read_error(answer: web.StreamResponse, body: bytes) -> tuple[int, str]:
    try:
        error = json.loads(body)
        return _CODES[error["code"]], str(error["message"])
    except (ValueError, KeyError, TypeError):
        return _CODES_OF_STATUS.get(answer.status, 2), f"{answer.status} {answer.reason}"


def _percent_encode(message: str) -> str:
    return "".join(
        chr(byte) if 0x20 <= byte <= 0x7E and byte != 0x25 else f"%{byte:02X}" for byte in message.encode()
    )
