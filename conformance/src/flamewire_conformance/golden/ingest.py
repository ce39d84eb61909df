"""Vectors of /ingest in all its forms."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence

from flamewire_conformance.golden.push import STACKS, pprof
from flamewire_conformance.golden.vector import CPU, SERVICE, TIME_NS, Meaning, Vector
from flamewire_conformance.protowrite import varint

__all__ = ["ingest_vectors"]

_BOUNDARY = "golden-boundary"
_FORM = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
_OCTETS = {"Content-Type": "application/octet-stream"}
_COUNTS = {"main;handle;parse": 7, "main;handle;render": 2, "main;idle": 1}
_SECONDS = (Meaning(CPU, {stack: count * 10_000_000 for stack, count in _COUNTS.items()}),)
_FOLDED = "".join(f"{stack} {count}\n" for stack, count in _COUNTS.items()).encode()
_NAMED = (Meaning(CPU, STACKS, {"region": "eu", "pyroscope_spy": "gospy", "__delta__": "false"}),)


def ingest_vectors() -> Iterator[Vector]:
    """Yield all vectors of this endpoint."""
    yield from _pprof()
    yield from _stacks()
    yield from _speedscope()
    yield from _refused()


def _ingest(name: str, about: str, spec: Sequence[str], body: bytes, **rest: object) -> Vector:
    query = {"name": SERVICE, "from": str(TIME_NS), "until": str(TIME_NS + 10**10)}
    wanted = rest.pop("query", {})
    assert isinstance(wanted, Mapping)
    rest.setdefault("headers", _OCTETS)
    return Vector(f"ingest/{name}", about, tuple(spec), "/ingest", body, query={**query, **wanted}, **rest)  # type: ignore[arg-type]


def _form(parts: Mapping[str, bytes]) -> bytes:
    lines = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}.bin"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + content
        for name, content in parts.items()
    ]
    return b"\r\n".join([*lines, f"--{_BOUNDARY}--\r\n".encode()])


def _pprof() -> Iterator[Vector]:
    go = {"name": f"{SERVICE}{{region=eu}}", "spyName": "gospy", "sampleRate": "100"}
    yield _ingest(
        "pprof",
        "The body is a pprof.",
        ["FMT-001", "FMT-004", "FMT-010", "FMT-014"],
        pprof(),
        query={**go, "format": "pprof"},
        meaning=_NAMED,
    )
    yield _ingest(
        "pprof-gzip",
        "The body is a gzipped pprof without a time.",
        ["FMT-012", "FMT-021"],
        gzip.compress(pprof(time_ns=0), mtime=0),
        query={**go, "format": "pprof"},
        meaning=_NAMED,
    )
    yield _ingest(
        "form",
        "A form, as pyroscope-go sends it.",
        ["FMT-010", "FMT-012", "FMT-013"],
        _form({"profile": gzip.compress(pprof(time_ns=0), mtime=0)}),
        headers=_FORM,
        query=go,
        meaning=_NAMED,
    )
    types = [("contentions", "count"), ("delay", "nanoseconds")]
    mutex = pprof({"main;lock": 4}, sample_types=types, period_type=("contentions", "count"), period=1)
    for family in ("mutex", "block"):
        shown = {
            "contentions": {"display-name": f"{family}_count"},
            "delay": {"display-name": f"{family}_duration"},
        }
        meaning = [
            Meaning(f"{family}:{kind}:{unit}:contentions:count", {"main;lock": 4}) for kind, unit in types
        ]
        yield _ingest(
            f"form-{family}",
            f"A form whose sample_type_config says that it is a {family} profile.",
            ["FMT-013", "FMT-020"],
            _form({"profile": mutex, "sample_type_config": json.dumps(shown).encode()}),
            headers=_FORM,
            query={**go, "sampleRate": "0"},
            meaning=meaning,
        )
    yield _ingest(
        "name-labels",
        "Values are not quoted, spaces do not count, the last of a key counts.",
        ["FMT-001"],
        pprof(),
        query={"format": "pprof", "name": f"{SERVICE}{{ a = 1 ,b=2,a=3}}"},
        meaning=(Meaning(CPU, STACKS, {"a": "3", "b": "2", "pyroscope_spy": "unknown"}),),
    )
    wall = [("samples", "count"), ("wall", "nanoseconds")]
    yield _ingest(
        "pprof-wall",
        "A type called wall makes the family wall.",
        ["FMT-020"],
        pprof({"main;a": 5}, sample_types=wall, period_type=("wall", "nanoseconds")),
        query={"format": "pprof", "spyName": "nodespy"},
        meaning=(Meaning("wall:wall:nanoseconds:wall:nanoseconds", {"main;a": 5}),),
    )
    yield _ingest(
        "pprof-ruby",
        "Ruby's function names get their file in front.",
        ["FMT-022"],
        pprof({"main": 5}),
        query={"format": "pprof", "spyName": "rbspy"},
        meaning=(Meaning(CPU, {"program.py main": 5}),),
    )


def _entry(name: str, count: int, children: Sequence[bytes] = ()) -> bytes:
    return varint(len(name)) + name.encode() + varint(count) + varint(len(children)) + b"".join(children)


def _frames(separator: str) -> bytes:
    handle = _entry(f"handle{separator}", 0, [_entry("parse", 7), _entry("render", 2)])
    return _entry("", 0, [_entry(f"main{separator}", 0, [handle, _entry("idle", 1)])])


def _stacks() -> Iterator[Vector]:
    lines = "".join(f"{stack}\n" * count for stack, count in _COUNTS.items()).encode()
    bodies = {"groups": _FOLDED, "lines": lines, "tree": _frames(""), "trie": _frames(";")}
    for name, body in bodies.items():
        yield _ingest(
            name,
            f"The format {name}.",
            ["FMT-010", "FMT-030", "FMT-032"],
            body,
            query={"format": name},
            meaning=_SECONDS,
        )
        if name in ("tree", "trie"):
            yield _ingest(
                f"{name}-by-content-type",
                f"The format {name}, named by the Content-Type.",
                ["FMT-010"],
                body,
                headers={"Content-Type": f"binary/octet-stream+{name}"},
                meaning=_SECONDS,
            )
    yield _ingest(
        "groups-by-default", "Without a format it is groups.", ["FMT-010"], _FOLDED, meaning=_SECONDS
    )
    slow = (Meaning(CPU, {stack: count * 20_000_000 for stack, count in _COUNTS.items()}),)
    yield _ingest(
        "groups-50-hz",
        "Counts are multiplied by the period.",
        ["FMT-032"],
        _FOLDED,
        query={"sampleRate": "50"},
        meaning=slow,
    )
    suffixes = {
        "alloc_space": "memory:alloc_space:bytes::",
        "inuse_objects": "memory:inuse_objects:count::",
        "goroutines": "goroutine:goroutines:count::",
        "exceptions": "exceptions:samples:count::",
    }
    for suffix, profile_type in suffixes.items():
        yield _ingest(
            f"groups-{suffix}",
            f"The suffix {suffix} tells the profile type.",
            ["FMT-031"],
            _FOLDED,
            query={"name": f"{SERVICE}.{suffix}"},
            meaning=(Meaning(profile_type, _COUNTS),),
        )


def _speedscope() -> Iterator[Vector]:
    frames = [{"name": name} for name in ("main", "handle", "parse", "idle")]
    sampled = {
        "type": "sampled",
        "name": "one",
        "unit": "nanoseconds",
        "startValue": 0,
        "endValue": 100,
        "samples": [[0, 1, 2], [0, 3]],
        "weights": [70, 30],
    }
    file = {"shared": {"frames": frames}, "profiles": [sampled]}
    yield _ingest(
        "speedscope",
        "A speedscope file of nanoseconds.",
        ["FMT-040"],
        json.dumps(file).encode(),
        query={"format": "speedscope"},
        meaning=(Meaning("wall:wall:nanoseconds::", {"main;handle;parse": 70, "main;idle": 30}),),
    )
    broken = {"shared": {"frames": frames}, "profiles": [{**sampled, "samples": [[0, 99], [0]]}]}
    yield _ingest(
        "speedscope-index",
        "A frame that is not there.",
        ["FMT-014"],
        json.dumps(broken).encode(),
        query={"format": "speedscope"},
        status=(422,),
        hostile=True,
    )


def _refused() -> Iterator[Vector]:
    yield _ingest(
        "no-name",
        "A name without an application.",
        ["FMT-001"],
        pprof(),
        query={"format": "pprof", "name": "{a=b}"},
        status=(400,),
        hostile=True,
    )
    yield _ingest(
        "no-pair",
        "A label without a value.",
        ["FMT-001"],
        pprof(),
        query={"format": "pprof", "name": f"{SERVICE}{{a}}"},
        status=(400,),
        hostile=True,
    )
    yield _ingest(
        "bad-time",
        "A time that is none.",
        ["FMT-002"],
        pprof(),
        query={"format": "pprof", "from": "yesterday"},
        status=(400,),
        hostile=True,
    )
    yield _ingest(
        "no-pprof",
        "A body that is no pprof.",
        ["FMT-014"],
        b"\x00garbage",
        query={"format": "pprof"},
        status=(422,),
        hostile=True,
    )
    yield _ingest(
        "jfr-garbage",
        "A body that says jfr and is none.",
        ["FMT-011"],
        b"garbage",
        query={"format": "jfr"},
        status=(400, 415, 422, 501),
        hostile=True,
    )
    yield _ingest(
        "previous-profile",
        "A form with a prev_profile.",
        ["FMT-013"],
        _form({"profile": pprof(), "prev_profile": pprof()}),
        headers=_FORM,
        status=(400, 422),
        hostile=True,
    )
    yield _ingest(
        "form-without-profile",
        "A form without the part profile.",
        ["FMT-014"],
        _form({"other": b"x"}),
        headers=_FORM,
        status=(400, 422),
        hostile=True,
    )
    yield _ingest(
        "unknown-suffix",
        "A suffix that is none of the table.",
        ["FMT-031"],
        _FOLDED,
        query={"name": f"{SERVICE}.nonsense"},
        status=(400, 422),
        hostile=True,
    )
    deep = b"\x01a\x00\x01" * 50_000 + b"\x01a\x01\x00"
    yield _ingest(
        "tree-deep",
        "A tree of fifty thousand frames, one in another.",
        ["ING-023"],
        deep,
        query={"format": "tree"},
        status=(200, 422),
        hostile=True,
    )
    yield _ingest(
        "tree-many-children",
        "A tree that says it has 2^62 children.",
        ["FMT-014", "ING-023"],
        b"\x01a\x01" + varint(1 << 62),
        query={"format": "tree"},
        status=(422,),
        hostile=True,
    )
    bomb = gzip.compress(bytes(32 << 20), mtime=0)
    yield _ingest(
        "bomb",
        "A pprof of 32 MiB of zeros in 32 KB of gzip.",
        ["ING-024"],
        bomb,
        query={"format": "pprof"},
        status=(413, 422),
        hostile=True,
    )
    yield _ingest(
        "speedscope-deep",
        "JSON of a hundred thousand lists, one in another.",
        ["FMT-014", "ING-023"],
        b"[" * 100_000,
        query={"format": "speedscope"},
        status=(422,),
        hostile=True,
    )
