"""The neutral model of a profile, and the reader of pprof that fills it."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass

from flamewire_conformance.errors import WireError
from flamewire_conformance.protowire import Message

__all__ = ["Frame", "Profile", "Sample", "read_profile"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a stack."""

    function: str
    filename: str
    start_line: int
    line: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample.

    Attributes:
        stack: leaf first, as on the wire.
        values: one for each sample type.
        labels: string labels as (key, value), in order, repeated keys kept.
    """

    stack: tuple[Frame, ...]
    values: tuple[int, ...]
    labels: tuple[tuple[str, str], ...]

    def has(self, function: str) -> bool:
        """Tell whether the function is in the stack."""
        return any(frame.function == function for frame in self.stack)

    def values_of(self, key: str) -> tuple[str, ...]:
        """Return the values of a label; more than one breaks LAB-032."""
        return tuple(value for name, value in self.labels if name == key)


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile as it was on the wire, and what is wrong with its form.

    Attributes:
        faults: breaches of PPR-001 to PPR-005, in words; samples that cannot be resolved are left out.
        repeated_locations: locations that stand for the same lines as another one (PPR-028).
    """

    sample_types: tuple[tuple[str, str], ...]
    samples: tuple[Sample, ...]
    period_type: tuple[str, str]
    period: int
    time_unix_ns: int
    duration_ns: int
    faults: tuple[str, ...]
    repeated_locations: int

    def value_index(self, sample_type: str) -> int | None:
        """Return the place of a sample type among the values."""
        return next((at for at, (name, _) in enumerate(self.sample_types) if name == sample_type), None)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.top = Message(data)
        self.strings = self.top.texts(6)
        self.faults: list[str] = []
        if not self.strings or self.strings[0] != "":
            self.faults.append("string 0 of the string table is not empty (PPR-001)")
        self.functions = self._functions()
        self.repeated_locations = 0
        self.locations = self._locations()

    def string(self, index: int) -> str:
        if 0 <= index < len(self.strings):
            return self.strings[index]
        self.faults.append(f"string index {index} is outside the table of {len(self.strings)} (PPR-001)")
        return ""

    def value_type(self, message: Message) -> tuple[str, str]:
        return self.string(message.integer(1)), self.string(message.integer(2))

    def _functions(self) -> dict[int, tuple[str, str, int]]:
        found: dict[int, tuple[str, str, int]] = {}
        for one in self.top.messages(5):
            name, filename = self.string(one.integer(2)), self.string(one.integer(4))
            found[one.integer(1)] = (name, filename, one.integer(5))
        return found

    def _locations(self) -> dict[int, tuple[Frame, ...]]:
        found: dict[int, tuple[Frame, ...]] = {}
        seen: set[tuple[Frame, ...]] = set()
        for one in self.top.messages(4):
            frames = []
            for line in one.messages(4):
                if (function := self.functions.get(line.integer(1))) is None:
                    self.faults.append(
                        f"a line names function {line.integer(1)}, which is not there (PPR-003)"
                    )
                    continue
                frames.append(Frame(*function, line.integer(2)))
            place = tuple(frames)
            self.repeated_locations += bool(place) and place in seen
            seen.add(place)
            found[one.integer(1)] = place
        return found

    def samples(self, types: int) -> list[Sample]:
        found = []
        for one in self.top.messages(2):
            values = tuple(one.integers(2))
            if len(values) != types:
                self.faults.append(f"a sample has {len(values)} values for {types} sample types (PPR-002)")
                continue
            stack: list[Frame] = []
            for place in one.integers(1):
                if place not in self.locations:
                    self.faults.append(f"a sample names location {place}, which is not there (PPR-003)")
                stack.extend(self.locations.get(place, ()))
            labels = tuple(
                (self.string(label.integer(1)), self.string(label.integer(2)))
                for label in one.messages(3)
                if label.integer(2)
            )
            found.append(Sample(tuple(stack), values, labels))
        return found


def read_profile(data: bytes) -> Profile:
    """Read a pprof profile, gzipped or not.

    Raises:
        WireError: the bytes are no message. What is wrong within a message stands in ``Profile.faults``.
    """
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise WireError(f"the profile's gzip is broken: {error}") from error
    reader = _Reader(data)
    types = tuple(reader.value_type(one) for one in reader.top.messages(1))
    if not types or not all(name and unit for name, unit in types):
        reader.faults.append("there is no sample type, or one without type or unit (PPR-005)")
    periods = [reader.value_type(one) for one in reader.top.messages(11)]
    samples = reader.samples(len(types))
    return Profile(
        sample_types=types,
        samples=tuple(samples),
        period_type=periods[-1] if periods else ("", ""),
        period=reader.top.integer(12),
        time_unix_ns=reader.top.integer(9),
        duration_ns=reader.top.integer(10),
        faults=tuple(dict.fromkeys(reader.faults)),
        repeated_locations=reader.repeated_locations,
    )
