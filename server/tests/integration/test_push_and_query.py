"""What was pushed is what queries answer, in every codec."""

from __future__ import annotations

import gzip
import time
import uuid
from collections.abc import Callable

import pytest
from server_process import (
    CPU,
    JSON,
    PROTO,
    ServerProcess,
    make_profile,
    make_push,
    now_ms,
    read_flamegraph,
    recent,
    zstd_frame,
)

from flamewire_server._proto.querier.v1 import querier_pb2
from flamewire_server._proto.types.v1 import types_pb2

STACKS = {"main;handle;parse": 700, "main;handle;render": 200, "main;idle": 100}
TREE = {
    "main": (1000, 0),
    "main;handle": (900, 0),
    "main;handle;parse": (700, 700),
    "main;handle;render": (200, 200),
    "main;idle": (100, 100),
}


def flamegraph(server: ServerProcess, service: str, **fields: object) -> dict[str, tuple[int, int]]:
    request = {"profile_typeID": CPU, "label_selector": f'{{service_name="{service}"}}', **recent(), **fields}
    return read_flamegraph(server.query("SelectMergeStacktraces", **request)["flamegraph"])


@pytest.mark.parametrize("codec", [PROTO, JSON])
@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
def test_a_profile_is_read_back_as_it_was_pushed(server: ServerProcess, codec: str, encoding: str) -> None:
    service = f"plain-{codec[-4:]}-{encoding}"
    request = make_push(service, make_profile(STACKS))
    reply = server.push(request, codec=codec, gzip=encoding == "gzip", zstd=encoding == "zstd")
    assert (reply.status, reply.headers["content-type"]) == (200, codec)
    assert reply.body == (b"" if codec == PROTO else b"{}")
    assert flamegraph(server, service) == TREE


def test_answers_are_the_same_in_protobuf_and_json(server: ServerProcess) -> None:
    server.push(make_push("codecs", make_profile(STACKS)))
    span = recent()
    request = querier_pb2.SelectMergeStacktracesRequest(
        profile_typeID=CPU, label_selector='{service_name="codecs"}', start=span["start"], end=span["end"]
    )
    reply = server.query_raw("SelectMergeStacktraces", request.SerializeToString(), PROTO)
    assert (reply.status, reply.headers["content-type"]) == (200, PROTO)
    graph = querier_pb2.SelectMergeStacktracesResponse.FromString(reply.body).flamegraph
    other = server.query(
        "SelectMergeStacktraces", profileTypeID=CPU, labelSelector='{service_name="codecs"}', **span
    )["flamegraph"]
    assert graph.total == 1000 == int(other["total"])
    assert graph.max_self == 700 == int(other["maxSelf"])
    assert list(graph.names) == other["names"]
    assert [list(level.values) for level in graph.levels] == [
        [int(value) for value in level["values"]] for level in other["levels"]
    ]


def test_the_profile_type_may_stand_in_the_selector(server: ServerProcess) -> None:
    server.push(make_push("typed", make_profile(STACKS)))
    for selector in (CPU + '{service_name="typed"}', f'{{service_name="typed",__profile_type__="{CPU}"}}'):
        reply = server.query("SelectMergeStacktraces", label_selector=selector, **recent())
        assert reply["flamegraph"]["total"] == "1000"


def test_every_sample_type_is_a_series_of_its_own(server: ServerProcess) -> None:
    types = (("samples", "count"), ("cpu", "nanoseconds"))
    server.push(make_push("two-types", make_profile(STACKS, sample_types=types)))
    for kind in ("process_cpu:samples:count:cpu:nanoseconds", CPU):
        assert flamegraph(server, "two-types", profile_typeID=kind) == TREE


def test_labels_of_samples_become_labels_of_series(server: ServerProcess) -> None:
    profile = make_profile(
        STACKS, labels={"main;handle;parse": {"route": "/cart"}, "main;handle;render": {"route": "/home"}}
    )
    server.push(make_push("routes", profile, region="eu"))
    selector = '{service_name="routes",region="eu",route="/cart"}'
    assert flamegraph(server, "routes", label_selector=selector)["main"] == (700, 0)
    selector = '{service_name="routes",route=~"/cart|/home"}'
    assert flamegraph(server, "routes", label_selector=selector)["main"] == (900, 0)
    selector = '{service_name="routes",route=""}'
    assert flamegraph(server, "routes", label_selector=selector)["main"] == (100, 0)


def test_spans_select_samples_and_are_no_labels(server: ServerProcess) -> None:
    one, two, child = "00000000000000a1", "ffffffffffffff02", "00000000000000c3"
    profile = make_profile(
        STACKS,
        labels={
            "main;handle;parse": {"span_id": one, "span_name": "GET /cart"},
            "main;handle;render": {"span_id": two, "child_span_id": child},
        },
    )
    server.push(make_push("spans", profile))
    assert flamegraph(server, "spans", span_selector=[one])["main"] == (700, 0)
    assert flamegraph(server, "spans", span_selector=[two])["main"] == (200, 0)
    assert flamegraph(server, "spans", span_selector=[child.upper()])["main"] == (200, 0)
    assert flamegraph(server, "spans", span_selector=[one, child])["main"] == (900, 0)
    assert flamegraph(server, "spans", span_selector=["00000000000000ee"]) == {}
    reply = server.query(
        "SelectMergeSpanProfile",
        profile_typeID=CPU,
        label_selector='{service_name="spans"}',
        span_selector=[one],
        **recent(),
    )
    assert reply["flamegraph"]["total"] == "700"
    names = server.query("LabelNames", matchers=['{service_name="spans"}'], **recent())["names"]
    assert not {"span_id", "child_span_id", "span_name"} & set(names)


def test_frames_beyond_max_nodes_are_folded_and_no_value_is_lost(server: ServerProcess) -> None:
    server.push(make_push("wide", make_profile({f"main;f{number:03}": number + 1 for number in range(100)})))
    tree = flamegraph(server, "wide", max_nodes=10)
    assert tree["main"][0] == 5050
    assert tree["main;f099"] == (100, 100)
    assert "main;f000" not in tree
    children = [total for path, (total, _) in tree.items() if path.count(";") == 1]
    assert sum(children) == 5050
    assert len(tree) <= 11
    assert len(flamegraph(server, "wide", max_nodes=0)) == 101


def test_profiles_at_both_ends_of_a_range_belong_to_it(server: ServerProcess) -> None:
    at_ms = now_ms() - 60_000
    server.push(make_push("edges", make_profile({"main": 1}, time_ns=at_ms * 10**6)))
    server.push(make_push("edges", make_profile({"main": 10}, time_ns=(at_ms + 1000) * 10**6 + 999_999)))

    def total(start: int, end: int) -> int:
        return flamegraph(server, "edges", start=start, end=end).get("main", (0, 0))[0]

    assert total(at_ms, at_ms + 1000) == 11
    assert total(at_ms + 1, at_ms + 1000) == 10
    assert total(at_ms, at_ms + 999) == 1
    assert total(at_ms + 1, at_ms + 999) == 0


def test_series_hold_what_happened_in_the_step_before_their_point(server: ServerProcess) -> None:
    start_ms = now_ms() - 600_000
    for offset_ms, value in (
        (-10_000, 1),
        (-9_999, 2),
        (0, 4),
        (1, 8),
        (10_000, 16),
        (20_001, 32),
        (30_001, 64),
    ):
        profile = make_profile({"main": value}, time_ns=(start_ms + offset_ms) * 10**6)
        server.push(make_push("steps", profile))
    reply = server.query(
        "SelectSeries",
        profile_typeID=CPU,
        label_selector='{service_name="steps"}',
        start=start_ms,
        end=start_ms + 30_000,
        step=10,
    )
    (series,) = reply["series"]
    points = [(int(point["timestamp"]) - start_ms, point["value"]) for point in series["points"]]
    assert points == [(0, 6), (10_000, 24), (30_000, 32)]


def test_an_average_is_the_sum_over_the_number_of_profiles(server: ServerProcess) -> None:
    start_ms = now_ms() - 60_000
    labels = {"a": {"route": "/a"}, "b": {"route": "/b"}}
    for offset_ms, value in ((0, 10), (1000, 30), (10_001, 7)):
        profile = make_profile(
            {"a": value, "a;c": 2, "b": 1}, labels=labels, time_ns=(start_ms + offset_ms) * 10**6
        )
        server.push(make_push("average", profile))

    def points(**fields: object) -> dict[str, list[tuple[int, float]]]:
        reply = server.query(
            "SelectSeries",
            profile_typeID=CPU,
            label_selector='{service_name="average"}',
            start=start_ms,
            end=start_ms + 20_000,
            step=10,
            aggregation="TIME_SERIES_AGGREGATION_TYPE_AVERAGE",
            **fields,
        )
        return {
            "".join(pair["value"] for pair in one.get("labels", [])): [
                (int(point["timestamp"]) - start_ms, point["value"]) for point in one["points"]
            ]
            for one in reply["series"]
        }

    # A profile whose samples stand in two series counts once.
    assert points() == {"": [(0, 13), (10_000, 33), (20_000, 10)]}
    assert points(group_by=["route"]) == {
        "": [(0, 2), (10_000, 2), (20_000, 2)],
        "/a": [(0, 10), (10_000, 30), (20_000, 7)],
        "/b": [(0, 1), (10_000, 1), (20_000, 1)],
    }


def test_series_are_grouped_and_the_largest_kept(server: ServerProcess) -> None:
    labels = {"a": {"route": "/a"}, "b": {"route": "/b"}, "c": {"route": "/c"}}
    for pod in ("p1", "p2"):
        server.push(
            make_push("groups", make_profile({"a": 5, "b": 20, "c": 10, "d": 1}, labels=labels), pod=pod)
        )

    def totals(**fields: object) -> dict[str, float]:
        reply = server.query(
            "SelectSeries",
            profile_typeID=CPU,
            label_selector='{service_name="groups"}',
            **{**recent(), "step": 7200, **fields},
        )
        return {
            ",".join(f"{pair['name']}={pair['value']}" for pair in one.get("labels", [])): sum(
                point["value"] for point in one["points"]
            )
            for one in reply["series"]
        }

    # The one step of 2 h ends at start; the range is moved so that it holds the profiles.
    moved = {"start": now_ms() + 60_000, "end": now_ms() + 60_000}
    assert totals(**moved) == {"": 72}
    assert totals(group_by=["route"], **moved) == {"": 2, "route=/a": 10, "route=/b": 40, "route=/c": 20}
    assert totals(groupBy=["route"], limit=2, **moved) == {"route=/b": 40, "route=/c": 20}
    assert totals(group_by=["pod", "route"], limit="1", **moved) == {"pod=p1,route=/b": 20}


def test_labels_are_listed_by_matcher_and_time(server: ServerProcess) -> None:
    old_ms = now_ms() - 7200_000
    server.push(make_push("labels", make_profile({"a": 1}), pod="new", **{"k8s.node": "n1"}))
    server.push(make_push("labels", make_profile({"a": 1}, time_ns=old_ms * 10**6), pod="old"))
    matchers = ['{service_name="labels"}']

    def values(name: str, **fields: object) -> list[str]:
        return list(server.query("LabelValues", name=name, matchers=matchers, **fields).get("names", []))

    assert values("pod", **recent(10_000)) == ["new", "old"]
    assert values("pod", **recent()) == ["new"]
    assert values("pod", start=old_ms - 1, end=old_ms + 1) == ["old"]
    assert values("__profile_type__", **recent()) == [CPU]
    assert values("nothing", **recent()) == []
    names = server.query("LabelNames", matchers=matchers, **recent())["names"]
    assert names == sorted(names)
    assert {"__name__", "__profile_type__", "__period_unit__", "pod", "service_name"} <= set(names)
    assert "k8s.node" not in names
    reply = server.query_raw(
        "LabelNames",
        types_pb2.LabelNamesRequest(matchers=matchers, **recent()).SerializeToString(),
        PROTO,
        Accept="*/*;allow-utf8-labelnames=true",
    )
    assert "k8s.node" in types_pb2.LabelNamesResponse.FromString(reply.body).names
    sets = server.query("Series", matchers=matchers, labelNames=["pod", "service_name"], **recent(10_000))
    assert [{pair["name"]: pair["value"] for pair in one["labels"]} for one in sets["labelsSet"]] == [
        {"pod": "new", "service_name": "labels"},
        {"pod": "old", "service_name": "labels"},
    ]


def test_profile_types_are_listed_in_their_parts(server: ServerProcess) -> None:
    server.push(make_push("types", make_profile({"a": 1})))
    for span in (recent(), {}):
        types = server.query("ProfileTypes", **span)["profileTypes"]
        assert {
            "ID": CPU,
            "name": "process_cpu",
            "sampleType": "cpu",
            "sampleUnit": "nanoseconds",
            "periodType": "cpu",
            "periodUnit": "nanoseconds",
        } in types
        assert [one["ID"] for one in types] == sorted(one["ID"] for one in types)


def test_json_takes_both_spellings_numbers_as_text_and_fields_of_the_future(server: ServerProcess) -> None:
    server.push(make_push("lenient", make_profile(STACKS)))
    span = {name: str(value) for name, value in recent().items()}
    for fields in (
        {
            "profileTypeID": CPU,
            "labelSelector": '{service_name="lenient"}',
            "maxNodes": "100",
            "newField": {"a": 1},
        },
        {"profile_typeID": CPU, "label_selector": '{service_name="lenient"}', "max_nodes": 100},
    ):
        assert server.query("SelectMergeStacktraces", **fields, **span)["flamegraph"]["total"] == "1000"


def test_nothing_selected_is_an_empty_flame_graph(server: ServerProcess) -> None:
    assert flamegraph(server, "nobody") == {}


def test_a_repeated_push_counts_once(server: ServerProcess) -> None:
    before = server.metric("flamewire_profiles_duplicate_total")
    request = make_push("once", make_profile(STACKS), make_profile({"main": 5}))
    for _ in range(3):
        assert server.push(request).status == 200
    # Both twice in one request too.
    request.series[0].samples.extend(list(request.series[0].samples))
    assert server.push(request).status == 200
    assert flamegraph(server, "once")["main"] == (1005, 5)
    assert server.metric("flamewire_profiles_duplicate_total") == before + 2 + 2 + 4


def test_a_repeated_push_without_a_time_counts_once(server: ServerProcess) -> None:
    request = make_push("timeless", make_profile(STACKS, time_ns=0))
    assert server.push(request).status == server.push(request).status == 200
    assert flamegraph(server, "timeless")["main"] == (1000, 0)


def test_the_same_id_with_other_content_is_stored_and_counted(server: ServerProcess) -> None:
    before = server.metric("flamewire_profiles_conflicting_total")
    name = str(uuid.uuid4())
    first = make_push("conflict", make_profile({"main": 1}), ids=[name])
    second = make_push("conflict", make_profile({"main": 2}), ids=[name])
    for request in (first, second, first, second):
        assert server.push(request).status == 200
    assert flamegraph(server, "conflict")["main"] == (3, 3)
    assert server.metric("flamewire_profiles_conflicting_total") == before + 1


def test_profiles_without_an_id_count_each_time(server: ServerProcess) -> None:
    request = make_push("nameless", make_profile(STACKS), ids=[""])
    assert server.push(request).status == server.push(request).status == 200
    assert flamegraph(server, "nameless")["main"] == (2000, 0)


def test_the_same_id_in_another_series_is_another_profile(server: ServerProcess) -> None:
    name = str(uuid.uuid4())
    for pod in ("p1", "p2"):
        server.push(make_push("pods", make_profile(STACKS), ids=[name], pod=pod))
    assert flamegraph(server, "pods")["main"] == (2000, 0)


@pytest.mark.parametrize("pack", [gzip.compress, zstd_frame])
def test_a_compressed_profile_inside_a_push_is_read(
    server: ServerProcess, pack: Callable[[bytes], bytes]
) -> None:
    service = f"inner-{pack.__name__}"
    request = make_push(service, make_profile(STACKS))
    sample = request.series[0].samples[0]
    sample.raw_profile = pack(sample.raw_profile)
    assert server.push(request, gzip=True).status == 200
    assert flamegraph(server, service) == TREE


def test_yesterday_and_today_are_one_answer(server: ServerProcess) -> None:
    day_ns = 86400 * 10**9
    midnight_ns = time.time_ns() // day_ns * day_ns
    yesterday = make_profile({"main": 1}, time_ns=midnight_ns - 1)
    today = make_profile({"main": 2}, time_ns=midnight_ns)
    assert server.push(make_push("midnight", yesterday, today)).status == 200
    span = {"start": midnight_ns // 10**6 - 1, "end": midnight_ns // 10**6}
    assert flamegraph(server, "midnight", **span)["main"] == (3, 3)


def test_ranges_and_steps_of_centuries_are_answered(server: ServerProcess) -> None:
    server.push(make_push("ever", make_profile({"main": 7})))
    for end in (10**13, 253_402_300_799_000):
        assert flamegraph(server, "ever", start=0, end=end)["main"] == (7, 7)
        assert server.query("ProfileTypes", start=0, end=end)["profileTypes"]
    reply = server.query(
        "SelectSeries",
        profile_typeID=CPU,
        label_selector='{service_name="ever"}',
        start=0,
        end=253_402_300_799_000,
        step=3e9,
    )
    (series,) = reply["series"]
    assert [point["value"] for point in series["points"]] == [7]
