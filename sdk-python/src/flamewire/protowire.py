"""The protobuf encodings that the SDK writes and reads: varint, packed varints, length-delimited, fixed64.

The SDK imports no protobuf runtime, because generated code breaks in a process that pins another protobuf
release.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["delimited", "fields", "fixed64", "integer", "packed", "varint", "varints"]


def varint(value: int) -> bytes:
    """Return a base-128 varint; a negative value is written as its 64-bit two's complement, as int64 is."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    if value < 0x80:
        return bytes((value,))
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
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


def fixed64(number: int, value: int) -> bytes:
    """Return the field ``number`` holding a fixed64; nothing for 0."""
    return varint(number << 3 | 1) + value.to_bytes(8, "little") if value else b""


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (number, value) of each field of a message: an int for varint and fixed ones, bytes for the rest.

    Raises:
        ValueError: it is no message.
    """
    position, end = 0, len(message)
    while position < end:
        key, position = _read_varint(message, position)
        kind = key & 7
        if kind == 0:
            value, position = _read_varint(message, position)
            yield key >> 3, value
            continue
        if kind == 2:
            length, position = _read_varint(message, position)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind} is not known")
        payload = message[position : position + length]
        position += length
        if position > end:
            raise ValueError("a field is longer than its message")
        yield key >> 3, payload if kind == 2 else int.from_bytes(payload, "little")


def varints(packed_field: int | bytes) -> list[int]:
    """Return the values of a repeated integer field, packed or not."""
    if isinstance(packed_field, int):
        return [packed_field]
    values: list[int] = []
    value = shift = 0
    for byte in packed_field:  # a call for each number would take twice as long
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            values.append(value)
            value = shift = 0
        else:
            shift += 7
    if shift:
        raise ValueError("a number is cut off")
    return values


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    try:
        while True:
            byte = message[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
            shift += 7
    except IndexError:
        raise ValueError("a number is cut off") from None
