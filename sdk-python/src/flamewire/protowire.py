"""The three protobuf encodings that the SDK writes: varint, packed varints, length-delimited.

The SDK imports no protobuf runtime, because generated code breaks in a process that pins another protobuf
release.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["delimited", "integer", "packed", "varint"]


def varint(value: int) -> bytes:
    """Return a base-128 varint; a negative value is written as its 64-bit two's complement, as int64 is."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def integer(number: int, value: int) -> bytes:
    """Return the field ``number`` holding an integer; nothing for 0, which is what an absent field means."""
    return varint(number << 3) + varint(value) if value else b""


def delimited(number: int, payload: bytes) -> bytes:
    """Return the field ``number`` holding a message, string or bytes."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def packed(number: int, values: Iterable[int]) -> bytes:
    """Return the repeated integer field ``number`` in packed form."""
    return delimited(number, b"".join(map(varint, values)))
