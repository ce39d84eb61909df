"""google.v1.Profile (pprof) read back by hand, for whoever turns an engine's windows into something else.

Only what engines of this package write is kept: no mappings, addresses or numeric labels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flamewire.pprof import Frame, ValueType
from flamewire.protowire import fields, varints

__all__ = ["ReadProfile", "ReadSample", "read"]


@dataclass(frozen=True, slots=True)
class ReadSample:
    """One sample: its stack (leaf first), a value for each sample type, and its labels in order of names."""

    stack: tuple[Frame, ...]
    values: tuple[int, ...]
    labels: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ReadProfile:
    """A profile with its tables resolved."""

    sample_types: tuple[ValueType, ...]
    samples: tuple[ReadSample, ...]
    period_type: ValueType
    period: int
    time_unix_ns: int
    duration_ns: int


@dataclass(slots=True)
class _Tables:
    strings: list[str] = field(default_factory=list)
    functions: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """Id -> name, file name (indices of strings) and first line."""
    locations: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """Id -> function id and line, innermost first."""


def read(pprof: bytes) -> ReadProfile:
    """Return what the engine wrote.

    Costs O(size) with the GIL held.

    Raises:
        ValueError: it is no profile.
    """
    tables = _Tables()
    numbers = {9: 0, 10: 0, 12: 0}
    types: list[bytes] = []
    raw_samples: list[bytes] = []
    period_type = b""
    for number, value in fields(pprof):
        if isinstance(value, int):
            if number in numbers:
                numbers[number] = value
        elif number == 1:
            types.append(value)
        elif number == 2:
            raw_samples.append(value)
        elif number == 4:
            _add_location(tables, value)
        elif number == 5:
            _add_function(tables, value)
        elif number == 6:
            tables.strings.append(value.decode("utf-8", "replace"))
        elif number == 11:
            period_type = value
    try:
        frames = {place: _frames(tables, place) for place in tables.locations}
        return ReadProfile(
            sample_types=tuple(_value_type(tables, raw) for raw in types),
            samples=tuple(_sample(tables, frames, raw) for raw in raw_samples),
            period_type=_value_type(tables, period_type),
            period=numbers[12],
            time_unix_ns=numbers[9],
            duration_ns=numbers[10],
        )
    except (KeyError, IndexError) as error:
        raise ValueError(f"the profile names an entry that it does not have: {error}") from error


def _integers(message: bytes) -> dict[int, int]:
    return {number: value for number, value in fields(message) if isinstance(value, int)}


def _add_location(tables: _Tables, message: bytes) -> None:
    place, lines = 0, []
    for number, value in fields(message):
        if number == 1 and isinstance(value, int):
            place = value
        elif number == 4 and isinstance(value, bytes):
            line = _integers(value)
            lines.append((line.get(1, 0), line.get(2, 0)))
    tables.locations[place] = lines


def _add_function(tables: _Tables, message: bytes) -> None:
    found = _integers(message)
    tables.functions[found.get(1, 0)] = (found.get(2, 0), found.get(4, 0), found.get(5, 0))


def _frames(tables: _Tables, place: int) -> tuple[Frame, ...]:
    found = []
    for function_id, line in tables.locations[place]:
        name, filename, start_line = tables.functions[function_id]
        found.append(Frame(tables.strings[name], tables.strings[filename], start_line, line))
    return tuple(found)


def _value_type(tables: _Tables, message: bytes) -> ValueType:
    found = _integers(message)
    return ValueType(tables.strings[found.get(1, 0)], tables.strings[found.get(2, 0)])


def _sample(tables: _Tables, frames: dict[int, tuple[Frame, ...]], message: bytes) -> ReadSample:
    stack: list[Frame] = []
    values: list[int] = []
    labels: list[tuple[str, str]] = []
    for number, value in fields(message):
        if number == 1:
            for place in varints(value):
                stack.extend(frames[place])
        elif number == 2:
            values.extend(_signed(each) for each in varints(value))
        elif number == 3 and isinstance(value, bytes):
            label = _integers(value)
            labels.append((tables.strings[label.get(1, 0)], tables.strings[label.get(2, 0)]))
    return ReadSample(tuple(stack), tuple(values), tuple(sorted(labels)))


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
