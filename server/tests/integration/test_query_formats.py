"""Every form that stack traces are answered in says the same of them."""

from __future__ import annotations

import gzip
import json
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from flame_columns import read_columns
from server_process import CPU, JSON, PROTO, ServerProcess, make_profile, make_push, recent

from flamewire_server._proto.querier.v1 import querier_pb2

STACKS = {"main;parse;read": 40, "main;parse": 10, "main;work;parse;read": 25, "main;work": 5, "idle": 20}
FLAME = "application/vnd.flamewire.flame"


def push(server: ServerProcess, service: str, stacks: Mapping[str, int], **labels: str) -> str:
    assert server.push(make_push(service, make_profile(stacks), **labels)).status == 200
    return f'{{service_name="{service}"}}'


def ask(server: ServerProcess, selector: str, form: str, **fields: Any) -> Any:
    return server.query(
        "SelectMergeStacktraces",
        profileTypeID=CPU,
        labelSelector=selector,
        format=f"PROFILE_FORMAT_{form}",
        **recent(),
        **fields,
    )


def get(server: ServerProcess, path: str, headers: Mapping[str, str] | None = None, **query: str) -> bytes:
    reply = server.ask("GET", f"{path}?{urlencode(query)}", headers=headers)
    assert reply.status == 200, reply.body
    return reply.body


def test_functions_count_a_sample_once(server: ServerProcess) -> None:
    selector = push(server, "functions", {**STACKS, "main;parse;parse": 3})
    table = ask(server, selector, "FUNCTIONS")["functions"]
    rows = {row["name"]: (int(row.get("self", 0)), int(row["total"])) for row in table["functions"]}
    assert int(table["total"]) == 103
    assert rows == {"read": (65, 65), "idle": (20, 20), "parse": (13, 78), "work": (5, 30), "main": (0, 83)}
    assert [row["name"] for row in table["functions"]] == ["read", "idle", "parse", "work", "main"]
    cut = ask(server, selector, "FUNCTIONS", maxNodes=2)["functions"]
    assert ([row["name"] for row in cut["functions"]], cut["total"]) == (["read", "idle"], "103")


def test_a_sandwich_has_every_caller_and_callee(server: ServerProcess) -> None:
    selector = push(server, "sandwich", STACKS)
    report = ask(server, selector, "SANDWICH", sandwichFunction="parse")["sandwich"]

    def tree(half: Mapping[str, Any]) -> Any:
        name = report["names"][half.get("nameIndex", 0)]
        inner = {key: value for one in half["children"] for key, value in tree(one).items()}
        return {name: (int(half["total"]), int(half["self"]), inner)}

    assert (report["total"], report["self"]) == ("75", "10")
    assert tree(report["callers"]) == {
        "parse": (75, 0, {"main": (50, 50, {}), "work": (25, 0, {"main": (25, 25, {})})})
    }
    assert tree(report["callees"]) == {"parse": (75, 10, {"read": (65, 65, {})})}
    nothing = ask(server, selector, "SANDWICH", sandwichFunction="unheard of")["sandwich"]
    assert (nothing["total"], nothing["callers"]["total"]) == ("0", "0")


def test_a_sandwich_of_recursion_counts_each_sample_once_in_its_total(server: ServerProcess) -> None:
    selector = push(server, "recursion", {"main;f;f;f": 4, "main;f": 1})
    report = ask(server, selector, "SANDWICH", sandwichFunction="f")["sandwich"]
    assert (report["total"], report["self"]) == ("5", "5")
    assert int(report["callees"]["total"]) == 5 + 4 + 4


def test_what_a_sandwich_leaves_out_is_named(server: ServerProcess) -> None:
    selector = push(server, "wide", {f"main;f;callee{number:02}": number + 1 for number in range(20)})
    report = ask(server, selector, "SANDWICH", sandwichFunction="f", maxNodes=3)["sandwich"]
    last = report["callees"]["children"][-1]
    assert (report["names"][last["nameIndex"]], last["truncated"]) == ("other", True)
    assert int(last["total"]) == sum(range(1, 18))
    assert sum(int(one["total"]) for one in report["callees"]["children"]) == int(report["total"])


def test_protobuf_says_what_json_says(server: ServerProcess) -> None:
    selector = push(server, "both-codecs", STACKS)
    for form, field in (("FUNCTIONS", "functions"), ("SANDWICH", "sandwich"), ("FLAMEGRAPH", "flamegraph")):
        request = querier_pb2.SelectMergeStacktracesRequest(
            profile_typeID=CPU,
            label_selector=selector,
            format=f"PROFILE_FORMAT_{form}",
            sandwich_function="parse",
            **recent(),
        )
        body = server.query_raw("SelectMergeStacktraces", request.SerializeToString(), PROTO).body
        reply = querier_pb2.SelectMergeStacktracesResponse.FromString(body)
        assert reply.HasField(field)
        answer = ask(server, selector, form, sandwichFunction="parse")[field]
        assert getattr(reply, field).total == int(answer["total"])
        if form == "SANDWICH":
            names = list(reply.sandwich.names)
            callers = [names[one.name_index] for one in reply.sandwich.callers.children]
            assert callers == [answer["names"][one["nameIndex"]] for one in answer["callers"]["children"]]


def test_functions_of_a_diff_are_joined_before_any_is_left_out(server: ServerProcess) -> None:
    left, right = push(server, "before", {"a": 10, "b": 1}), push(server, "after", {"a": 2, "c": 50})
    sides = [{"profileTypeID": CPU, "labelSelector": one, **recent()} for one in (left, right)]
    request = {"left": sides[0], "right": sides[1], "format": "PROFILE_FORMAT_FUNCTIONS", "maxNodes": "2"}
    table = server.query("Diff", **request)["functions"]
    assert (table["leftTotal"], table["rightTotal"]) == ("11", "52")
    assert table["functions"] == [
        {"name": "c", "rightSelf": "50", "rightTotal": "50"},
        {"name": "a", "leftSelf": "10", "leftTotal": "10", "rightSelf": "2", "rightTotal": "2"},
    ]


@pytest.mark.parametrize("scale", [1, 1000, (1 << 33) + 1])
def test_columns_say_what_levels_say(server: ServerProcess, scale: int) -> None:
    stacks = {path: value * scale for path, value in STACKS.items()}
    selector = push(server, f"columns-{scale}", stacks)
    for max_nodes in (2, 100):
        body = get(
            server,
            "/api/v1/flamegraph",
            {"Accept": FLAME},
            query=CPU + selector,
            **{"max-nodes": str(max_nodes)},
        )
        columns = read_columns(body)
        graph = ask(server, selector, "FLAMEGRAPH", maxNodes=max_nodes)["flamegraph"]
        assert columns.levels() == [[int(value) for value in level["values"]] for level in graph["levels"]]
        assert columns.header["names"] == graph["names"]
        assert (columns.header["total"], columns.header["maxSelf"]) == (graph["total"], graph["maxSelf"])
        assert (columns.header["unit"], columns.header["allFrames"]) == ("nanoseconds", 8)


def test_columns_of_a_diff_say_what_its_levels_say(server: ServerProcess) -> None:
    left, right = (
        push(server, "columns-left", STACKS),
        push(server, "columns-right", {"main;new": 7, "idle": 1}),
    )
    body = get(server, "/api/v1/flamegraph", leftQuery=CPU + left, rightQuery=CPU + right)
    sides = [{"profileTypeID": CPU, "labelSelector": one, **recent()} for one in (left, right)]
    graph = server.query("Diff", left=sides[0], right=sides[1])["flamegraph"]
    columns = read_columns(body)
    assert columns.levels() == [[int(value) for value in level["values"]] for level in graph["levels"]]
    assert (columns.header["leftTotal"], columns.header["rightTotal"]) == (
        graph["leftTicks"],
        graph["rightTicks"],
    )


def test_columns_are_refused_to_who_cannot_take_them(server: ServerProcess) -> None:
    reply = server.ask("GET", "/api/v1/flamegraph?query=" + CPU, headers={"Accept": "application/json"})
    assert reply.status == 406


def test_an_export_for_speedscope_holds_every_stack(server: ServerProcess) -> None:
    selector = push(server, "speedscope", STACKS)
    document = json.loads(get(server, "/api/v1/export", query=CPU + selector, format="speedscope"))
    (profile,) = document["profiles"]
    names = [frame["name"] for frame in document["shared"]["frames"]]
    folded = Counter[str]()
    for sample, weight in zip(profile["samples"], profile["weights"], strict=True):
        folded[";".join(names[number] for number in sample)] += weight
    assert folded == Counter(STACKS)
    assert (profile["type"], profile["unit"]) == ("sampled", "nanoseconds")
    assert (profile["startValue"], profile["endValue"]) == (0, 100)


def test_an_export_as_flamebearer_is_that_of_render(server: ServerProcess) -> None:
    selector = push(server, "flamebearer", STACKS)
    exported = json.loads(get(server, "/api/v1/export", query=CPU + selector, format="flamebearer"))
    rendered = json.loads(get(server, "/pyroscope/render", query=CPU + selector))
    assert (exported["flamebearer"], exported["metadata"]) == (rendered["flamebearer"], rendered["metadata"])


def test_a_picture_names_its_frames_and_runs_nothing(server: ServerProcess) -> None:
    hostile = "<script>alert(1)</script>&\x01\"'"
    selector = push(server, "picture", {f"main;{hostile}": 30, "main;work": 70})
    reply = server.ask("GET", "/api/v1/export?" + urlencode({"query": CPU + selector, "format": "svg"}))
    assert reply.headers["content-type"] == "image/svg+xml"
    assert "sandbox" in reply.headers["content-security-policy"]
    picture = ElementTree.fromstring(reply.body)
    tags = {element.tag.rpartition("}")[2] for element in picture.iter()}
    assert tags == {"svg", "rect", "text", "g", "title"}
    titles = [element.text or "" for element in picture.iter() if element.tag.endswith("title")]
    assert any(title.startswith("work (70 nanoseconds, 70.00%)") for title in titles)
    assert any(title.startswith("<script>") for title in titles)


def test_a_table_is_no_program_of_a_spreadsheet(server: ServerProcess) -> None:
    selector = push(server, "csv", {"=cmd()": 1, "main": 2})
    text = get(server, "/api/v1/export", query=CPU + selector, format="csv").decode()
    assert text.splitlines() == ["function,self,total,samples", "main,2,2,1", "'=cmd(),1,1,1"]


def test_values_of_a_label_have_their_shares_and_changes(server: ServerProcess) -> None:
    for region, value in (("eu", 30), ("us", 10), ("", 60)):
        push(server, "shares", {"main": value}, **({"region": region} if region else {}))
    query = {"query": CPU + '{service_name="shares"}', "by": "region"}
    answer = json.loads(get(server, "/api/v1/compare/values", **query))
    assert answer["total"] == 100
    assert [(row["value"], row["total"], row["share"]) for row in answer["values"]] == [
        ("", 60, 0.6),
        ("eu", 30, 0.3),
        ("us", 10, 0.1),
    ]
    same = json.loads(get(server, "/api/v1/compare/values", **query, baseFrom="now-1h", baseUntil="now"))
    assert all(row["shareDelta"] == 0 and row["baseTotal"] == row["total"] for row in same["values"])
    before = json.loads(get(server, "/api/v1/compare/values", **query, baseFrom="now-2h", baseUntil="now-1h"))
    assert before["values"][0]["shareDelta"] == 0.6


def test_a_difference_is_significant_by_the_number_of_samples(server: ServerProcess) -> None:
    def many(service: str, share_pct: int) -> str:
        profiles = [
            make_profile({f"main;{'slow' if number * 37 % 100 < share_pct else 'fast'}": 10})
            for number in range(100)
        ]
        assert server.push(make_push(service, *profiles)).status == 200
        return CPU + f'{{service_name="{service}"}}'

    few = [
        CPU + push(server, f"few-{share}", {"main;slow": share, "main;fast": 100 - share})
        for share in (20, 60)
    ]
    sure = [many(f"many-{share}", share) for share in (20, 60)]
    for sides, significant in ((few, False), (sure, True)):
        answer = json.loads(get(server, "/api/v1/compare/functions", leftQuery=sides[0], rightQuery=sides[1]))
        rows = {row["name"]: row for row in answer["functions"]}
        assert rows["slow"]["shareDelta"] == pytest.approx(0.4)
        assert rows["slow"]["significant"] is significant
        assert rows["main"]["significant"] is False
    assert rows["slow"]["z"] == pytest.approx(5.77, abs=0.01)


def test_large_answers_are_compressed_for_who_takes_it(server: ServerProcess) -> None:
    selector = push(server, "large", {f"main;{'long' * 20}{number}": 1 for number in range(3000)})
    body = json.dumps({"profileTypeID": CPU, "labelSelector": selector, **recent()}).encode()
    plain = server.query_raw("SelectMergeStacktraces", body, JSON)
    packed = server.query_raw("SelectMergeStacktraces", body, JSON, Accept_Encoding="gzip")
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert len(plain.body) > 256 << 10 > len(packed.body)
    assert gzip.decompress(packed.body) == plain.body
    refused = server.query_raw("SelectMergeStacktraces", body, JSON, Accept_Encoding="gzip;q=0")
    assert refused.body == plain.body
