"""What a push format is: where its bodies arrive, how they become a ProfileBatch, what the answer is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from flamewire_server._native import Limits, ProfileBatch
from flamewire_server.ingest.encoding import Encoding

__all__ = ["Decode", "Decoding", "Format", "Head"]


class Decode(Protocol):
    """Turns a body into profiles; runs in the committer's thread, so it may take its time.

    Raises:
        DecodeError, RequestError: the body is refused, all of it.
    """

    def __call__(self, body: bytes, *, encoding: Encoding, now_ns: int, limits: Limits) -> ProfileBatch:
        """Decode; `encoding` says how the body as a whole is compressed."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a format may read of a request beside its body."""

    query: Mapping[str, str]
    content_type: str
    now_ns: int


@dataclass(frozen=True, slots=True)
class Decoding:
    """The decoding of one request, and the answer once its profiles are durable.

    Args:
        decode: reads the body.
        reply: the body of the answer; asked for after `decode`.
        left_out: how many profiles `decode` left out of a request that it took.
    """

    decode: Decode
    reply: Callable[[], bytes]
    left_out: Callable[[], int] = lambda: 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One push format. A request is of it when both path and content type are.

    Args:
        name: for people.
        path: of the endpoint.
        content_type: without parameters; None takes any.
        begin: reads the head of a request; raises RequestError where it is refused.
        reply_type: the Content-Type of the answer; None where its body is empty.
        refused_status: the HTTP status of a body that is refused for its content.
    """

    name: str
    path: str
    content_type: str | None
    begin: Callable[[Head], Decoding]
    reply_type: str | None
    refused_status: int = 400
