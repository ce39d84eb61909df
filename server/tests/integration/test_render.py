"""The GET endpoints that Profiles Drilldown asks, and the other small methods of the querier."""

from __future__ import annotations

import gzip
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from server_process import CPU, PROTO, ServerProcess, make_profile, make_push, now_ms, recent

from flamewire_server._proto.google.v1 import profile_pb2
from flamewire_server._proto.querier.v1 import querier_pb2


def get(server: ServerProcess, path: str, **query: object) -> Any:
    reply = server.ask("GET", f"/pyroscope/{path}?{urlencode(query)}")
    assert reply.status == 200, reply.body
    return reply.json()


def test_render_holds_the_flame_graph_and_its_timeline(server: ServerProcess) -> None:
    start_ms = now_ms() - 600_000
    for offset_s, value in ((10, 5), (70, 7)):
        profile = make_profile({"main;work": value}, time_ns=(start_ms + offset_s * 1000) * 10**6)
        server.push(make_push("render", profile, region="eu" if value == 5 else "us"))
    query = CPU + '{service_name="render"}'
    answer = get(
        server,
        "render",
        **{"query": query, "from": start_ms, "until": start_ms + 300_000, "groupBy": "region"},
    )
    assert answer["flamebearer"]["numTicks"] == 12
    assert answer["flamebearer"]["names"] == ["total", "main", "work"]
    assert answer["flamebearer"]["levels"] == [[0, 12, 0, 0], [0, 12, 0, 1], [0, 12, 12, 2]]
    assert answer["metadata"] == {
        "format": "single", "spyName": "", "sampleRate": 10**9, "units": "samples", "name": "cpu",
    }  # fmt: skip
    line = answer["timeline"]
    assert (line["durationDelta"], sum(line["samples"])) == (15, 12)
    assert line["startTime"] == start_ms // 1000 // 15 * 15
    (first, second) = [index for index, value in enumerate(line["samples"]) if value]
    assert line["startTime"] + first * 15 < start_ms / 1000 + 10 <= line["startTime"] + first * 15 + 15
    assert second - first == 4
    assert {name: sum(one["samples"]) for name, one in answer["groups"].items()} == {"eu": 5, "us": 7}
    dot = server.ask("GET", "/pyroscope/render?" + urlencode({"query": query, "format": "dot"})).body.decode()
    assert dot.startswith("digraph")
    assert "N2 -> N1" in dot


def test_render_diff_lays_two_queries_over_one_another(server: ServerProcess) -> None:
    server.push(make_push("render-l", make_profile({"main;a": 5, "main;b": 1})))
    server.push(make_push("render-r", make_profile({"main;a": 2, "main;c": 3})))
    sides = {side + "Query": CPU + f'{{service_name="render-{side[0]}"}}' for side in ("left", "right")}
    answer = get(server, "render-diff", **sides)
    assert (answer["leftTicks"], answer["rightTicks"]) == (6, 5)
    assert answer["metadata"]["format"] == "double"
    assert answer["flamebearer"]["names"] == ["total", "main", "a", "b", "c"]
    assert answer["flamebearer"]["levels"][2] == [
        0,
        5,
        5,
        0,
        2,
        2,
        2,
        0,
        1,
        1,
        0,
        0,
        0,
        3,
        0,
        0,
        0,
        0,
        3,
        3,
        4,
    ]


def test_label_values_of_name_are_the_profile_types(server: ServerProcess) -> None:
    server.push(make_push("render-labels", make_profile({"a": 1})))
    assert CPU in get(server, "label-values", label="__name__")
    assert "render-labels" in get(server, "label-values", label="service_name")


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"query": "{}"},
        {"query": CPU + "{"},
        {"query": CPU + "{}", "from": "yesterday"},
        {"query": CPU + "{}", "from": "now-1parsec"},
        {"query": CPU + "{}", "max-nodes": "9999999"},
        {"query": CPU + "{}", "format": "xml"},
        {"query": CPU + "{}", "aggregation": "max"},
    ],
)
def test_render_refuses_what_it_cannot_read(server: ServerProcess, query: dict[str, str]) -> None:
    reply = server.ask("GET", "/pyroscope/render?" + urlencode(query))
    assert (reply.status, reply.json()["code"]) == (400, "invalid_argument")


def test_exports_hold_every_stack_trace(server: ServerProcess) -> None:
    server.push(make_push("export", make_profile({"main;wo,rk": 5, "main;a;b": 2, "main": 1, "x\ny;z": 3})))
    query = urlencode({"query": CPU + '{service_name="export"}'})

    def export(kind: str) -> bytes:
        reply = server.ask("GET", f"/api/v1/export?format={kind}&{query}")
        assert reply.status == 200
        assert reply.headers["content-disposition"].startswith("attachment")
        return reply.body

    assert export("folded").decode().splitlines() == ["main 1", "main;a;b 2", "main;wo,rk 5", "x y;z 3"]
    assert export("csv").decode().splitlines()[:2] == ["function,self,total,samples", '"wo,rk",5,5,1']
    profile = profile_pb2.Profile.FromString(gzip.decompress(export("pprof")))
    assert sorted(sample.value[0] for sample in profile.sample) == [1, 2, 3, 5]
    assert server.ask("GET", f"/api/v1/export?format=exe&{query}").status == 400


def test_profile_stats_hold_the_first_and_the_last_time(server: ServerProcess) -> None:
    time_ms = now_ms() - 7_500_000
    server.push(make_push("stats", make_profile({"a": 1}, time_ns=time_ms * 10**6)))
    stats = server.query("GetProfileStats")
    assert stats["dataIngested"] is True
    assert int(stats["oldestProfileTime"]) <= time_ms <= int(stats["newestProfileTime"])


def test_analysis_of_a_query_counts_what_it_would_read(server: ServerProcess) -> None:
    server.push(make_push("analyze", make_profile({"a": 1}), pod="p1"))
    server.push(make_push("analyze", make_profile({"a": 1}), pod="p2"))
    answer = server.query("AnalyzeQuery", query=CPU + '{service_name="analyze"}', **recent())
    assert answer["queryImpact"]["totalQueriedSeries"] == "2"
    assert int(answer["queryImpact"]["totalBytesInTimeRange"]) > 0
    assert (
        server.query("AnalyzeQuery", query=CPU + '{service_name="none"}', **recent()).get("queryImpact", {})
        == {}
    )


def test_a_merged_profile_is_the_reply_itself_in_both_codecs(server: ServerProcess) -> None:
    server.push(
        make_push("merged", make_profile({"main;work": 4}), make_profile({"main;work": 3, "main": 1}))
    )
    request = {"profileTypeID": CPU, "labelSelector": '{service_name="merged"}', **recent()}
    answer = server.query("SelectMergeProfile", **request)
    assert sorted(int(one["value"][0]) for one in answer["sample"]) == [1, 7]
    message = querier_pb2.SelectMergeProfileRequest(
        profile_typeID=CPU,
        label_selector=request["labelSelector"],
        start=request["start"],
        end=request["end"],
    )
    reply = server.query_raw("SelectMergeProfile", message.SerializeToString(), PROTO)
    profile = profile_pb2.Profile.FromString(reply.body)
    assert json.loads(json.dumps(answer["stringTable"])) == list(profile.string_table)
    texts = profile.string_table
    assert [(texts[one.type], texts[one.unit]) for one in profile.sample_type] == [("cpu", "nanoseconds")]
    assert profile.time_nanos == request["start"] * 10**6
    assert {(texts[one.name], texts[one.filename]) for one in profile.function} == {
        ("main", "program.py"), ("work", "program.py"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("SelectMergeStacktraces", {"spanSelector": ["short"]}),
        ("SelectMergeStacktraces", {"traceIdSelector": ["0" * 16]}),
        ("SelectMergeStacktraces", {"profileIdSelector": ["no uuid"]}),
        (
            "SelectMergeStacktraces",
            {"stackTraceSelector": {"frameFilter": {"includeFunctionNameRegexes": ["["]}}},
        ),
        (
            "SelectMergeStacktraces",
            {"stackTraceSelector": {"frameFilter": {"includeFunctionNames": ["a"] * 65}}},
        ),
    ],
)
def test_selectors_that_cannot_be_read_are_refused(
    server: ServerProcess, method: str, fields: dict[str, Any]
) -> None:
    body = json.dumps({"profileTypeID": CPU, "labelSelector": "{}", **recent(), **fields}).encode()
    reply = server.query_raw(method, body, "application/json")
    assert (reply.status, reply.json()["code"]) == (400, "invalid_argument")
