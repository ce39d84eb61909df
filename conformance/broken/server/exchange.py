"""What a fault gets to change: one request on its way to the server, one answer on its way back."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

from flamewire_conformance.protowrite import bytes_field, integer_field, varint

PUSH = "/push.v1.PusherService/Push"


@dataclass(slots=True)
class Exchange:
    """One request, its answer once it is there, and the means to ask the server more."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    forward: Callable[[Exchange], tuple[int, dict[str, str], bytes]]
    memory: dict[str, Any]
    status: int = 0
    answer_headers: dict[str, str] = field(default_factory=dict)
    answer: bytes = b""

    @property
    def target(self) -> str:
        return self.path + (f"?{urlencode(self.query)}" if self.query else "")

    @property
    def asks(self) -> str:
        """The method of the querier, empty elsewhere."""
        return self.path.rpartition("/")[2] if "/querier.v1" in self.path else ""

    @property
    def is_push(self) -> bool:
        return self.path == PUSH

    @property
    def is_ingest(self) -> bool:
        return self.path.endswith("/ingest")

    @property
    def is_json(self) -> bool:
        return "json" in self.headers.get("content-type", "")

    def send(self) -> None:
        self.status, self.answer_headers, self.answer = self.forward(self)

    def reply(self, status: int, body: bytes = b"{}", content_type: str = "application/json") -> None:
        self.status, self.answer, self.answer_headers = status, body, {"content-type": content_type}

    def asked(self) -> dict[str, Any]:
        """The request as JSON, empty where it is none."""
        return _object(self.body)

    def ask_instead(self, fields: dict[str, Any]) -> None:
        self.body = json.dumps(fields).encode()

    def answered(self) -> dict[str, Any]:
        return _object(self.answer) if "json" in self.answer_headers.get("content-type", "") else {}

    def answer_instead(self, fields: dict[str, Any]) -> None:
        self.answer = json.dumps(fields).encode()


def split_target(target: str) -> tuple[str, dict[str, str]]:
    path, _, query = target.partition("?")
    return path, dict(parse_qsl(query, keep_blank_values=True))


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


# Protobuf, field by field: what is not touched stays as it was, byte for byte.

Parts = list[tuple[int, int, int | bytes]]


def parts(data: bytes) -> Parts:
    """Split a message into (number, wire type, value); raises IndexError where it is none."""
    found: Parts = []
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(data, at)
            found.append((number, kind, value))
            continue
        size, at = _varint(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
        if at + size > len(data):
            raise IndexError("cut off")
        found.append((number, kind, data[at : at + size]))
        at += size
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def join(found: Parts) -> bytes:
    out = b""
    for number, kind, value in found:
        if isinstance(value, int):
            out += integer_field(number, value)
        else:
            out += bytes_field(number, value) if kind == 2 else varint(number << 3 | kind) + value
    return out


def edit(data: bytes, number: int, change: Callable[[bytes], bytes | None]) -> bytes:
    """Change each field of that number; None takes it out."""
    kept: Parts = []
    for one in parts(data):
        if one[0] != number or not isinstance(one[2], bytes):
            kept.append(one)
        elif (changed := change(one[2])) is not None:
            kept.append((one[0], one[1], changed))
    return join(kept)


def values(data: bytes, number: int) -> list[int]:
    """Read a packed field."""
    found = []
    for one, _, value in parts(data):
        if one == number and isinstance(value, int):
            found.append(value)
        elif one == number and isinstance(value, bytes):
            at = 0
            while at < len(value):
                got, at = _varint(value, at)
                found.append(got - (1 << 64) if got >= 1 << 63 else got)
    return found


def strings_of(profile: bytes) -> list[bytes]:
    return [value for number, _, value in parts(profile) if number == 6 and isinstance(value, bytes)]


def edit_series(exchange: Exchange, change: Callable[[bytes], bytes | None]) -> None:
    """Change each series of a push in protobuf; what cannot be read stays."""
    if not exchange.is_push or exchange.is_json:
        return
    try:
        zipped = exchange.headers.get("content-encoding") == "gzip"
        body = gzip.decompress(exchange.body) if zipped else exchange.body
        if len(body) > 4 << 20:
            return
        body = edit(body, 1, change)
        exchange.body = gzip.compress(body, 1) if zipped else body
    except (IndexError, KeyError, OSError, EOFError):
        return


def edit_profiles(exchange: Exchange, change: Callable[[bytes], bytes]) -> None:
    """Change each pprof of a push in protobuf, or of /ingest where the body is one."""

    def raw(profile: bytes) -> bytes:
        if profile[:2] == b"\x1f\x8b":
            unpacked = gzip.decompress(profile)
            return profile if len(unpacked) > 4 << 20 else gzip.compress(change(unpacked), 1)
        return change(profile)

    edit_series(exchange, lambda one: edit(one, 2, lambda sample: edit(sample, 1, raw)))
    if exchange.is_ingest and exchange.query.get("format") == "pprof":
        try:
            exchange.body = raw(exchange.body)
        except (IndexError, KeyError, OSError, EOFError):
            return


def edit_samples(exchange: Exchange, change: Callable[[list[bytes], bytes], bytes | None]) -> None:
    """Change each sample: given the strings of the profile and the sample, None takes it out."""

    def profile(data: bytes) -> bytes:
        strings = strings_of(data)
        return edit(data, 2, lambda sample: change(strings, sample))

    edit_profiles(exchange, profile)


def labels_of(strings: list[bytes], sample: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield (key, encoded label) of a sample."""
    for number, _, label in parts(sample):
        if number == 3 and isinstance(label, bytes):
            key = {one: value for one, _, value in parts(label)}.get(1, 0)
            yield (
                (
                    strings[key].decode("utf-8", "replace")
                    if isinstance(key, int) and key < len(strings)
                    else ""
                ),
                label,
            )
