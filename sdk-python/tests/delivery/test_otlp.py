"""The OTLP exporter, judged by the classes that OpenTelemetry generates from its own protos."""

from __future__ import annotations

import gzip
import time
import uuid
from typing import Any

import pytest
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesPartialSuccess,
    ExportProfilesServiceRequest,
    ExportProfilesServiceResponse,
)
from sdk_support.programs import run_program
from sdk_support.push_server import PushServer, Reply

from flamewire.config import Options, resolve
from flamewire.engines.base import Window
from flamewire.export.exporter import Exporter
from flamewire.export.otlp import OtlpWire
from flamewire.export.transport import RequestsTransport
from flamewire.pprof import Frame, ValueType, encode
from flamewire.pprof_read import read

CPU = ValueType("cpu", "nanoseconds")
LEAF, CALLER = Frame("leaf", "app.py", 3, 7), Frame("main", "app.py", 1, 2)
START_UNIX_NS = 1_795_000_000_000_000_000


def options(**given: object) -> Options:
    arguments = {"service_name": "shop", "export_protocol": "otlp", **given}
    return resolve(arguments, {}, "app.py").options


def window() -> Window:
    pprof = encode(
        {(LEAF, CALLER): 30_000_000, (CALLER,): 10_000_000},
        value_type=CPU,
        period_type=CPU,
        period=10_000_000,
        time_unix_ns=START_UNIX_NS,
        duration_ns=10_000_000_000,
    )
    return Window("cpu", pprof, START_UNIX_NS, 10_000_000_000, 4)


def decoded(body: bytes) -> Any:
    request = ExportProfilesServiceRequest()
    request.ParseFromString(body)
    assert_sound(request)
    return request


def assert_sound(request: Any) -> None:
    """Assert what the protos demand in words: entry 0 is empty, and each index points into its table."""
    tables = request.dictionary
    assert tables.string_table[0] == ""
    for table in (tables.mapping_table, tables.location_table, tables.function_table, tables.stack_table):
        assert not table[0].ByteSize()
    assert not tables.attribute_table[0].ByteSize()
    assert (tables.link_table[0].trace_id, tables.link_table[0].span_id) == (bytes(16), bytes(8))
    for table in (tables.location_table, tables.function_table, tables.stack_table, tables.attribute_table):
        encoded = [entry.SerializeToString(deterministic=True) for entry in table]
        assert len(set(encoded)) == len(encoded), "an entry stands twice"
    for place in tables.location_table:
        assert all(line.function_index < len(tables.function_table) for line in place.lines)
    for profile in profiles(request):
        assert len(profile.profile_id) == 16
        for sample in profile.samples:
            assert 0 < sample.stack_index < len(tables.stack_table)
            assert all(0 < each < len(tables.attribute_table) for each in sample.attribute_indices)
            assert sample.link_index < len(tables.link_table)
            assert len(sample.values) == 1


def profiles(request: Any) -> list[Any]:
    return [
        each for of in request.resource_profiles for scope in of.scope_profiles for each in scope.profiles
    ]


def text(request: Any, index: int) -> str:
    return str(request.dictionary.string_table[index])


def frames(request: Any, sample: Any) -> list[tuple[str, str, int, int]]:
    tables = request.dictionary
    found = []
    for place in tables.stack_table[sample.stack_index].location_indices:
        for line in tables.location_table[place].lines:
            function = tables.function_table[line.function_index]
            name, filename = text(request, function.name_strindex), text(request, function.filename_strindex)
            found.append((name, filename, function.start_line, line.line))
    return found


def attributes(request: Any, sample: Any) -> dict[str, str]:
    table = [request.dictionary.attribute_table[index] for index in sample.attribute_indices]
    return {text(request, each.key_strindex): each.value.string_value for each in table}


def resource(request: Any) -> dict[str, str]:
    (found,) = request.resource_profiles
    return {each.key: each.value.string_value for each in found.resource.attributes}


def test_stacks_values_times_and_types_arrive() -> None:
    profile_id = uuid.uuid4()
    request = decoded(OtlpWire().encode(options(), window(), profile_id))
    (profile,) = profiles(request)
    assert {tuple(frames(request, each)): each.values[0] for each in profile.samples} == {
        (tuple(LEAF), tuple(CALLER)): 30_000_000,
        (tuple(CALLER),): 10_000_000,
    }
    for value_type in (profile.sample_type, profile.period_type):
        names = (text(request, value_type.type_strindex), text(request, value_type.unit_strindex))
        assert names == ("cpu", "nanoseconds")
    assert (profile.time_unix_nano, profile.duration_nano) == (START_UNIX_NS, 10_000_000_000)
    assert profile.profile_id == profile_id.bytes
    (scope,) = request.resource_profiles[0].scope_profiles
    assert scope.scope.name == "flamewire/python"


def test_service_and_tags_become_attributes_of_the_resource_by_their_names_in_opentelemetry() -> None:
    tags = {"service_version": "1.2", "deployment_environment": "prod", "region": "eu"}
    found = resource(decoded(OtlpWire().encode(options(tags=tags), window(), uuid.uuid4())))
    assert found["service.name"] == "shop"
    assert (found["service.version"], found["deployment.environment.name"]) == ("1.2", "prod")
    assert (found["region"], found["telemetry.sdk.language"]) == ("eu", "python")


def test_what_the_engine_writes_is_read_as_it_is() -> None:
    found = read(window().pprof)
    assert [(each.stack, each.values) for each in found.samples] == [
        ((LEAF, CALLER), (30_000_000,)),
        ((CALLER,), (10_000_000,)),
    ]
    assert (found.sample_types, found.period_type, found.period) == ((CPU,), CPU, 10_000_000)
    assert (found.time_unix_ns, found.duration_ns) == (START_UNIX_NS, 10_000_000_000)


def test_the_same_delivery_rules_hold(push_server: PushServer) -> None:
    push_server.script.extend([Reply(503, {"Retry-After": "0"}), Reply()])
    given = options(server_url=push_server.url, tenant_id="t", auth_token="s3cret")
    export = Exporter(given, RequestsTransport(given), jitter=lambda _low, _high: 0.0)
    for _ in range(2):
        export.submit(window())
    while export.delivery().queued_profiles:
        export.step()
        time.sleep(0)
    assert [request.path for request in push_server.requests] == ["/v1development/profiles"] * 3
    headers = push_server.requests[0].headers
    assert (headers["Content-Type"], headers["Content-Encoding"]) == ("application/x-protobuf", "gzip")
    assert (headers["Authorization"], headers["X-Scope-OrgID"]) == ("Bearer s3cret", "t")
    ids = [profiles(decoded(gzip.decompress(request.body)))[0].profile_id for request in push_server.requests]
    assert len(set(ids)) == 2, "what was refused came again under its id"
    assert (export.delivery().pushed_profiles, export.delivery().retries) == (2, 1)


def test_a_success_that_is_none_is_counted_as_a_refusal(push_server: PushServer) -> None:
    partial = ExportProfilesPartialSuccess(rejected_profiles=1, error_message="too old")
    response = ExportProfilesServiceResponse(partial_success=partial)
    push_server.script.append(Reply(200, body=response.SerializeToString()))
    given = options(server_url=push_server.url)
    export = Exporter(given, RequestsTransport(given))
    for _ in range(2):
        export.submit(window())
        export.step()
    delivery = export.delivery()
    assert (delivery.pushed_profiles, delivery.dropped_profiles) == (1, {"rejected": 1})


def test_a_profiled_program_sends_its_tags_and_links_to_its_spans(
    push_server: PushServer, any_engine: str
) -> None:
    program = """
    import flamewire.otel
    from opentelemetry.sdk.trace import TracerProvider
    provider = TracerProvider()
    flamewire.otel.start(provider, trace_id=True, upload_interval_s=3600)
    tracer = provider.get_tracer("shop")
    def in_span(): burn(0.5)
    def in_tag(): burn(0.5)
    with tracer.start_as_current_span("root") as root, tracer.start_as_current_span("child") as child:
        in_span()
    with flamewire.tags(route="/cart"):
        in_tag()
    for span in (root, child):
        context = span.get_span_context()
        print(context.trace_id.to_bytes(16).hex(), context.span_id.to_bytes(8).hex())
    """
    ended = run_program(
        program,
        server_url=push_server.url,
        engine=any_engine,
        FLAMEWIRE_EXPORT_PROTOCOL="otlp",
        FLAMEWIRE_SHUTDOWN_TIMEOUT_S="60",
    )
    assert (ended.code, ended.err) == (0, ""), ended
    (root, child) = (line.split() for line in ended.out.splitlines())
    request = decoded(gzip.decompress(push_server.requests[0].body))
    cpu_ns = {"in_span": 0, "in_tag": 0}
    for profile in profiles(request):
        for sample in profile.samples:
            functions = {frame[0] for frame in frames(request, sample)}
            labels = attributes(request, sample)
            link = request.dictionary.link_table[sample.link_index]
            if "in_span" in functions:
                cpu_ns["in_span"] += sample.values[0]
                assert [link.trace_id.hex(), link.span_id.hex()] == root
                assert labels == {"child_span_id": child[1], "span_name": "root"}
            elif "in_tag" in functions:
                cpu_ns["in_tag"] += sample.values[0]
                assert (sample.link_index, labels) == (0, {"route": "/cart"})
    assert cpu_ns == {name: pytest.approx(0.5e9, rel=0.2) for name in cpu_ns}
