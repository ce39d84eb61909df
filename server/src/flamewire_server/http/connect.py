"""What every unary Connect call shares: codecs, error replies, bounded bodies.

Source: the Connect protocol's specification, unary calls over HTTP/1.1.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from aiohttp import web
from aiohttp.http_exceptions import PayloadEncodingError

from flamewire_server.errors import Code, OverloadedError, RequestError
from flamewire_server.ingest.encoding import ENCODINGS, Encoding

__all__ = [
    "BODY",
    "JSON",
    "PROTO",
    "BodyBudget",
    "codec_of",
    "encoding_of",
    "error_response",
    "read_body",
    "refuse_foreign_page",
]

JSON: Final = "application/json"
PROTO: Final = "application/proto"
_STATUS: dict[Code, int] = {
    "invalid_argument": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "not_found": 404,
    "deadline_exceeded": 504,
    "resource_exhausted": 429,
    "unimplemented": 501,
    "unavailable": 503,
    "internal": 500,
}
_BODY_TIMEOUT_S = 60


def error_response(error: RequestError) -> web.Response:
    """Render a refusal: a JSON object with code and message, whatever the codec of the request."""
    status = error.status or _STATUS[error.code]
    body = json.dumps({"code": error.code, "message": error.message}, ensure_ascii=False).encode()
    response = web.Response(status=status, body=body, content_type=JSON)
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response


def codec_of(request: web.Request, served: Sequence[str] = (PROTO, JSON)) -> str:
    """Tell the codec of a call from its Content-Type.

    Raises:
        RequestError: 415; it is none of those. (A web page cannot send them without being asked for it first,
            so this also keeps other sites' pages from calling a server on loopback.)
    """
    codec = request.content_type
    if codec in served:
        return codec
    raise RequestError(
        "invalid_argument",
        f"Content-Type {codec!r} is not served here; send {' or '.join(served)}",
        reason="bad_content_type",
        status=415,
    )


def refuse_foreign_page(request: web.Request) -> None:
    """Refuse what a page of another site sends, where the Content-Type does not keep it away (see codec_of).

    A browser names the page's site in Origin; the SDKs are no browsers and send none.

    Raises:
        RequestError: 403; the Origin is not this server.
    """
    origin = request.headers.get("Origin")
    if origin is not None and origin.partition("://")[2].lower() != request.headers.get("Host", "").lower():
        raise RequestError(
            "permission_denied",
            f"pages of {origin[:100]!r} may not push here; push from a program",
            reason="bad_origin",
        )


def encoding_of(request: web.Request) -> Encoding:
    """Tell how the body is compressed.

    Raises:
        RequestError: it is compressed in a way that is not known here.
    """
    named = request.headers.get("Content-Encoding", "").strip().lower() or "identity"
    for encoding in ENCODINGS:
        if named == encoding:
            return encoding
    raise RequestError(
        "unimplemented",
        f"Content-Encoding {named[:100]!r} is not known here; send gzip or zstd, or leave the header out",
        reason="bad_encoding",
    )


class BodySource(Protocol):
    """Where a body comes from in place of the request's own content."""

    async def readany(self) -> bytes:
        """Read what is there, b"" at the end."""


BODY: web.RequestKey[BodySource] = web.RequestKey("body", BodySource)


class BodyBudget:
    """Bytes of all bodies that are held at one time: bounds memory, whoever sends. Belongs to the event
    loop."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held_bytes = 0

    @contextmanager
    def lease(self) -> Iterator[BodyLease]:
        """Hold bytes for the time of a request."""
        lease = BodyLease(self)
        try:
            yield lease
        finally:
            self._held_bytes -= lease.held_bytes

    def _take(self, size_bytes: int) -> None:
        if self._held_bytes + size_bytes > self._limit_bytes:
            raise OverloadedError(
                "resource_exhausted",
                f"bodies of {self._held_bytes} bytes are waiting to be stored; send this one again"
                " after a second,"
                " with backoff",
                reason="memory_full",
            )
        self._held_bytes += size_bytes


class BodyLease:
    """What one request holds of the budget."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.held_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Hold more.

        Raises:
            OverloadedError: the budget is spent.
        """
        self._budget._take(size_bytes)
        self.held_bytes += size_bytes


async def read_body(request: web.Request, *, limit_bytes: int, lease: BodyLease) -> bytes:
    """Read the body as it was sent, still encoded.

    Raises:
        RequestError: it is larger than the limit (413), too slow, or the client went away.
        OverloadedError: the budget of all bodies is spent.
    """
    declared = request.content_length
    if declared is not None and declared > limit_bytes:
        raise _too_large(limit_bytes)
    content = request.get(BODY, request.content)
    chunks: list[bytes] = []
    size_bytes = 0
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            while chunk := await content.readany():
                size_bytes += len(chunk)
                if size_bytes > limit_bytes:
                    raise _too_large(limit_bytes)
                lease.take(len(chunk))
                chunks.append(chunk)
    except (ConnectionError, web.RequestPayloadError, PayloadEncodingError) as error:
        raise RequestError(
            "invalid_argument", "the body broke off; send it whole", reason="torn_body"
        ) from error
    except TimeoutError as error:
        raise RequestError(
            "deadline_exceeded",
            f"the body did not arrive within {_BODY_TIMEOUT_S} s; send it again",
            reason="slow_body",
            status=408,
        ) from error
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit_bytes: int) -> RequestError:
    return RequestError(
        "resource_exhausted",
        f"the body has more than {limit_bytes} bytes; send fewer profiles in a request, or raise"
        " limits.ingestion_body_limit_mb on the server",
        reason="body_too_large",
        status=413,
    )
