"""One profile on its way to the server."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

__all__ = ["Entry", "Upload", "born_unix_s_of", "new_key"]


@dataclass(frozen=True, slots=True)
class Entry:
    """An upload that waits.

    Attributes:
        key: its name in the queue; the order of the keys is that of the births.
        size_bytes: size of the body, compressed.
    """

    key: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that was claimed to be sent. The profile id within stays the same through all attempts.

    Attributes:
        key: its name in the queue.
        body: what is sent, one gzip member.
    """

    key: str
    body: bytes

    @property
    def unpacked_bytes(self) -> int:
        """Size before the compression, as gzip's trailer states it (RFC 1952, 2.3.1)."""
        return int.from_bytes(self.body[-4:], "little")


def new_key(born_unix_s: float, profile_id: uuid.UUID) -> str:
    """Return the key of an upload: the calendar time of its birth in nanoseconds, and the profile's id."""
    return f"{int(born_unix_s * 1e9):020d}-{profile_id}"


def born_unix_s_of(key: str) -> float:
    """Return the calendar time that ``new_key`` wrote down.

    Raises:
        ValueError: it is no such key.
    """
    stamp, _, name = key.partition("-")
    if len(stamp) != 20 or not stamp.isdecimal():
        raise ValueError(f"{key!r} does not begin with a time")
    uuid.UUID(name)
    return int(stamp) / 1e9
