"""A maker of OTLP profiles of 1.7 to 1.11 and in JSON, independent of the code under test."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

RANGES, VALUES_SECOND, VALUES_FOURTH = "1.7", "1.8", "1.10"
LAYOUTS = (RANGES, VALUES_SECOND, "1.9", VALUES_FOURTH)


@dataclass
class Sample:
    """A sample: folded stack (root first), values, timestamps, attributes, (trace id, span id)."""

    stack: str
    values: Sequence[int] = ()
    times_ns: Sequence[int] = ()
    attributes: Mapping[str, str | int | bool] = field(default_factory=dict)
    link: tuple[bytes, bytes] | None = None


@dataclass
class Profile:
    samples: Sequence[Sample]
    sample_type: tuple[str, str] = ("samples", "count")
    period_type: tuple[str, str] = ("cpu", "nanoseconds")
    period: int = 10_000_000
    time_ns: int = 0
    profile_id: bytes = b""
    temporality: int = 0


@dataclass
class Export:
    """Profiles of one resource and scope, with the tables that they share."""

    profiles: Sequence[Profile]
    resource: Mapping[str, str | int | bool] = field(default_factory=dict)
    scope: Mapping[str, str | int | bool] = field(default_factory=dict)


def varint(number: int) -> bytes:
    out = bytearray()
    number &= 2**64 - 1
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def integer(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value) if value else b""


def text(number: int, value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def packed(number: int, values: Sequence[int]) -> bytes:
    return text(number, b"".join(varint(value) for value in values)) if values else b""


def fixed(number: int, values: Sequence[int]) -> bytes:
    return text(number, struct.pack(f"<{len(values)}Q", *values)) if values else b""


def any_value(value: str | int | bool) -> bytes:
    if isinstance(value, bool):
        return varint(2 << 3) + varint(value)
    return text(1, value) if isinstance(value, str) else varint(3 << 3) + varint(value)


class Tables:
    """The dictionary under construction; entry 0 of each table is empty."""

    def __init__(self, layout: str) -> None:
        self.layout = layout
        self.strings: dict[str, int] = {"": 0}
        self.functions: dict[str, int] = {"": 0}
        self.stacks: dict[str, int] = {"": 0}
        self.attributes: dict[tuple[str, str | int | bool], int] = {}
        self.links: dict[tuple[bytes, bytes], int] = {}

    def string(self, value: str) -> int:
        return self.strings.setdefault(value, len(self.strings))

    def function(self, name: str) -> int:
        self.string(name)
        return self.functions.setdefault(name, len(self.functions))

    def locations(self, folded: str) -> list[int]:
        # A location has the number of its function.
        return [self.function(name) for name in reversed(folded.split(";"))] if folded else []

    def stack(self, folded: str) -> int:
        self.locations(folded)
        return self.stacks.setdefault(folded, len(self.stacks))

    def attribute(self, key: str, value: str | int | bool) -> int:
        self.string(key)
        return self.attributes.setdefault((key, value), len(self.attributes) + 1)

    def link(self, ids: tuple[bytes, bytes]) -> int:
        return self.links.setdefault(ids, len(self.links) + 1)

    def encode(self) -> bytes:
        string = self.string
        mapping = integer(1, 4096) + integer(2, 8192) + integer(4, string("libwork.so"))
        functions = [
            integer(1, string(name)) + integer(3, name and string("app.py")) for name in self.functions
        ]
        lines = [text(3, integer(1, number) + integer(2, 7)) for number in range(len(functions))]
        attributes = [
            (text(1, key) if self.layout == RANGES else integer(1, string(key))) + text(2, any_value(value))
            for key, value in self.attributes
        ]
        out = text(1, b"") + text(1, mapping)
        out += text(2, b"") + b"".join(text(2, line) for line in lines[1:])
        out += b"".join(text(3, function) for function in functions)
        out += text(4, b"") + b"".join(text(4, text(1, trace) + text(2, span)) for trace, span in self.links)
        out += text(6, b"") + b"".join(text(6, attribute) for attribute in attributes)
        if self.layout != RANGES:
            out += b"".join(text(7, packed(1, self.locations(folded))) for folded in self.stacks)
        return out + b"".join(text(5, one) for one in self.strings)


def encode(export: Export, layout: str = VALUES_FOURTH) -> bytes:
    """Encode an ExportProfilesServiceRequest as the version does."""
    tables = Tables(layout)
    profiles = b"".join(text(2, _profile(profile, tables)) for profile in export.profiles)
    scope = text(1, b"".join(text(3, _key_value(*pair)) for pair in export.scope.items()))
    resource = text(1, b"".join(text(1, _key_value(*pair)) for pair in export.resource.items()))
    return text(1, resource + text(2, scope + profiles)) + text(2, tables.encode())


def _key_value(key: str, value: str | int | bool) -> bytes:
    return text(1, key) + text(2, any_value(value))


def _profile(profile: Profile, tables: Tables) -> bytes:
    name, unit = profile.sample_type
    kind = integer(1, tables.string(name)) + integer(2, tables.string(unit)) + integer(3, profile.temporality)
    period_type = text(
        0 + (6 if tables.layout == RANGES else 5),
        integer(1, tables.string(profile.period_type[0])) + integer(2, tables.string(profile.period_type[1])),
    )
    out = text(1, kind) + period_type + integer(7 if tables.layout == RANGES else 6, profile.period)
    locations: list[int] = []
    for sample in profile.samples:
        out += text(2, _sample(sample, tables, locations))
    time_ns = profile.time_ns or time.time_ns()
    if tables.layout == RANGES:
        out += packed(3, locations) + integer(4, time_ns)
    else:
        out += varint(3 << 3 | 1) + struct.pack("<Q", time_ns)
    number = {RANGES: 10, VALUES_SECOND: 8}.get(tables.layout, 7)
    return out + (text(number, profile.profile_id) if profile.profile_id else b"")


def _sample(sample: Sample, tables: Tables, locations: list[int]) -> bytes:
    attributes = [tables.attribute(*pair) for pair in sample.attributes.items()]
    link = tables.link(sample.link) if sample.link else 0
    if tables.layout == RANGES:
        stack = tables.locations(sample.stack)
        locations.extend(stack)
        head = integer(1, len(locations) - len(stack)) + integer(2, len(stack))
        return (
            head
            + packed(3, sample.values)
            + packed(4, attributes)
            + integer(5, link)
            + packed(6, sample.times_ns)
        )
    head, times = integer(1, tables.stack(sample.stack)), fixed(5, sample.times_ns)
    if tables.layout == VALUES_FOURTH:
        return head + packed(2, attributes) + integer(3, link) + packed(4, sample.values) + times
    return head + packed(2, sample.values) + packed(3, attributes) + integer(4, link) + times


def encode_json(export: Export) -> bytes:
    """Encode a request as OTLP's JSON of 1.10: 64-bit numbers as strings, ids in hex."""
    tables = Tables(VALUES_FOURTH)

    def value(one: str | int | bool) -> dict[str, Any]:
        if isinstance(one, bool):
            return {"boolValue": one}
        return {"stringValue": one} if isinstance(one, str) else {"intValue": str(one)}

    def pairs(attributes: Mapping[str, str | int | bool]) -> list[dict[str, Any]]:
        return [{"key": key, "value": value(one)} for key, one in attributes.items()]

    profiles = [
        {
            "sampleType": dict(
                zip(("typeStrindex", "unitStrindex"), map(tables.string, one.sample_type), strict=True)
            ),
            "periodType": dict(
                zip(("typeStrindex", "unitStrindex"), map(tables.string, one.period_type), strict=True)
            ),
            "period": str(one.period),
            "timeUnixNano": str(one.time_ns or time.time_ns()),
            "profileId": one.profile_id.hex(),
            "samples": [
                {
                    "stackIndex": tables.stack(sample.stack),
                    "values": [str(number) for number in sample.values],
                    "timestampsUnixNano": [str(number) for number in sample.times_ns],
                    "attributeIndices": [tables.attribute(*pair) for pair in sample.attributes.items()],
                    "linkIndex": tables.link(sample.link) if sample.link else 0,
                }
                for sample in one.samples
            ],
        }
        for one in export.profiles
    ]
    dictionary = {
        "stackTable": [{"locationIndices": tables.locations(folded)} for folded in tables.stacks],
        "locationTable": [
            {"lines": [{"functionIndex": n, "line": "7"}] if n else []} for n in tables.functions.values()
        ],
        "functionTable": [{"nameStrindex": tables.string(name)} for name in tables.functions],
        "linkTable": [{}, *({"traceId": trace.hex(), "spanId": span.hex()} for trace, span in tables.links)],
        "attributeTable": [
            {}, *({"keyStrindex": tables.string(key), "value": value(one)} for key, one in tables.attributes),
        ],
        "mappingTable": [{}],
    }  # fmt: skip
    scope = {"scope": {"attributes": pairs(export.scope)}, "profiles": profiles}
    resource = {"resource": {"attributes": pairs(export.resource)}, "scopeProfiles": [scope]}
    return json.dumps(
        {"resourceProfiles": [resource], "dictionary": {**dictionary, "stringTable": list(tables.strings)}}
    ).encode()
