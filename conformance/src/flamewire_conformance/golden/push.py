"""Vectors of push.v1, which also are those of pprof."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence

from flamewire_conformance.golden.vector import CPU, SERVICE, TIME_NS, Meaning, Vector
from flamewire_conformance.protowrite import (
    PprofSample,
    PprofWriter,
    bytes_field,
    integer_field,
    packed_field,
    varint,
)
from flamewire_conformance.wire import PUSH_PATH

__all__ = ["STACKS", "pprof", "push_vectors", "series"]

PROTO = {"Content-Type": "application/proto"}
JSON = {"Content-Type": "application/json"}
STACKS = {"main;handle;parse": 70, "main;handle;render": 20, "main;idle": 10}
PLAIN = (Meaning(CPU, STACKS),)
_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
_BOMB_BYTES = 80 << 20


def pprof(
    stacks: Mapping[str, int] = STACKS,
    *,
    labels: Mapping[str, Sequence[tuple[str, str]]] | None = None,
    time_ns: int = TIME_NS,
    extra: bytes = b"",
    **options: object,
) -> bytes:
    """Encode a CPU profile of folded stacks."""
    writer = PprofWriter(time_ns=time_ns, **options)  # type: ignore[arg-type]
    types: object = options.get("sample_types", ((),))
    assert isinstance(types, Sequence)
    for folded, value in stacks.items():
        stack = folded.split(";") if folded else []
        writer.add(PprofSample(stack, [value] * len(types), (labels or {}).get(folded, ())))
    writer.extend(extra)
    return writer.done()


def series(*profiles: bytes, name: str = "process_cpu", ids: Sequence[str] = (), **labels: str) -> bytes:
    """Encode one series of a PushRequest."""
    pairs = {"__name__": name, "service_name": SERVICE, **labels}
    body = b"".join(_label(key, text) for key, text in pairs.items())
    for at, profile in enumerate(profiles):
        own = bytes_field(2, ids[at]) if at < len(ids) else b""
        body += bytes_field(2, bytes_field(1, profile) + own)
    return bytes_field(1, body)


def _label(name: str | bytes, value: str | bytes) -> bytes:
    return bytes_field(1, bytes_field(1, name) + bytes_field(2, value))


def _json(profile: bytes, spelling: str = "rawProfile") -> bytes:
    labels = [{"name": "__name__", "value": "process_cpu"}, {"name": "service_name", "value": SERVICE}]
    sample = {spelling: base64.b64encode(profile).decode(), "ID": _ID}
    return json.dumps({"series": [{"labels": labels, "samples": [sample]}]}).encode()


def push_vectors() -> Iterator[Vector]:
    """Yield all vectors of this format."""
    yield from _good()
    yield from _refused()
    yield from _hostile()


def _push(name: str, about: str, spec: Sequence[str], body: bytes, **rest: object) -> Vector:
    rest.setdefault("headers", PROTO)
    return Vector(f"push/{name}", about, tuple(spec), PUSH_PATH, body, **rest)  # type: ignore[arg-type]


def _good() -> Iterator[Vector]:
    plain = series(pprof(), ids=[_ID])
    yield _push("plain", "A CPU profile of three stacks.", ["ING-002", "ING-010"], plain, meaning=PLAIN)
    yield _push(
        "gzip-body",
        "The whole body is gzipped; its time is 0, so that it counts as now.",
        ["ING-003", "ING-027"],
        gzip.compress(series(pprof(time_ns=0)), mtime=0),
        headers={**PROTO, "Content-Encoding": "gzip"},
        meaning=PLAIN,
    )
    yield _push(
        "gzip-profile",
        "The pprof inside is gzipped.",
        ["ING-007"],
        series(gzip.compress(pprof(time_ns=0), mtime=0)),
        meaning=PLAIN,
    )
    for spelling in ("rawProfile", "raw_profile"):
        yield _push(
            f"json-{spelling}",
            f"JSON with {spelling}.",
            ["ING-005"],
            _json(pprof(time_ns=0), spelling),
            headers=JSON,
            meaning=PLAIN,
        )
    two = series(pprof({"main;a": 1}), pprof({"main;b": 2}), part="one") + series(
        pprof({"main;c": 4}), part="two"
    )
    meaning = (
        Meaning(CPU, {"main;a": 1, "main;b": 2}, {"part": "one"}),
        Meaning(CPU, {"main;c": 4}, {"part": "two"}),
    )
    yield _push("several", "Two series, one of two profiles.", ["ING-008"], two, meaning=meaning)
    yield _push("nothing", "A request without any profile.", ["ING-009"], b"")
    yield _push("no-samples", "A profile without samples.", ["PPR-013"], series(pprof({})))
    yield _push(
        "no-location",
        "A sample without any location belongs to the root.",
        ["PPR-006"],
        series(pprof({"": 5, "main": 3})),
        meaning=(Meaning(CPU, {"": 5, "main": 3}),),
    )
    yield _push(
        "dropped-values",
        "Samples that are negative, and samples of 0, are dropped.",
        ["PPR-012"],
        series(pprof({"main;a": 7, "main;b": -3, "main;c": 0})),
        meaning=(Meaning(CPU, {"main;a": 7}),),
    )
    types = [("alloc_objects", "count"), ("alloc_space", "bytes")]
    memory = pprof({"main;a": 3}, sample_types=types, period_type=("space", "bytes"), period=524288)
    two_types = tuple(Meaning(f"memory:{kind}:{unit}:space:bytes", {"main;a": 3}) for kind, unit in types)
    yield _push(
        "two-types",
        "Two sample types are two series.",
        ["PPR-010"],
        series(memory, name="memory"),
        meaning=two_types,
    )
    twice = PprofWriter(time_ns=TIME_NS)
    for value in (3, 4):
        twice.add(PprofSample(["main", "a"], [value]))
    yield _push(
        "same-stack-twice",
        "Samples of one stack add up.",
        ["PPR-011"],
        series(twice.done()),
        meaning=(Meaning(CPU, {"main;a": 7}),),
    )
    yield _push(
        "inlined",
        "A location of two lines is two frames, the first the innermost.",
        ["PPR-016"],
        series(_inlined()),
        meaning=(Meaning(CPU, {"outer;inner": 9}),),
    )
    yield from _labelled()


def _inlined() -> bytes:
    writer = PprofWriter(time_ns=TIME_NS)
    inner, outer = writer.location("inner"), writer.location("outer")
    lines = b"".join(bytes_field(4, integer_field(1, one) + integer_field(2, 3)) for one in (inner, outer))
    writer.extend(bytes_field(4, integer_field(1, 9) + lines))
    writer.extend(bytes_field(2, packed_field(1, [9]) + packed_field(2, [9])))
    return writer.done()


def _labelled() -> Iterator[Vector]:
    labels = {"main;a": [("route", "/a")], "main;b": [("route", "/b")]}
    meaning = (
        Meaning(CPU, {"main;a": 1}, {"route": "/a"}),
        Meaning(CPU, {"main;b": 2}, {"route": "/b"}),
    )
    yield _push(
        "sample-labels",
        "Labels of samples split a profile into series.",
        ["LAB-020"],
        series(pprof({"main;a": 1, "main;b": 2}, labels=labels)),
        meaning=meaning,
    )
    labels = {"main;a": [("region", "us"), ("service_name", "thief"), ("__name__", "thief")]}
    yield _push(
        "label-wins",
        "A sample's label wins over the series' one, but for the service and private names.",
        ["LAB-021"],
        series(pprof({"main;a": 1}, labels=labels), region="eu"),
        meaning=(Meaning(CPU, {"main;a": 1}, {"region": "us"}),),
    )
    labels = {"main;a": [("route", "/first"), ("route", "/second")]}
    yield _push(
        "label-twice",
        "Of a key that stands twice on a sample the first counts.",
        ["LAB-022"],
        series(pprof({"main;a": 1}, labels=labels)),
        meaning=(Meaning(CPU, {"main;a": 1}, {"route": "/first"}),),
    )
    writer = PprofWriter(time_ns=TIME_NS)
    writer.add(PprofSample(["main", "a"], [1], numbers={"bytes": 512}))
    writer.add(PprofSample(["main", "a"], [2], numbers={"bytes": 1024}))
    yield _push(
        "numeric-labels",
        "Numeric labels are dropped.",
        ["LAB-023"],
        series(writer.done()),
        meaning=(Meaning(CPU, {"main;a": 3}, {"bytes": ""}),),
    )
    names = {"otel.scope.name": "a/b", "größe": "äöü", "empty": ""}
    yield _push(
        "label-names",
        "Dots and other characters of UTF-8 stay in names; an empty value is an absent label.",
        ["LAB-001", "LAB-006"],
        series(pprof(), **names),
        meaning=(Meaning(CPU, STACKS, {"otel.scope.name": "a/b", "größe": "äöü", "empty": ""}),),
    )
    span = [("span_id", "00000000000000aa"), ("span_name", "GET /"), ("trace_id", "0" * 30 + "bb")]
    yield _push(
        "span-labels",
        "The ids of spans do not become labels of series.",
        ["LAB-024", "SPN-007"],
        series(pprof({"main;a": 1}, labels={"main;a": span})),
        meaning=(Meaning(CPU, {"main;a": 1}, {"span_id": "", "span_name": "", "trace_id": ""}),),
    )
    bad = [("span_id", "xyz"), ("trace_id", "00")]
    yield _push(
        "span-ids-wrong",
        "An id that is none is ignored, and the sample kept.",
        ["SPN-008"],
        series(pprof({"main;a": 1}, labels={"main;a": bad})),
        meaning=(Meaning(CPU, {"main;a": 1}),),
    )


def _refused() -> Iterator[Vector]:
    """What ING-022 and labels.md refuse."""

    def refused(name: str, about: str, spec: Sequence[str], body: bytes, **rest: object) -> Vector:
        rest = {"status": (400,), "code": "invalid_argument", "hostile": True, **rest}
        return _push(name, about, spec, body, **rest)

    good = pprof()
    yield refused("no-message", "Bytes that are no message.", ["ING-022"], b"\xff\xff\xff\xff")
    yield refused("cut-off", "A request that ends too early.", ["ING-022"], series(good)[:-20])
    yield refused("no-profile", "A raw_profile that is no pprof.", ["ING-022"], series(b"\x00garbage"))
    yield refused("no-json", "JSON that is none.", ["ING-022"], b"{", headers=JSON)
    yield refused(
        "json-no-profile", "JSON whose profile is no pprof.", ["ING-022"], _json(b"\x00garbage"), headers=JSON
    )
    yield refused(
        "bad-gzip",
        "A body that says gzip and is none.",
        ["ING-022"],
        series(good),
        headers={**PROTO, "Content-Encoding": "gzip"},
    )
    yield refused(
        "string-index",
        "A string index outside the table.",
        ["PPR-001"],
        series(pprof(extra=bytes_field(5, integer_field(1, 99) + integer_field(2, 99_999)))),
    )
    yield refused(
        "first-string",
        "A string table that does not begin with the empty string.",
        ["PPR-001"],
        series(bytes_field(6, "first") + good),
    )
    values = bytes_field(2, packed_field(1, [1]) + packed_field(2, [1, 2]))
    yield refused(
        "value-count", "A sample of two values for one type.", ["PPR-002"], series(pprof(extra=values))
    )
    location = bytes_field(2, packed_field(1, [99]) + packed_field(2, [1]))
    yield refused(
        "no-such-location",
        "A sample that names a location that is not there.",
        ["PPR-003"],
        series(pprof(extra=location)),
    )
    line = bytes_field(4, integer_field(1, 99) + bytes_field(4, integer_field(1, 98)))
    sample = bytes_field(2, packed_field(1, [99]) + packed_field(2, [1]))
    yield refused(
        "no-such-function",
        "A line that names a function that is not there.",
        ["PPR-003"],
        series(pprof(extra=line + sample)),
    )
    untyped = bytes_field(6, "") + bytes_field(2, packed_field(2, [1]))
    yield refused(
        "no-sample-type", "A sample of a profile without sample types.", ["PPR-005"], series(untyped)
    )
    yield refused(
        "label-name-empty",
        "A label without a name.",
        ["LAB-001"],
        bytes_field(
            1, _label("__name__", "process_cpu") + _label("", "x") + bytes_field(2, bytes_field(1, good))
        ),
    )
    twice = _label("__name__", "process_cpu") + _label("service_name", SERVICE) * 2
    yield refused(
        "label-name-twice",
        "A label name that stands twice in a series.",
        ["LAB-002"],
        bytes_field(1, twice + bytes_field(2, bytes_field(1, good))),
    )
    unnamed = _label("service_name", SERVICE) + bytes_field(2, bytes_field(1, good))
    yield refused("no-family", "A series without __name__.", ["LAB-003"], bytes_field(1, unnamed))
    yield refused("family-with-colon", "A family with a colon.", ["LAB-003"], series(good, name="a:b"))
    yield refused("too-old", "A profile of the year 2001.", ["ING-026"], series(pprof(time_ns=10**18)))
    yield refused(
        "too-new", "A profile of the year 2100.", ["ING-026"], series(pprof(time_ns=4_102_444_800 * 10**9))
    )


def _hostile() -> Iterator[Vector]:
    """What is meant to harm."""
    gzipped = {**PROTO, "Content-Encoding": "gzip"}
    zeros = bytes(_BOMB_BYTES)
    yield _push(
        "bomb-body",
        "80 MiB of zeros in 80 KB of gzip.",
        ["ING-024"],
        gzip.compress(zeros, mtime=0),
        headers=gzipped,
        status=(413,),
        code="resource_exhausted",
        hostile=True,
    )
    bomb = gzip.compress(bytes_field(6, "") + bytes_field(6, zeros[: 32 << 20]), mtime=0)
    yield _push(
        "bomb-profile",
        "A pprof of 32 MiB in a gzip of 32 KB.",
        ["ING-024"],
        series(bomb),
        status=(400,),
        code="invalid_argument",
        hostile=True,
    )
    refused = {"status": (400,), "code": "invalid_argument", "hostile": True}
    yield _push(
        "varint-of-eleven-bytes",
        "A number of more than 64 bits.",
        ["ING-022", "ING-023"],
        series(pprof(extra=b"\x48" + b"\xff" * 10 + b"\x01")),
        **refused,
    )
    yield _push(
        "length-beyond-the-end",
        "A field that says it is 2^62 bytes long.",
        ["ING-022", "ING-023"],
        b"\x0a" + varint(1 << 62),
        **refused,
    )
    group = b"\x0b" * 10_000
    yield _push(
        "groups-in-groups",
        "Ten thousand groups, one in another.",
        ["ING-022", "ING-023"],
        series(pprof(extra=group)),
        **refused,
    )
    deep = ";".join(f"f{at}" for at in range(1200))
    kept = ";".join(f"f{at}" for at in range(1000))
    yield _push(
        "deep-stack",
        "A stack of 1,200 frames keeps its root side.",
        ["PPR-014"],
        series(pprof({deep: 11})),
        meaning=(Meaning(CPU, {kept: 11}),),
        hostile=True,
    )
    long = "x" * 1000 + "y" * 65_535
    yield _push(
        "long-string",
        "A function's name of 66,535 bytes keeps its tail.",
        ["PPR-015"],
        series(pprof({long: 3})),
        meaning=(Meaning(CPU, {"y" * 65_535: 3}),),
        hostile=True,
    )
    surrogate = series(pprof({"main": 1}, labels={"main": [("route", "\ud800")]}))
    yield _push(
        "surrogate-in-pprof",
        "A string that encodes half of a UTF-16 pair; no answer may be a fault of the server.",
        ["ING-023"],
        surrogate,
        status=(200, 400),
        hostile=True,
    )
    lone = _json(pprof(time_ns=0)).replace(
        b'"process_cpu"}', b'"process_cpu"}, {"name": "a", "value": "\\ud800"}'
    )
    yield _push(
        "surrogate-in-json",
        "JSON with half of a UTF-16 pair.",
        ["ING-023"],
        lone,
        headers=JSON,
        status=(200, 400),
        hostile=True,
    )
    yield _push(
        "json-key-twice",
        "JSON whose key stands twice.",
        ["ING-023"],
        b'{"series": [], "series": []}',
        headers=JSON,
        status=(200, 400),
        hostile=True,
    )
    yield _push(
        "json-deep",
        "JSON of ten thousand lists, one in another.",
        ["ING-022", "ING-023"],
        b'{"series": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        headers=JSON,
        **refused,
    )
    many = "".join(chr(ord("a") + at % 26) for at in range(1025))
    yield _push(
        "label-name-long",
        "A label name of 1,025 bytes.",
        ["ING-025"],
        series(pprof(), **{many: "x"}),
        **refused,
    )
    yield _push(
        "label-value-long",
        "A label value of 2,049 bytes.",
        ["ING-025"],
        series(pprof(), a="x" * 2049),
        **refused,
    )
    labels = {f"label{at}": "x" for at in range(31)}
    yield _push(
        "many-labels", "A series of more than 30 labels.", ["ING-025"], series(pprof(), **labels), **refused
    )
    crowd = PprofWriter(time_ns=TIME_NS)
    for _ in range(16_001):
        crowd.add(PprofSample(["main"], [1]))
    yield _push("many-samples", "A profile of 16,001 samples.", ["ING-025"], series(crowd.done()), **refused)
    tags = {"main": [(f"k{at}", "v") for at in range(101)]}
    yield _push(
        "many-sample-labels",
        "A sample of 101 labels.",
        ["ING-025"],
        series(pprof({"main": 1}, labels=tags)),
        **refused,
    )
