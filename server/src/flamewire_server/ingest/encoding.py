"""How the body of a request is compressed: what Content-Encoding may say."""

from __future__ import annotations

from typing import Literal, get_args

from flamewire_server._native import DecodeError, unpack_body
from flamewire_server.errors import RequestError

__all__ = ["ENCODINGS", "Encoding", "refusal_of", "unpack"]

Encoding = Literal["identity", "gzip", "zstd"]
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)


def unpack(body: bytes, encoding: Encoding, *, limit_bytes: int) -> bytes:
    """Unpack a body to at most `limit_bytes`.

    Raises:
        RequestError: it is larger (413), or not what `encoding` says.
    """
    try:
        return unpack_body(body, encoding=encoding, limit_bytes=limit_bytes)
    except DecodeError as error:
        raise refusal_of(error) from error


def refusal_of(error: DecodeError) -> RequestError:
    """Turn the native core's refusal of a body into that of its request."""
    if error.code == "resource_exhausted":
        return RequestError("resource_exhausted", error.message, reason="too_large", status=413)
    return RequestError("invalid_argument", error.message, reason="invalid_profile")
