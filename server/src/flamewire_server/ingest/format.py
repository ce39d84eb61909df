"""What a push format is: where its bodies arrive, how they become a ProfileBatch, what the answer is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from flamewire_server._native import Limits, ProfileBatch

__all__ = ["Decode", "Format"]


class Decode(Protocol):
    """Turns a body into profiles; runs in the committer's thread, so it may take its time.

    Raises:
        DecodeError, RequestError: the body is refused, all of it.
    """

    def __call__(self, body: bytes, *, gzip: bool, now_ns: int, limits: Limits) -> ProfileBatch:
        """Decode; `gzip` says that the body as a whole is gzipped."""


@dataclass(frozen=True, slots=True)
class Format:
    """One push format. A request is of it when both path and content type are."""

    name: str
    path: str
    content_type: str
    decode: Decode
    reply: bytes
