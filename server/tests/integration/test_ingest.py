"""/ingest in all its forms: what was sent is what queries answer, under the official names."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Sequence
from urllib.parse import urlencode

import pytest
from server_process import CPU, Reply, ServerProcess, make_profile, read_flamegraph, recent, zstd_frame

STACKS = {"main;handle;parse": 7, "main;handle;render": 2, "main;idle": 1}
FOLDED = "".join(f"{stack} {count}\n" for stack, count in STACKS.items()).encode()
BOUNDARY = "a-boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
GO_MUTEX = {
    "contentions": {"units": "lock_samples", "display-name": "mutex_count"},
    "delay": {"units": "lock_nanoseconds", "display-name": "mutex_duration"},
}
GO_BLOCK = {
    "contentions": {"units": "lock_samples", "display-name": "block_count"},
    "delay": {"units": "lock_nanoseconds", "display-name": "block_duration"},
}


def ingest(
    server: ServerProcess,
    body: bytes,
    *,
    path: str = "/ingest",
    content_type: str = "application/octet-stream",
    headers: dict[str, str] | None = None,
    **query: object,
) -> Reply:
    query.setdefault("from", time.time_ns())
    url = f"{path}?{urlencode(query)}"
    return server.ask("POST", url, body, {"Content-Type": content_type, **(headers or {})})


def form(parts: dict[str, bytes]) -> bytes:
    """Encode parts as Go's SDK does."""
    lines = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}.bin"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + content
        for name, content in parts.items()
    ]
    return b"\r\n".join([*lines, f"--{BOUNDARY}--\r\n".encode()])


def stacks(server: ServerProcess, selector: str, profile_type: str) -> dict[str, int]:
    """Read each stack's own value."""
    reply = server.query(
        "SelectMergeStacktraces", profileTypeID=profile_type, labelSelector=selector, **recent()
    )
    return {path: own for path, (_, own) in read_flamegraph(reply["flamegraph"]).items() if own}


def types(server: ServerProcess, service: str) -> list[str]:
    reply = server.query(
        "LabelValues", name="__profile_type__", matchers=[f'{{service_name="{service}"}}'], **recent()
    )
    return sorted(reply.get("names", []))


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def entry(name: str, count: int, children: Sequence[bytes] = ()) -> bytes:
    return varint(len(name)) + name.encode() + varint(count) + varint(len(children)) + b"".join(children)


TREE = entry(
    "",
    0,
    [entry("main", 0, [entry("handle", 0, [entry("parse", 7), entry("render", 2)]), entry("idle", 1)])],
)
TRIE = entry(
    "",
    0,
    [entry("main;", 0, [entry("handle;", 0, [entry("parse", 7), entry("render", 2)]), entry("idle", 1)])],
)
LINES = "".join(f"{stack}\n" * count for stack, count in STACKS.items()).encode()


@pytest.mark.parametrize("path", ["/ingest", "/pyroscope/ingest"])
@pytest.mark.parametrize(
    ("form_name", "content_type", "body"),
    [
        ("", "text/plain", FOLDED),
        ("groups", "", FOLDED),
        ("folded", "", FOLDED.replace(b"\n", b"\r\n\r\n")),
        ("lines", "", LINES),
        ("tree", "", TREE),
        ("", "binary/octet-stream+tree", TREE),
        ("trie", "", TRIE),
        ("", "binary/octet-stream+trie", TRIE),
    ],
)
def test_stacks_with_counts_become_cpu_time(
    server: ServerProcess, path: str, form_name: str, content_type: str, body: bytes
) -> None:
    service = f"counted-{path}-{form_name}-{content_type}"
    reply = ingest(
        server, body, path=path, content_type=content_type, format=form_name, name=f"{service}{{region=eu}}"
    )
    assert (reply.status, reply.body) == (200, b"")
    want = {stack: count * 10_000_000 for stack, count in STACKS.items()}
    selector = f'{{service_name="{service}", region="eu", pyroscope_spy="unknown", __delta__="false"}}'
    assert stacks(server, selector, CPU) == want
    assert types(server, service) == [CPU]


@pytest.mark.parametrize(
    ("suffix", "rate", "profile_type", "factor"),
    [
        ("cpu", 50, CPU, 20_000_000),
        ("itimer", 100, CPU, 10_000_000),
        ("cpu", 0, "process_cpu:samples:count::", 1),
        ("wall", 100, "wall:wall:nanoseconds:cpu:nanoseconds", 10_000_000),
        ("inuse_space", 100, "memory:inuse_space:bytes::", 1),
        ("alloc_objects", 100, "memory:alloc_objects:count::", 1),
        ("alloc_in_new_tlab_bytes", 100, "memory:alloc_in_new_tlab_bytes:bytes::", 1),
        ("goroutines", 100, "goroutine:goroutines:count::", 1),
        ("mutex_duration", 100, "mutex:delay:nanoseconds::", 1),
        ("lock_count", 100, "block:contentions:count::", 1),
        ("exceptions", 100, "exceptions:samples:count::", 1),
        ("live", 100, "memory:live:count::", 1),
    ],
)
def test_the_suffix_of_the_name_tells_the_profile_type(
    server: ServerProcess, suffix: str, rate: int, profile_type: str, factor: int
) -> None:
    service = f"suffix-{suffix}-{rate}"
    assert ingest(server, FOLDED, name=f"{service}.{suffix}", sampleRate=rate).status == 200
    assert types(server, service) == [profile_type]
    want = {stack: count * factor for stack, count in STACKS.items()}
    assert stacks(server, f'{{service_name="{service}"}}', profile_type) == want


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd_frame])
@pytest.mark.parametrize("as_form", [False, True])
def test_a_pprof_is_taken_raw_and_as_a_form(server: ServerProcess, pack: object, as_form: bool) -> None:
    service = f"pprof-{getattr(pack, '__name__', '')}-{as_form}"
    body = pack(make_profile(STACKS).SerializeToString())  # type: ignore[operator]
    if as_form:
        reply = ingest(server, form({"profile": body}), content_type=FORM, name=service, spyName="gospy")
    else:
        reply = ingest(server, body, format="pprof", name=service, spyName="gospy")
    assert (reply.status, reply.body) == (200, b"")
    assert stacks(server, f'{{service_name="{service}", pyroscope_spy="gospy"}}', CPU) == STACKS


def test_nodes_older_form_with_a_named_format_is_taken(server: ServerProcess) -> None:
    body = form({"profile": gzip.compress(make_profile(STACKS).SerializeToString())})
    assert ingest(server, body, content_type=FORM, format="pprof", name="old-node").status == 200
    assert stacks(server, '{service_name="old-node"}', CPU) == STACKS


@pytest.mark.parametrize(("config", "family"), [(GO_MUTEX, "mutex"), (GO_BLOCK, "block")])
def test_the_display_name_tells_mutex_from_block(
    server: ServerProcess, config: dict[str, dict[str, str]], family: str
) -> None:
    profile = make_profile(STACKS, sample_types=[("contentions", "count"), ("delay", "nanoseconds")])
    body = form({"profile": profile.SerializeToString(), "sample_type_config": json.dumps(config).encode()})
    assert ingest(server, body, content_type=FORM, name=f"go-{family}", sampleRate=0).status == 200
    want = [f"{family}:contentions:count:cpu:nanoseconds", f"{family}:delay:nanoseconds:cpu:nanoseconds"]
    assert types(server, f"go-{family}") == want


@pytest.mark.parametrize("time_ns", [0, 10**10])
def test_a_pprof_without_a_time_has_that_of_the_query(server: ServerProcess, time_ns: int) -> None:
    profile = make_profile(STACKS)
    profile.time_nanos = time_ns
    from_s = int(time.time()) - 7200
    name = f"timeless-{time_ns}"
    assert (
        ingest(server, profile.SerializeToString(), format="pprof", name=name, **{"from": from_s}).status
        == 200
    )
    assert not types(server, name)
    reply = server.query(
        "LabelValues",
        name="__profile_type__",
        matchers=[f'{{service_name="{name}"}}'],
        start=from_s * 1000 - 1,
        end=from_s * 1000 + 1,
    )
    assert reply["names"] == [CPU]


def test_the_labels_of_the_name_are_those_of_the_series(server: ServerProcess) -> None:
    name = "labelled{__session_id__=0011223344556677,otel.scope.name=x/y,service_name=cart,__type__=z}"
    assert ingest(server, FOLDED, name=name).status == 200
    wanted = ["app_name", "otel.scope.name", "service_name", "__session_id__", "__type__"]
    reply = server.query("Series", matchers=['{service_name="cart"}'], labelNames=wanted, **recent())
    assert {pair["name"]: pair["value"] for pair in reply["labelsSet"][0]["labels"]} == {
        "app_name": "labelled",
        "otel.scope.name": "x/y",
        "service_name": "cart",
        "__type__": "cpu",
    }


@pytest.mark.parametrize(
    ("spy", "file", "shown"),
    [
        ("rbspy", "app.rb", "app.rb work"),
        ("scripting", "/srv/app.php", "/srv/app.php work"),
        ("pyspy", "app.py", "app.py work"),
        ("pyspy", "/srv/app.py", "work"),
        ("gospy", "app.go", "work"),
    ],
)
def test_functions_of_scripting_languages_are_shown_with_their_files(
    server: ServerProcess, spy: str, file: str, shown: str
) -> None:
    profile = make_profile({"work": 5})
    profile.string_table[list(profile.string_table).index("program.py")] = file
    name = f"spy-{spy}-{len(file)}"
    body = profile.SerializeToString()
    assert ingest(server, body, format="pprof", name=name, spyName=spy).status == 200
    assert stacks(server, f'{{service_name="{name}"}}', CPU) == {shown: 5}


def test_pprofs_of_dotnet_are_mended(server: ServerProcess) -> None:
    profile = make_profile({"main;work": 5}, sample_types=[("alloc-size", "bytes")])
    for function in profile.function:
        function.id = 0
    for location in profile.location:
        location.line[0].function_id = 0
    body = profile.SerializeToString()
    assert ingest(server, body, format="pprof", name="dotnet", spyName="dotnetspy").status == 200
    (found,) = types(server, "dotnet")
    assert found == "memory:alloc_size:bytes:cpu:nanoseconds"
    assert sum(stacks(server, '{service_name="dotnet"}', found).values()) == 5


def speedscope(profiles: list[dict[str, object]]) -> bytes:
    frames = [
        {"name": name, "file": "a.js", "line": 3} for name in ("main", "handle", "parse", "render", "idle")
    ]
    schema = "https://www.speedscope.app/file-format-schema.json"
    return json.dumps({"$schema": schema, "shared": {"frames": frames}, "profiles": profiles}).encode()


SAMPLED = {
    "type": "sampled", "name": "a", "unit": "milliseconds", "startValue": 0, "endValue": 10,
    "samples": [[0, 1, 2], [0, 1, 3], [0, 4], [0, 1, 2]], "weights": [3, 2, 1, 4],
}  # fmt: skip
EVENTED = {
    "type": "evented", "name": "b", "unit": "milliseconds", "startValue": 5, "endValue": 15,
    "events": [
        {"type": kind, "frame": frame, "at": at}
        for kind, frame, at in [
            ("O", 0, 5), ("O", 1, 5), ("O", 2, 5), ("C", 2, 12), ("O", 3, 12), ("C", 3, 14), ("C", 1, 14),
            ("O", 4, 14), ("C", 4, 15), ("C", 0, 15),
        ]
    ],
}  # fmt: skip

WRONG_FRAME = speedscope([{"samples": [[9]], "weights": [1]}])


@pytest.mark.parametrize(("profile", "name"), [(SAMPLED, "sampled"), (EVENTED, "evented")])
def test_speedscope_files_become_wall_time(
    server: ServerProcess, profile: dict[str, object], name: str
) -> None:
    assert ingest(server, speedscope([profile]), format="speedscope", name=name).status == 200
    want = {stack: count * 1_000_000 for stack, count in STACKS.items()}
    assert stacks(server, f'{{service_name="{name}"}}', "wall:wall:nanoseconds::") == want


def test_a_body_without_an_id_counts_each_time(server: ServerProcess) -> None:
    for _ in range(2):
        assert ingest(server, FOLDED, name="twice").status == 200
    assert sum(stacks(server, '{service_name="twice"}', CPU).values()) == 2 * 10 * 10_000_000


@pytest.mark.parametrize(
    ("query", "content_type", "body", "status", "words"),
    [
        ({}, "", FOLDED, 400, "name="),
        ({"name": "a", "from": "soon"}, "", FOLDED, 400, "from="),
        ({"name": "a.unheard_of"}, "", FOLDED, 422, "unknown profile type"),
        ({"name": "a"}, "", b"main;work seven\n", 422, "line 1"),
        ({"name": "a"}, "", b"main -1\n", 422, "line 1"),
        ({"name": "a"}, "", b"main 99999999999999999\n", 422, "too large"),
        ({"name": "a", "format": "tree"}, "", TREE[:-1], 422, "breaks off"),
        ({"name": "a", "format": "tree"}, "", b"\x00\x00\x02\x01a\x01\x00", 422, "last child"),
        ({"name": "a", "format": "tree"}, "", TREE + b"x", 422, "follow the end"),
        ({"name": "a", "format": "trie"}, "", TRIE[:-1], 422, "breaks off"),
        ({"name": "a", "format": "pprof"}, "", b"no pprof", 422, "corrupt"),
        ({"name": "a", "format": "jfr"}, "", b"FLR\0", 422, "JFR is not read"),
        ({"name": "a", "format": "speedscope"}, "", b"{}", 422, "profiles"),
        ({"name": "a", "format": "speedscope"}, "", WRONG_FRAME, 422, "frame 9"),
        ({"name": "a"}, "multipart/form-data", b"x", 422, "boundary"),
        ({"name": "a"}, FORM, form({"other": b"x"}), 422, "profile"),
        ({"name": "a"}, FORM, form({"profile": b"x", "prev_profile": b"x"}), 422, "unsupported client"),
        ({"name": "a", "from": "1000000000"}, "", FOLDED, 422, "old"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_words(
    server: ServerProcess, query: dict[str, str], content_type: str, body: bytes, status: int, words: str
) -> None:
    reply = ingest(server, body, content_type=content_type, **query)
    assert reply.status == status, reply.body
    assert reply.json()["code"] == "invalid_argument"
    assert words in reply.json()["message"]


def test_names_in_broken_utf8_are_no_defect(server: ServerProcess) -> None:
    reply = server.ask(
        "POST", "/ingest?name=%ff%fe{a=%ff}&spyName=%ff", FOLDED, {"Content-Type": "text/plain"}
    )
    assert reply.status < 500


def test_another_sites_page_may_not_push(server: ServerProcess) -> None:
    reply = ingest(server, FOLDED, name="page", headers={"Origin": "http://elsewhere.example"})
    assert reply.status == 403
    same = {"Origin": f"http://{server.host}:{server.port}"}
    assert ingest(server, FOLDED, name="page", headers=same).status == 200
