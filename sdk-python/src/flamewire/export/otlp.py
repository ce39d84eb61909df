"""OTLP profiles over HTTP, written by hand (SDK-045): the layout of opentelemetry-proto 1.10 and 1.11.

Strings, functions, locations, stacks, attributes and links stand once, in a dictionary beside the profiles;
entry 0 of each table is its zero value and means "none". A profile has one sample type.

Source: https://github.com/open-telemetry/opentelemetry-proto, v1.10.0, profiles/v1development
"""

from __future__ import annotations

import platform
import uuid
from typing import TYPE_CHECKING, ClassVar, Final

from flamewire._version import __version__
from flamewire.config import RESOURCE_TAGS
from flamewire.pprof import Frame, ValueType
from flamewire.pprof_read import ReadProfile, ReadSample, read
from flamewire.protowire import delimited, fields, fixed64, integer, packed

if TYPE_CHECKING:
    from flamewire.config import Options
    from flamewire.engines.base import Window

__all__ = ["OtlpWire"]

# Of two attributes that make one tag, the later is the name that is in force.
_ATTRIBUTES: Final = {tag: attribute for attribute, tag in RESOURCE_TAGS.items()}
_NO_LINK: Final = (bytes(16), bytes(8))


class OtlpWire:
    """ExportProfilesServiceRequest; two of them one after another are none, since each has its dictionary."""

    path: ClassVar[str] = "/v1development/profiles"
    content_type: ClassVar[str] = "application/x-protobuf"
    joinable: ClassVar[bool] = False

    def encode(self, options: Options, window: Window, profile_id: uuid.UUID) -> bytes:
        """Return a request with one resource, one scope, and a profile for each sample type of the window."""
        found = read(window.pprof)
        tables = _Dictionary()
        profiles = b"".join(
            delimited(2, _profile(tables, found, place, _id_of(profile_id, place)))
            for place in range(len(found.sample_types))
        )
        scope = delimited(1, _utf8("flamewire/python")) + delimited(2, _utf8(__version__))
        resource = b"".join(
            delimited(1, delimited(1, _utf8(name)) + delimited(2, delimited(1, _utf8(value))))
            for name, value in _resource(options).items()
        )
        resource_profiles = delimited(1, resource) + delimited(2, delimited(1, scope) + profiles)
        return delimited(1, resource_profiles) + delimited(2, tables.encoded())

    def refusal(self, answer: bytes) -> str:
        """Return why a server that answered with success has not taken all, "" where it has."""
        try:
            for number, partial in fields(answer):
                if number != 1 or not isinstance(partial, bytes):
                    continue
                found = dict(fields(partial))
                if found.get(1):
                    words = found.get(2, b"")
                    return (
                        words.decode("utf-8", "replace") if isinstance(words, bytes) and words else "rejected"
                    )
        except ValueError:
            return ""
        return ""


class _Table:
    """Entries by their encoded or given form; the index of each is the order of its arrival."""

    def __init__(self) -> None:
        self.indices: dict[object, int] = {}
        self.encoded: list[bytes] = []

    def index(self, key: object, encoded: bytes) -> int:
        found = self.indices.get(key)
        if found is None:
            found = self.indices[key] = len(self.encoded)
            self.encoded.append(encoded)
        return found


class _Dictionary:
    """ProfilesDictionary."""

    def __init__(self) -> None:
        self._strings, self._functions, self._locations = _Table(), _Table(), _Table()
        self._links, self._attributes, self._stacks = _Table(), _Table(), _Table()
        self.string("")
        for table in (self._functions, self._locations, self._attributes, self._stacks):
            table.index(None, b"")
        self.link(*_NO_LINK)

    def string(self, text: str) -> int:
        return self._strings.index(text, _utf8(text))

    def value_type(self, value: ValueType) -> bytes:
        return integer(1, self.string(value.type)) + integer(2, self.string(value.unit))

    def link(self, trace_id: bytes, span_id: bytes) -> int:
        key = (trace_id, span_id)
        return self._links.index(key, delimited(1, trace_id) + delimited(2, span_id))

    def attribute(self, name: str, value: str) -> int:
        known = self._attributes.indices.get((name, value))
        if known is not None:
            return known
        encoded = integer(1, self.string(name)) + delimited(2, delimited(1, _utf8(value)))
        return self._attributes.index((name, value), encoded)

    def stack(self, frames: tuple[Frame, ...]) -> int:
        known = self._stacks.indices.get(frames)
        if known is not None:
            return known
        return self._stacks.index(frames, packed(1, [self._location(frame) for frame in frames]))

    def encoded(self) -> bytes:
        tables = {
            2: self._locations,
            3: self._functions,
            4: self._links,
            5: self._strings,
            6: self._attributes,
            7: self._stacks,
        }
        # The mapping of index 0; there are no others, since Python has none.
        out = [delimited(1, b"")]
        out.extend(delimited(number, entry) for number, table in tables.items() for entry in table.encoded)
        return b"".join(out)

    def _location(self, frame: Frame) -> int:
        known = self._locations.indices.get(frame)
        if known is not None:
            return known
        key = frame[:3]
        function = (
            integer(1, self.string(frame.function))
            + integer(2, self.string(frame.function))
            + integer(3, self.string(frame.filename))
            + integer(4, frame.start_line)
        )
        line = integer(1, self._functions.index(key, function)) + integer(2, frame.line)
        return self._locations.index(frame, delimited(3, line))


def _profile(tables: _Dictionary, found: ReadProfile, place: int, profile_id: uuid.UUID) -> bytes:
    samples = b"".join(
        delimited(2, _sample(tables, sample, sample.values[place]))
        for sample in found.samples
        if sample.values[place]
    )
    return b"".join(
        (
            delimited(1, tables.value_type(found.sample_types[place])),
            samples,
            fixed64(3, found.time_unix_ns),
            integer(4, found.duration_ns),
            delimited(5, tables.value_type(found.period_type)),
            # No period: where there is one, Pyroscope and its like name the family after its type ("cpu"), so
            # that the profile would not stand with those of push.v1.
            delimited(7, profile_id.bytes),
        )
    )


def _sample(tables: _Dictionary, sample: ReadSample, value: int) -> bytes:
    labels = dict(sample.labels)
    link = 0
    trace_id, span_id = labels.get("trace_id"), labels.get("span_id")
    if trace_id is not None and span_id is not None:
        link = tables.link(bytes.fromhex(trace_id), bytes.fromhex(span_id))
        # The link says both; the innermost span and the name, which it has no place for, stay.
        del labels["trace_id"], labels["span_id"]
    attributes = [tables.attribute(name, text) for name, text in labels.items()]
    return (
        integer(1, tables.stack(sample.stack))
        + (packed(2, attributes) if attributes else b"")
        + integer(3, link)
        + packed(4, (value,))
    )


def _resource(options: Options) -> dict[str, str]:
    return {
        "telemetry.sdk.name": "flamewire",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": __version__,
        "process.runtime.name": platform.python_implementation().lower(),
        "process.runtime.version": platform.python_version(),
        **{_ATTRIBUTES.get(name, name): value for name, value in options.tags.items()},
        "service.name": options.service_name,
    }


def _id_of(profile_id: uuid.UUID, place: int) -> uuid.UUID:
    """Return the id of the profile of one sample type; the same again at each attempt."""
    return profile_id if place == 0 else uuid.uuid5(profile_id, str(place))


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")
