"""Reads protobuf messages with the standard library only: no codec that is under test judges itself."""

from __future__ import annotations

from collections import defaultdict

from flamewire_conformance.errors import WireError

__all__ = ["Message"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data):
            raise WireError("a number is cut off at the end of its message")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
        if shift > 63:
            raise WireError("a number has more than 64 bits")


class Message:
    """The fields of one message, by number, in the order of the wire.

    Raises:
        WireError: the bytes are no message.
    """

    def __init__(self, data: bytes) -> None:
        self._fields: dict[int, list[int | bytes]] = defaultdict(list)
        at = 0
        while at < len(data):
            key, at = _varint(data, at)
            number, wire_type = key >> 3, key & 7
            if number == 0:
                raise WireError("a field has the number 0")
            if wire_type == _VARINT:
                value, at = _varint(data, at)
                self._fields[number].append(value)
                continue
            if wire_type == _BYTES:
                size, at = _varint(data, at)
            elif wire_type in (_FIXED64, _FIXED32):
                size = 8 if wire_type == _FIXED64 else 4
            else:
                raise WireError(
                    f"field {number} has the wire type {wire_type}, which does not exist any more"
                )
            if at + size > len(data):
                raise WireError(f"field {number} is longer than its message")
            self._fields[number].append(data[at : at + size])
            at += size

    def integer(self, number: int) -> int:
        """Return a signed 64-bit field, 0 where it is absent; the last one counts."""
        values = self._fields.get(number)
        if not values:
            return 0
        if not isinstance(values[-1], int):
            raise WireError(f"field {number} is no number")
        return _signed(values[-1])

    def integers(self, number: int) -> list[int]:
        """Return a repeated integer field, packed or not."""
        found: list[int] = []
        for value in self._fields.get(number, []):
            if isinstance(value, int):
                found.append(_signed(value))
                continue
            at = 0
            while at < len(value):
                one, at = _varint(value, at)
                found.append(_signed(one))
        return found

    def chunks(self, number: int) -> list[bytes]:
        """Return a repeated field of bytes."""
        values = self._fields.get(number, [])
        if any(isinstance(value, int) for value in values):
            raise WireError(f"field {number} is a number where bytes belong")
        return [value for value in values if isinstance(value, bytes)]

    def texts(self, number: int) -> list[str]:
        """Return a repeated field of strings."""
        try:
            return [chunk.decode("utf-8") for chunk in self.chunks(number)]
        except UnicodeDecodeError as error:
            raise WireError(f"field {number} holds a string that is not UTF-8") from error

    def text(self, number: int) -> str:
        """Return a string field, empty where it is absent."""
        return (self.texts(number) or [""])[-1]

    def messages(self, number: int) -> list[Message]:
        """Return a repeated field of messages."""
        return [Message(chunk) for chunk in self.chunks(number)]


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
