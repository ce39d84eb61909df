"""OTLP profiles in every layout: what was exported is what queries answer."""

from __future__ import annotations

import gzip
import json
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.proto.collector.profiles.v1development import profiles_service_pb2
from otlp_messages import (
    LAYOUTS,
    RANGES,
    VALUES_FOURTH,
    VALUES_SECOND,
    Export,
    Profile,
    Sample,
    Tables,
    encode,
    encode_json,
    fixed,
    integer,
    packed,
    text,
)
from server_process import CPU, JSON, Reply, ServerProcess, read_flamegraph, recent, zstd_frame

PATH = "/v1development/profiles"
METHOD = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export"
PROTOBUF = "application/x-protobuf"
CAPTURE = Path(__file__).parent / "captures" / "otel-ebpf-profiler-python312.otlp.pb"
STACKS = {"main;handle;parse": 7, "main;handle;render": 2, "main;idle": 1}
TRACE, SPAN = bytes(range(16)), bytes(range(8, 16))


def export(server: ServerProcess, body: bytes, *, path: str = PATH, **headers: str) -> Reply:
    sent = {"Content-Type": PROTOBUF, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return server.ask("POST", path, body, sent)


def of_service(service: str, *samples: Sample, **fields: object) -> Export:
    samples = samples or tuple(Sample(stack, [count]) for stack, count in STACKS.items())
    return Export([Profile(samples, **fields)], {"service.name": service})  # type: ignore[arg-type]


def stacks(server: ServerProcess, selector: str, profile_type: str = CPU, **fields: object) -> dict[str, int]:
    reply = server.query(
        "SelectMergeStacktraces", profileTypeID=profile_type, labelSelector=selector, **{**recent(), **fields}
    )
    return {path: own for path, (_, own) in read_flamegraph(reply["flamegraph"]).items() if own}


def types(server: ServerProcess, service: str) -> list[str]:
    matchers = [f'{{service_name="{service}"}}']
    reply = server.query("LabelValues", name="__profile_type__", matchers=matchers, **recent())
    return sorted(reply.get("names", []))


def labels(server: ServerProcess, service: str) -> dict[str, str]:
    matchers = [f'{{service_name="{service}"}}']
    body = json.dumps({"matchers": matchers, **recent()}).encode()
    names = server.query_raw("LabelNames", body, JSON, Accept="*/*;allow-utf8-labelnames=true").json()[
        "names"
    ]
    return {
        name: server.query("LabelValues", name=name, matchers=matchers, **recent())["names"][0]
        for name in names
        if not name.startswith("__")
    }


@pytest.mark.parametrize("path", [PATH, METHOD])
@pytest.mark.parametrize("layout", [*LAYOUTS, "json"])
def test_counts_of_samples_become_cpu_time_in_every_layout(
    server: ServerProcess, layout: str, path: str
) -> None:
    service = f"layout-{layout}-{path[1:5]}"
    one = of_service(
        service, *(Sample(stack, [n], attributes={"route": "/x"}) for stack, n in STACKS.items())
    )
    if layout == "json":
        reply = export(server, encode_json(one), path=path, Content_Type=JSON)
        assert (reply.status, reply.headers["content-type"], reply.body) == (200, JSON, b"{}")
    else:
        reply = export(server, encode(one, layout), path=path)
        assert (reply.status, reply.headers["content-type"], reply.body) == (200, PROTOBUF, b"")
    want = {stack: count * 10_000_000 for stack, count in STACKS.items()}
    assert stacks(server, f'{{service_name="{service}", route="/x", __otel__="true"}}') == want
    assert types(server, service) == [CPU]


@pytest.mark.parametrize(
    ("layout", "shape"),
    # 1.7 has one value for each sample type, so never one for each timestamp.
    [
        (layout, shape)
        for layout in (*LAYOUTS, "json")
        for shape in ("values", "times", "both")
        if (layout, shape) != (RANGES, "both")
    ],
)
def test_every_shape_of_a_sample_counts(server: ServerProcess, layout: str, shape: str) -> None:
    """A sum, a count of timestamps, or a value at each timestamp."""
    now_ns = time.time_ns()
    sample = {
        "values": Sample("main", [10]),
        "times": Sample("main", [], [now_ns + n for n in range(10)]),
        "both": Sample("main", [2, 2, 3, 3], [now_ns, now_ns + 1, now_ns + 2, now_ns + 3]),
    }[shape]
    # An attribute is what tells the layouts apart where the fields do not.
    sample.attributes = {"thread.name": "worker", "thread.id": 7, "main": True}
    service = f"shape-{layout}-{shape}"
    one = of_service(service, sample)
    reply = (
        export(server, encode_json(one), Content_Type=JSON)
        if layout == "json"
        else export(server, encode(one, layout))
    )
    assert reply.status == 200, reply.body
    assert stacks(server, f'{{service_name="{service}"}}') == {"main": 100_000_000}
    kept = labels(server, service)
    assert (kept["thread.name"], kept["main"], kept.get("thread.id")) == ("worker", "true", None)


@pytest.mark.parametrize("layout", [*LAYOUTS, "json"])
def test_links_are_spans(server: ServerProcess, layout: str) -> None:
    service = f"spans-{layout}"
    one = of_service(service, Sample("main;in", [3], link=(TRACE, SPAN)), Sample("main;out", [4]))
    reply = (
        export(server, encode_json(one), Content_Type=JSON)
        if layout == "json"
        else export(server, encode(one, layout))
    )
    assert reply.status == 200, reply.body
    selector = f'{{service_name="{service}"}}'
    reply_json = server.query(
        "SelectMergeSpanProfile",
        profileTypeID=CPU,
        labelSelector=selector,
        spanSelector=[SPAN.hex()],
        **recent(),
    )
    found = {path: own for path, (_, own) in read_flamegraph(reply_json["flamegraph"]).items() if own}
    assert found == {"main;in": 30_000_000}
    assert set(labels(server, service)) == {"service.name", "service_name"}


def test_messages_of_the_official_package_are_read(server: ServerProcess) -> None:
    """Its protos are of 1.10 or newer; ours are written by hand, so the two check each other."""
    request = profiles_service_pb2.ExportProfilesServiceRequest.FromString(
        encode(of_service("official-proto"))
    )
    (profile,) = request.resource_profiles[0].scope_profiles[0].profiles
    assert [list(sample.values) for sample in profile.samples] == [[7], [2], [1]]
    assert export(server, request.SerializeToString()).status == 200
    assert sum(stacks(server, '{service_name="official-proto"}').values()) == 100_000_000


@pytest.mark.parametrize(
    ("sample_type", "period_type", "period", "stored"),
    [
        (("samples", "count"), ("cpu", "nanoseconds"), 1, CPU),
        (("off_cpu", "nanoseconds"), ("", ""), 0, "off_cpu:off_cpu:nanoseconds::"),
        (("wall", "nanoseconds"), ("wall", "nanoseconds"), 1, "wall:wall:nanoseconds:wall:nanoseconds"),
        (("itimer", "ns"), ("", ""), 0, "itimer:itimer:ns::"),
        (("cpu", "nanoseconds"), ("", ""), 0, "process_cpu:cpu:nanoseconds::"),
        (("inuse_space", "bytes"), ("space", "bytes"), 512, "space:inuse_space:bytes:space:bytes"),
        (("allocated objects!", "count"), ("9 x", "y"), 1, "_9_x:allocated objects!:count:9 x:y"),
    ],
)
def test_types_have_their_official_names(
    server: ServerProcess,
    sample_type: tuple[str, str],
    period_type: tuple[str, str],
    period: int,
    stored: str,
) -> None:
    service = f"type-{sample_type[0]}-{period_type[0]}"
    one = of_service(service, sample_type=sample_type, period_type=period_type, period=period)
    reply = export(server, encode(one))
    assert reply.status == 200, reply.body
    assert types(server, service) == [stored]
    assert stacks(server, f'{{service_name="{service}"}}', stored) == STACKS


def test_attributes_of_resource_and_scope_are_labels(server: ServerProcess) -> None:
    one = of_service("attributes")
    one.resource = {
        **one.resource,
        "host.name": "a",
        "process.pid": 7,
        "debug": True,
        "__name__": "x",
        "": "y",
    }
    one.scope = {"host.name": "b", "library": "z", "service.name": "of the scope"}
    assert export(server, encode(one)).status == 200
    assert labels(server, "attributes") == {
        "service.name": "attributes", "service_name": "attributes", "host.name": "a", "process.pid": "7",
        "debug": "true", "library": "z",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("resource", "service"),
    [
        ({}, "unknown_service"),
        ({"process.executable.name": "python3.12"}, "unknown_service:python3.12"),
        ({"service.name": "", "process.executable.name": "p"}, "unknown_service:p"),
    ],
)
def test_a_missing_service_name_is_accepted(
    server: ServerProcess, resource: dict[str, str | int | bool], service: str
) -> None:
    assert export(server, encode(Export([Profile([Sample("main", [1])])], resource))).status == 200
    assert stacks(server, f'{{service_name="{service}"}}') == {"main": 10_000_000}


def test_samples_may_name_services_of_their_own(server: ServerProcess) -> None:
    one = of_service(
        "host",
        Sample("a", [1], attributes={"service.name": "first"}),
        Sample("b", [2], attributes={"service.name": "second", "x": "y"}),
        Sample("c", [4]),
    )
    assert export(server, encode(one)).status == 200
    for service, want in (("first", {"a": 1}), ("second", {"b": 2}), ("host", {"c": 4})):
        assert stacks(server, f'{{service_name="{service}"}}') == {k: v * 10_000_000 for k, v in want.items()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_profile_id_counts_once_and_none_each_time(server: ServerProcess, layout: str) -> None:
    for name, profile_id, times in (("id", uuid.uuid4().bytes, 1), ("none", b"", 2), ("zero", bytes(16), 2)):
        one = of_service(
            f"once-{layout}-{name}", Sample("main", [1]), profile_id=profile_id, time_ns=time.time_ns()
        )
        body = encode(one, layout)
        assert export(server, body).status == export(server, body).status == 200
        want = {"main": times * 10_000_000}
        assert stacks(server, f'{{service_name="once-{layout}-{name}"}}') == want


def test_a_profile_without_a_time_has_that_of_its_first_sample(server: ServerProcess) -> None:
    at_ns = time.time_ns() - 7200 * 10**9
    request = profiles_service_pb2.ExportProfilesServiceRequest.FromString(
        encode(of_service("timeless", Sample("main", [], [at_ns + 5, at_ns])))
    )
    request.resource_profiles[0].scope_profiles[0].profiles[0].time_unix_nano = 0
    assert export(server, request.SerializeToString()).status == 200
    span = {"start": at_ns // 10**6, "end": at_ns // 10**6 + 1}
    assert stacks(server, '{service_name="timeless"}', **span) == {"main": 20_000_000}


@pytest.mark.parametrize("pack", [gzip.compress, zstd_frame])
def test_the_body_may_be_compressed(server: ServerProcess, pack: Callable[[bytes], bytes]) -> None:
    name = "gzip" if pack is gzip.compress else "zstd"
    one = of_service(f"packed-{name}")
    assert export(server, pack(encode(one)), Content_Encoding=name).status == 200
    assert export(server, pack(encode_json(one)), Content_Encoding=name, Content_Type=JSON).status == 200
    assert sum(stacks(server, f'{{service_name="packed-{name}"}}').values()) == 200_000_000


def test_the_export_of_the_ebpf_profiler_is_stored_whole(start_server: Callable[..., ServerProcess]) -> None:
    """Its 42 timestamps of 50 ms, native frames with build id and address, Python frames with names."""
    kept = {"FLAMEWIRE_SERVER_REJECT_OLDER_THAN": "100y", "FLAMEWIRE_SERVER_RETENTION_PERIOD": "0"}
    server = start_server(environ=kept)
    assert export(server, CAPTURE.read_bytes()).status == 200
    request = profiles_service_pb2.ExportProfilesServiceRequest.FromString(CAPTURE.read_bytes())
    (profile,) = request.resource_profiles[0].scope_profiles[0].profiles
    ticks = sum(len(sample.timestamps_unix_nano) for sample in profile.samples)
    span = {"start": 1795461000000, "end": 1795462000000}
    query = {"profileTypeID": CPU, "labelSelector": '{service_name="unknown_service:python3.12"}', **span}
    graph = server.query("SelectMergeStacktraces", **query)["flamegraph"]
    assert int(graph["total"]) == ticks * 50_000_000 == 2_100_000_000
    # What the official package reads in it: ticks in which a Python function is on the stack.
    tables = request.dictionary
    functions = [tables.string_table[one.name_strindex] for one in tables.function_table]
    want: Counter[str] = Counter()
    for sample in profile.samples:
        locations = [
            tables.location_table[n] for n in tables.stack_table[sample.stack_index].location_indices
        ]
        names = {functions[line.function_index] for one in locations for line in one.lines}
        want.update(
            {name: len(sample.timestamps_unix_nano) * 50_000_000 for name in names & {"parse", "digest"}}
        )
    found: Counter[str] = Counter()
    for path, (total, _) in read_flamegraph(graph).items():
        found[path.rpartition(";")[2]] += total
    assert {name: found[name] for name in want} == dict(want)
    assert want["parse"] > 0 < want["digest"]
    pprof = server.query("SelectMergeProfile", **query)
    text_of = pprof["stringTable"]
    build_ids = {text_of[int(one.get("buildId", 0))] for one in pprof["mapping"]}
    assert "f9d5c82f5f2c22df68c1d49c944ef3dee5103dcc" in build_ids
    native = [one for one in pprof["location"] if not one.get("line")]
    assert native
    assert all(int(one["address"]) and int(one["mappingId"]) for one in native)


def test_kernel_frames_and_inlined_lines_are_kept(server: ServerProcess) -> None:
    request = profiles_service_pb2.ExportProfilesServiceRequest.FromString(
        encode(of_service("kernel", Sample("main;work", [1])))
    )
    tables = request.dictionary
    kernel, inlined = len(tables.attribute_table), len(tables.function_table)
    key, value, name = len(tables.string_table), "kernel", len(tables.string_table) + 1
    tables.string_table.extend(["profile.frame.type", "inlined"])
    tables.attribute_table.add(key_strindex=key).value.string_value = value
    tables.function_table.add(name_strindex=name)
    tables.location_table.add(address=0x1234, attribute_indices=[kernel])
    tables.location_table.add().lines.add(function_index=inlined)
    tables.location_table[-1].lines.add(function_index=tables.location_table[1].lines[0].function_index)
    numbers = len(tables.location_table)
    tables.stack_table[1].location_indices[:] = [numbers - 2, numbers - 1]
    assert export(server, request.SerializeToString()).status == 200
    pprof = server.query(
        "SelectMergeProfile", profileTypeID=CPU, labelSelector='{service_name="kernel"}', **recent()
    )
    strings = pprof["stringTable"]
    assert [strings[int(one["filename"])] for one in pprof["mapping"]] == ["[kernel]"]
    lines = [one["line"] for one in pprof["location"] if one.get("line")]
    assert sorted(map(len, lines)) == [2]


def mixed() -> bytes:
    """Samples of 1.9 and of 1.10 in one request."""
    tables = Tables(VALUES_FOURTH)
    old = integer(1, 1) + packed(2, [1]) + packed(3, [1])
    new = integer(1, 1) + packed(2, [1]) + integer(3, 1) + packed(4, [1])
    tables.stack("main")
    profile = text(1, integer(1, tables.string("a"))) + text(2, old) + text(2, new)
    return text(1, text(2, text(2, profile))) + text(2, tables.encode())


def unfit() -> bytes:
    """Two numbers that are no attributes, and three timestamps."""
    tables = Tables(VALUES_FOURTH)
    tables.stack("main")
    profile = text(1, integer(1, tables.string("a"))) + text(
        2, integer(1, 1) + packed(2, [90, 91]) + fixed(5, [1, 2, 3])
    )
    return text(1, text(2, text(2, profile))) + text(2, tables.encode())


OLD_JSON = json.dumps(
    {"resourceProfiles": [{"scopeProfiles": [{"profiles": [{"timeNanos": "1"}]}]}]}
).encode()


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (text(1, text(2, text(2, b""))), PROTOBUF, "1.6 or older"),
        (mixed(), PROTOBUF, "different layouts"),
        (unfit(), PROTOBUF, "fit no layout"),
        (encode(of_service("e", Sample("main"))), PROTOBUF, "neither values nor timestamps"),
        (encode(of_service("e", Sample("main", [1, 2], [3]))), PROTOBUF, "2 values, 1 timestamps"),
        (encode(of_service("e", temporality=2), VALUES_SECOND), PROTOBUF, "cumulative"),
        (encode(of_service("e", temporality=2), RANGES), PROTOBUF, "cumulative"),
        (encode(of_service("e", time_ns=10**18)), PROTOBUF, "old"),
        (encode(of_service("e", Sample("main", [2**62]))), PROTOBUF, "64 bits"),
        (b"\xff", PROTOBUF, "not a message"),
        (b"{}", PROTOBUF, "not a message"),
        (b"\x08\x01", PROTOBUF, "wire type"),
        (b"[]", JSON, "JSON is wrong"),
        (OLD_JSON, JSON, "1.7"),
        (b'{"dictionary":{"linkTable":[{"traceId":"xyz"}]}}', JSON, "id is not hex"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_words(
    server: ServerProcess, body: bytes, content_type: str, words: str
) -> None:
    reply = export(server, body, Content_Type=content_type)
    assert (reply.status, reply.json()["code"]) == (400, "invalid_argument"), reply.body
    assert words in reply.json()["message"]


def test_an_index_beyond_its_table_is_refused(server: ServerProcess) -> None:
    request = profiles_service_pb2.ExportProfilesServiceRequest.FromString(
        encode(of_service("beyond", Sample("main", [1], attributes={"a": "b"}, link=(TRACE, SPAN))))
    )
    for table in ("string", "function", "location", "stack", "attribute", "link"):
        broken = profiles_service_pb2.ExportProfilesServiceRequest()
        broken.CopyFrom(request)
        del getattr(broken.dictionary, f"{table}_table")[1:]
        reply = export(server, broken.SerializeToString())
        assert reply.status == 400, table
        assert f"{table}_table" in reply.json()["message"], table


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_one_bad_profile_does_not_take_others_with_it(server: ServerProcess, content_type: str) -> None:
    service = f"partial-{content_type}"
    good, old = Profile([Sample("main", [1])]), Profile([Sample("main", [1])], time_ns=10**18)
    one = Export([old, good, old], {"service.name": service})
    before = server.metric("flamewire_rejected_total")
    reply = export(
        server, encode_json(one) if content_type == JSON else encode(one), Content_Type=content_type
    )
    assert reply.status == 200
    if content_type == JSON:
        partial = reply.json()["partialSuccess"]
        rejected, message = int(partial["rejectedProfiles"]), partial["errorMessage"]
    else:
        response = profiles_service_pb2.ExportProfilesServiceResponse.FromString(reply.body)
        rejected, message = response.partial_success.rejected_profiles, response.partial_success.error_message
    assert rejected == 2
    assert "old" in message
    assert stacks(server, f'{{service_name="{service}"}}') == {"main": 10_000_000}
    assert server.metric("flamewire_rejected_total") == before + 2


def test_an_empty_request_is_taken(server: ServerProcess) -> None:
    assert export(server, b"").status == 200
    assert export(server, b"{}", Content_Type=JSON).status == 200
    assert export(server, b"", Content_Type="text/plain").status == 415
