"""Writes protobuf messages and pprof with the standard library only: golden vectors are made with it.

No SDK and no server encodes with it, as none of them decodes with ``protowire``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = [
    "PprofSample",
    "PprofWriter",
    "bytes_field",
    "fixed64_field",
    "integer_field",
    "packed_field",
    "varint",
]

_U64 = 0xFFFF_FFFF_FFFF_FFFF


def varint(value: int) -> bytes:
    """Encode a number; a negative one as protobuf's int64, in ten bytes."""
    value &= _U64
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def integer_field(number: int, value: int) -> bytes:
    """Encode a varint field, also where it is 0."""
    return varint(number << 3) + varint(value)


def bytes_field(number: int, value: bytes | str) -> bytes:
    """Encode a field of bytes, text or a message."""
    raw = value if isinstance(value, bytes) else value.encode()
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def packed_field(number: int, values: Iterable[int]) -> bytes:
    """Encode a packed field of integers."""
    return bytes_field(number, b"".join(map(varint, values)))


def fixed64_field(number: int, value: int) -> bytes:
    """Encode a fixed64 field."""
    return varint(number << 3 | 1) + (value & _U64).to_bytes(8, "little")


@dataclass(frozen=True, slots=True)
class PprofSample:
    """One sample to write.

    Attributes:
        stack: names of functions, root first, as folded stacks are written.
        values: one for each sample type.
        labels: string labels as (key, value), in order; a key may stand twice.
        numbers: numeric labels.
    """

    stack: Sequence[str]
    values: Sequence[int]
    labels: Sequence[tuple[str, str]] = ()
    numbers: Mapping[str, int] = field(default_factory=dict)


class PprofWriter:
    """Builds one pprof; every function has one location, in ``program.py``.

    Args:
        sample_types: (type, unit) of each value.
        time_ns: calendar time of the window's start.
    """

    def __init__(
        self,
        sample_types: Sequence[tuple[str, str]] = (("cpu", "nanoseconds"),),
        *,
        time_ns: int,
        duration_ns: int = 10**10,
        period_type: tuple[str, str] | None = ("cpu", "nanoseconds"),
        period: int = 10_000_000,
    ) -> None:
        self._strings: dict[str, int] = {"": 0}
        self._head = b"".join(bytes_field(1, self._value_type(*one)) for one in sample_types)
        self._tail = integer_field(9, time_ns) + integer_field(10, duration_ns)
        if period_type is not None:
            self._tail += bytes_field(11, self._value_type(*period_type)) + integer_field(12, period)
        self._samples = b""
        self._tables = b""
        self._locations: dict[str, int] = {}

    def string(self, text: str) -> int:
        """Return the index of a string in the table."""
        return self._strings.setdefault(text, len(self._strings))

    def _value_type(self, name: str, unit: str) -> bytes:
        return integer_field(1, self.string(name)) + integer_field(2, self.string(unit))

    def location(self, function: str, *, again: bool = False) -> int:
        """Return the id of the function's location; `again` makes another one that says the same."""
        if function in self._locations and not again:
            return self._locations[function]
        number = self._locations[function] = self._next_location()
        at = integer_field(1, number) + integer_field(2, self.string(function))
        self._tables += bytes_field(5, at + integer_field(4, self.string("program.py")) + integer_field(5, 1))
        line = integer_field(1, number) + integer_field(2, 7)
        self._tables += bytes_field(4, integer_field(1, number) + bytes_field(4, line))
        return number

    def _next_location(self) -> int:
        return max(self._locations.values(), default=0) + 1

    def add(self, sample: PprofSample, *, again: bool = False) -> None:
        """Add a sample."""
        ids = [self.location(name, again=again) for name in reversed(sample.stack)]
        body = packed_field(1, ids) + packed_field(2, sample.values)
        for key, text in sample.labels:
            body += bytes_field(3, integer_field(1, self.string(key)) + integer_field(2, self.string(text)))
        for key, number in sample.numbers.items():
            body += bytes_field(3, integer_field(1, self.string(key)) + integer_field(3, number))
        self._samples += bytes_field(2, body)

    def extend(self, tables: bytes) -> None:
        """Append encoded fields: how vectors say what no well-formed profile says."""
        self._tables += tables

    def done(self) -> bytes:
        """Return the profile."""
        strings = b"".join(bytes_field(6, text.encode("utf-8", "surrogatepass")) for text in self._strings)
        return self._head + self._samples + self._tables + strings + self._tail
