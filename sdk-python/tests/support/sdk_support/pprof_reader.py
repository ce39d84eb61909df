"""Reads push.v1 and pprof with the standard library only, so that the encoders are not judged by
themselves."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass


def fields(data: bytes) -> dict[int, list[int | bytes]]:
    """Return field number -> values in order: int for varints, bytes for length-delimited ones."""
    found: dict[int, list[int | bytes]] = defaultdict(list)
    position = 0
    while position < len(data):
        key, position = read_varint(data, position)
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            value, position = read_varint(data, position)
            found[number].append(value)
        elif wire_type == 2:
            length, position = read_varint(data, position)
            assert position + length <= len(data), "a field is longer than its message"
            found[number].append(data[position : position + length])
            position += length
        else:
            raise AssertionError(f"wire type {wire_type} is not used by these messages")
    return found


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


@dataclass(frozen=True)
class Sample:
    """One sample; the stack is leaf first, as (function, filename, start line, line)."""

    stack: tuple[tuple[str, str, int, int], ...]
    values: tuple[int, ...]
    labels: dict[str, str]

    @property
    def functions(self) -> tuple[str, ...]:
        return tuple(frame[0] for frame in self.stack)


@dataclass(frozen=True)
class Profile:
    sample_types: tuple[tuple[str, str], ...]
    samples: tuple[Sample, ...]
    period_type: tuple[str, str]
    period: int
    time_unix_ns: int
    duration_ns: int

    @property
    def total(self) -> int:
        return sum(sample.values[0] for sample in self.samples)

    def cpu_of(self, function: str) -> int:
        """Return the value of all samples that have the function in their stack."""
        return sum(sample.values[0] for sample in self.samples if function in sample.functions)


def read_profile(data: bytes) -> Profile:
    top = fields(data)
    strings = [text(value) for value in top[6]]
    assert strings[0] == "", "string 0 must be empty"
    functions = {}
    for raw in top[5]:
        function = fields(message(raw))
        functions[one(function, 1)] = (
            strings[one(function, 2)],
            strings[one(function, 4)],
            one(function, 5),
        )
    locations = {}
    for raw in top[4]:
        location = fields(message(raw))
        locations[one(location, 1)] = tuple(
            (*functions[one(line, 1)], one(line, 2)) for line in map(fields, map(message, location[4]))
        )
    samples = []
    for raw in top[2]:
        sample = fields(message(raw))
        stack = tuple(frame for place in integers(sample[1]) for frame in locations[place])
        pairs = [fields(message(label)) for label in sample[3]]
        labels = {strings[one(pair, 1)]: strings[one(pair, 2)] for pair in pairs}
        assert len(labels) == len(pairs), "a label stands twice on one sample"
        samples.append(Sample(stack, tuple(integers(sample[2])), labels))
    return Profile(
        sample_types=tuple(value_type(message(raw), strings) for raw in top[1]),
        samples=tuple(samples),
        period_type=value_type(message(top[11][0]), strings),
        period=one(top, 12),
        time_unix_ns=one(top, 9),
        duration_ns=one(top, 10),
    )


@dataclass(frozen=True)
class Push:
    labels: dict[str, str]
    profile_id: str
    profile: Profile


def read_push(data: bytes) -> list[Push]:
    pushes = []
    for raw_series in fields(data)[1]:
        series = fields(message(raw_series))
        pairs = [fields(message(pair)) for pair in series[1]]
        labels = {text(pair[1][0]): text(pair[2][0]) for pair in pairs}
        for raw_sample in series[2]:
            sample = fields(message(raw_sample))
            pushes.append(Push(labels, text(sample[2][0]), read_profile(message(sample[1][0]))))
    return pushes


def integers(values: list[int | bytes]) -> list[int]:
    """Return a repeated integer field, packed or not."""
    found: list[int] = []
    for value in values:
        if isinstance(value, int):
            found.append(value)
            continue
        position = 0
        while position < len(value):
            number, position = read_varint(value, position)
            found.append(number)
    return found


def one(message_fields: dict[int, list[int | bytes]], number: int) -> int:
    values = message_fields.get(number, [0])
    assert len(values) == 1
    assert isinstance(values[0], int)
    return values[0]


def message(value: int | bytes) -> bytes:
    assert isinstance(value, bytes)
    return value


def text(value: int | bytes) -> str:
    return message(value).decode("utf-8")


def value_type(data: bytes, strings: list[str]) -> tuple[str, str]:
    found = fields(data)
    return strings[one(found, 1)], strings[one(found, 2)]
