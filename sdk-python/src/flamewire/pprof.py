"""google.v1.Profile (pprof) written by hand, for engines that gather in Python.

Stacks are leaf first. One Location stands for one (function, line); there is no mapping, since Python has
none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from flamewire.protowire import delimited, integer, packed

__all__ = ["Frame", "ValueType", "encode", "encode_samples"]


class Frame(NamedTuple):
    """One frame of a stack: the function and the line that it executes."""

    function: str
    filename: str
    start_line: int
    line: int


@dataclass(frozen=True, slots=True)
class ValueType:
    """What a number means, for example ("cpu", "nanoseconds")."""

    type: str
    unit: str


class _Strings:
    """The string table; index 0 is the empty string, as pprof demands."""

    def __init__(self) -> None:
        self._indices: dict[str, int] = {"": 0}

    def index(self, text: str) -> int:
        return self._indices.setdefault(text, len(self._indices))

    def encoded(self) -> bytes:
        # "replace" because a file name may hold lone surrogates (PEP 383), and a protobuf string is UTF-8.
        return b"".join(delimited(6, text.encode("utf-8", "replace")) for text in self._indices)


def encode(
    samples: Mapping[tuple[Frame, ...], int],
    *,
    value_type: ValueType,
    period_type: ValueType,
    period: int,
    time_unix_ns: int,
    duration_ns: int,
) -> bytes:
    """Return one Profile with one sample type.

    Costs O(frames) and holds the GIL; meant for the few thousand stacks of one window.

    Args:
        samples: stack (leaf first) -> value, in the value type's unit.
        value_type: the sample type.
        period_type: what is counted between two samples.
        period: the distance of two samples, in the period type's unit.
        time_unix_ns: calendar time of the window's start.
        duration_ns: exact length of the window.
    """
    return encode_samples(
        ((stack, (value,), ()) for stack, value in samples.items()),
        sample_types=(value_type,),
        period_type=period_type,
        period=period,
        time_unix_ns=time_unix_ns,
        duration_ns=duration_ns,
    )


def encode_samples(
    samples: Iterable[tuple[tuple[Frame, ...], tuple[int, ...], tuple[tuple[str, str], ...]]],
    *,
    sample_types: tuple[ValueType, ...],
    period_type: ValueType,
    period: int,
    time_unix_ns: int,
    duration_ns: int,
) -> bytes:
    """Return one Profile of samples with labels.

    Args:
        samples: (stack, values, labels): leaf first; a value for each sample type; (name, value) pairs.
        sample_types: what the values mean.
        period_type: what is counted between two samples.
        period: the distance of two samples, in the period type's unit.
        time_unix_ns: calendar time of the window's start.
        duration_ns: exact length of the window.
    """
    strings = _Strings()
    functions: dict[tuple[str, str, int], int] = {}
    locations: dict[Frame, int] = {}
    out = [delimited(1, _value_type(strings, value_type)) for value_type in sample_types]
    for stack, values, labels in samples:
        ids = [_location_id(frame, locations, functions) for frame in stack]
        pairs = (integer(1, strings.index(name)) + integer(2, strings.index(text)) for name, text in labels)
        out.append(
            delimited(2, packed(1, ids) + packed(2, values) + b"".join(delimited(3, pair) for pair in pairs))
        )
    out.extend(_locations(locations, functions))
    out.extend(_functions(functions, strings))
    out.append(integer(9, time_unix_ns))
    out.append(integer(10, duration_ns))
    out.append(delimited(11, _value_type(strings, period_type)))
    out.append(integer(12, period))
    out.append(strings.encoded())
    return b"".join(out)


def _value_type(strings: _Strings, value: ValueType) -> bytes:
    return integer(1, strings.index(value.type)) + integer(2, strings.index(value.unit))


def _location_id(
    frame: Frame, locations: dict[Frame, int], functions: dict[tuple[str, str, int], int]
) -> int:
    found = locations.get(frame)
    if found is None:
        found = locations[frame] = len(locations) + 1
        functions.setdefault(frame[:3], len(functions) + 1)
    return found


def _locations(locations: dict[Frame, int], functions: dict[tuple[str, str, int], int]) -> Iterable[bytes]:
    for frame, location_id in locations.items():
        line = integer(1, functions[frame[:3]]) + integer(2, frame.line)
        yield delimited(4, integer(1, location_id) + delimited(4, line))


def _functions(functions: dict[tuple[str, str, int], int], strings: _Strings) -> Iterable[bytes]:
    for (name, filename, start_line), function_id in functions.items():
        yield delimited(
            5,
            integer(1, function_id)
            + integer(2, strings.index(name))
            + integer(3, strings.index(name))
            + integer(4, strings.index(filename))
            + integer(5, start_line),
        )
