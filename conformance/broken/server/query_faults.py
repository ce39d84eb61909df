"""Faults of a server that answers queries; see push_faults for their form."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any

from exchange import Exchange, edit, edit_profiles, join, parts

from flamewire_conformance.server.replies import folded_of_levels

Fault = Callable[[Exchange], None]
FAULTS: dict[str, Fault] = {}


def fault(function: Fault) -> Fault:
    FAULTS[function.__name__.replace("_", "-")] = function
    return function


def _change_request(exchange: Exchange, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the fields of a query in JSON, and of both sides of a diff."""
    if exchange.asks and exchange.is_json and (fields := exchange.asked()):
        for one in (fields.get("left"), fields.get("right")) if exchange.asks == "Diff" else (fields,):
            if isinstance(one, dict):
                change(one)
        exchange.ask_instead(fields)


def _change_selectors(exchange: Exchange, change: Callable[[str], str]) -> None:
    def fields(one: dict[str, Any]) -> None:
        if "labelSelector" in one:
            one["labelSelector"] = change(one["labelSelector"])
        if "matchers" in one:
            one["matchers"] = [change(text) for text in one["matchers"]]

    _change_request(exchange, fields)


def _change_answer(exchange: Exchange, change: Callable[[dict[str, Any]], None]) -> None:
    if exchange.asks:
        exchange.send()
        if exchange.status == 200 and (fields := exchange.answered()):
            change(fields)
            exchange.answer_instead(fields)


def _change_graph(exchange: Exchange, change: Callable[[dict[str, Any]], None]) -> None:
    def fields(one: dict[str, Any]) -> None:
        if isinstance(one.get("flamegraph"), dict):
            change(one["flamegraph"])

    _change_answer(exchange, fields)


def _change_levels(exchange: Exchange, change: Callable[[list[list[int]], int], None]) -> None:
    """Change the frames of a flame graph, level by level, each a list of numbers; the width is 4 or 7."""

    def graph(one: dict[str, Any]) -> None:
        width = 7 if "leftTicks" in one or "rightTicks" in one else 4
        for level in one.get("levels", []):
            numbers = [int(value) for value in level.get("values", [])]
            frames = [numbers[at : at + width] for at in range(0, len(numbers), width)]
            change(frames, width)
            level["values"] = [str(value) for frame in frames for value in frame]

    _change_graph(exchange, graph)


def _without(exchange: Exchange, *names: str) -> None:
    def fields(one: dict[str, Any]) -> None:
        for name in names:
            one.pop(name, None)

    _change_request(exchange, fields)


@fault
def excludes_the_end(exchange: Exchange) -> None:
    """Leaves out what lies on the end of a range."""
    _change_request(exchange, lambda one: one.update(end=int(one["end"]) - 1) if one.get("end") else None)


@fault
def excludes_the_start(exchange: Exchange) -> None:
    """Leaves out what lies on the start of a range."""
    _change_request(
        exchange, lambda one: one.update(start=int(one["start"]) + 1) if one.get("start") else None
    )


@fault
def widens_ranges(exchange: Exchange) -> None:
    """Answers for whole hours."""

    def fields(one: dict[str, Any]) -> None:
        if one.get("end"):
            one.update(start=int(one["start"]) - 3_600_000, end=int(one["end"]) + 3_600_000)

    _change_request(exchange, fields)


@fault
def turns_ranges(exchange: Exchange) -> None:
    """Exchanges the ends of a range that is backwards."""

    def fields(one: dict[str, Any]) -> None:
        if int(one.get("end", 0)) < int(one.get("start", 0)):
            one["start"], one["end"] = one["end"], one["start"]

    _change_request(exchange, fields)


@fault
def takes_0_for_1970(exchange: Exchange) -> None:
    """Answers for 1970 where a range is absent."""
    _change_request(exchange, lambda one: one.update(start=1, end=2) if one.get("end") == 0 else None)


@fault
def answers_unknown_methods(exchange: Exchange) -> None:
    """Answers a method that it does not have with nothing."""
    if exchange.asks == "NoSuchMethod":
        exchange.reply(200)


@fault
def searches_expressions(exchange: Exchange) -> None:
    """Finds an expression anywhere in a value."""
    _change_selectors(exchange, lambda text: re.sub(r'([=!]~)"([^"]*)"', r'\1".*(\2).*"', text))


@fault
def first_matcher_only(exchange: Exchange) -> None:
    """Looks at the first matcher of a selector."""
    _change_selectors(exchange, lambda text: re.sub(r'(\{[^,}]*"),.*\}', r"\1}", text))


@fault
def absent_is_not_empty(exchange: Exchange) -> None:
    """Matches an absent label with no value."""
    _change_selectors(exchange, lambda text: re.sub(r'=""', r'="absent"', text))


@fault
def double_quotes_only(exchange: Exchange) -> None:
    """Does not read single quotes nor backquotes."""
    if exchange.asks and (b"='" in exchange.body or b"`" in exchange.body):
        exchange.reply(400)


@fault
def no_names_in_quotes(exchange: Exchange) -> None:
    """Does not read names in quotes."""
    if exchange.asks and b'\\"=' in exchange.body:
        exchange.reply(400)


@fault
def demands_matchers(exchange: Exchange) -> None:
    """Refuses a selector that takes everything."""
    if exchange.asks and re.search(rb'"(labelSelector|matchers)": \[?"(\{\})?"', exchange.body):
        exchange.reply(400)


@fault
def takes_any_selector(exchange: Exchange) -> None:
    """Takes a selector that it cannot read for an empty one."""
    if exchange.asks:
        exchange.send()
        if exchange.status == 400:
            exchange.reply(200)


@fault
def unsorted(exchange: Exchange) -> None:
    """Lists names, values and types in any order."""

    def fields(one: dict[str, Any]) -> None:
        for name in ("names", "profileTypes"):
            if name in one:
                one[name] = one[name][::-1]

    _change_answer(exchange, fields)


@fault
def repeats_names(exchange: Exchange) -> None:
    """Lists names, values, types and series twice."""

    def fields(one: dict[str, Any]) -> None:
        for name in ("names", "profileTypes", "labelsSet"):
            if name in one:
                one[name] = [value for value in one[name] for _ in (1, 2)]

    _change_answer(exchange, fields)


@fault
def splits_types_wrongly(exchange: Exchange) -> None:
    """Tells the parts of a profile type in another order."""

    def fields(one: dict[str, Any]) -> None:
        for kind in one.get("profileTypes", []):
            kind["sampleType"], kind["sampleUnit"] = kind.get("sampleUnit", ""), kind.get("sampleType", "")

    _change_answer(exchange, fields)


@fault
def tells_every_name(exchange: Exchange) -> None:
    """Lists names of other characters to clients that cannot read them."""
    if exchange.asks == "LabelNames":
        exchange.headers["accept"] = "application/json; allow-utf8-labelnames=true"


@fault
def hides_names(exchange: Exchange) -> None:
    """Never lists names of other characters."""
    exchange.headers.pop("accept", None)


@fault
def tells_sessions(exchange: Exchange) -> None:
    """Makes a label of the session."""
    if exchange.asks == "LabelNames":
        _change_answer(
            exchange, lambda one: one.update(names=sorted([*one.get("names", []), "__session_id__"]))
        )


@fault
def tells_whole_series(exchange: Exchange) -> None:
    """Does not cut label sets down."""
    _without(exchange, "labelNames")


@fault
def adds_no_labels(exchange: Exchange) -> None:
    """Tells no labels of the profile type."""

    def fields(one: dict[str, Any]) -> None:
        for labels in one.get("labelsSet", []):
            labels["labels"] = [
                pair for pair in labels.get("labels", []) if not pair["name"].startswith("__")
            ]

    _change_answer(exchange, fields)


@fault
def tells_tenants_apart(exchange: Exchange) -> None:
    """Shows each tenant its own, though nobody said that there are tenants."""
    if exchange.asks and exchange.headers.get("x-scope-orgid"):
        exchange.reply(200)


# Flame graphs


@fault
def absolute_gaps(exchange: Exchange) -> None:
    """Writes where a frame begins, not the gap before it."""

    def change(frames: list[list[int]], width: int) -> None:
        for tree in range(1 if width == 4 else 2):
            end = 0
            for frame in frames:
                begin = end + frame[3 * tree]
                end = begin + frame[3 * tree + 1]
                frame[3 * tree] = begin

    _change_levels(exchange, change)


@fault
def totals_without_self(exchange: Exchange) -> None:
    """Leaves a frame's own value out of its total."""

    def change(frames: list[list[int]], _: int) -> None:
        for frame in frames:
            if frame[1] > frame[2]:
                frame[1] -= frame[2]

    _change_levels(exchange, change)


@fault
def loses_self_values(exchange: Exchange) -> None:
    """Writes 0 for the own value of frames that call others."""

    def change(frames: list[list[int]], _: int) -> None:
        for frame in frames:
            if frame[1] > frame[2]:
                frame[2] = 0

    _change_levels(exchange, change)


@fault
def other_root(exchange: Exchange) -> None:
    """Calls the root otherwise."""
    _change_graph(exchange, lambda one: one.update(names=["all", *one.get("names", [])[1:]]))


@fault
def forgets_the_largest_self(exchange: Exchange) -> None:
    """Does not say the largest own value nor the total."""
    _change_graph(exchange, lambda one: one.update(maxSelf="0", total="0"))


@fault
def largest_first(exchange: Exchange) -> None:
    """Sorts frames by their totals."""

    def graph(one: dict[str, Any]) -> None:
        if "leftTicks" not in one and one.get("levels"):
            names: list[str] = []
            levels = _levels(folded_of_levels(one), names)
            one.update(names=names, levels=[{"values": [str(x) for x in level]} for level in levels])

    _change_graph(exchange, graph)


def _levels(folded: Mapping[str, tuple[int, ...]], names: list[str]) -> list[list[int]]:
    row, levels = [("", 0)], []
    while row:
        level: list[int] = []
        following: list[tuple[str, int]] = []
        end = 0
        for path, begin in row:
            total, own = folded[path]
            name = path.rpartition(";")[2] if path else "total"
            if name not in names:
                names.append(name)
            level += [begin - end, total, own, names.index(name)]
            end, at = begin + total, begin
            below = [one for one in folded if one and one.rpartition(";")[0] == path]
            for child in sorted(below, key=lambda one: -folded[one][0]):
                following.append((child, at))
                at += folded[child][0]
        levels.append(level)
        row = following
    return levels


@fault
def ignores_max_nodes(exchange: Exchange) -> None:
    """Sends every frame."""
    if exchange.asks == "SelectMergeStacktraces":
        _change_request(
            exchange, lambda one: one.update(maxNodes=1_000_000) if one.get("maxNodes") != 1048577 else None
        )


@fault
def two_frames_by_default(exchange: Exchange) -> None:
    """Folds all but two frames where nobody said how many."""
    if exchange.asks == "SelectMergeStacktraces":
        _change_request(exchange, lambda one: one.update(maxNodes=2) if not one.get("maxNodes") else None)


@fault
def takes_any_max_nodes(exchange: Exchange) -> None:
    """Takes any number of frames."""
    _change_request(exchange, lambda one: one.update(maxNodes=0) if one.get("maxNodes") == 1048577 else None)


@fault
def tells_files_apart(exchange: Exchange) -> None:
    """Tells frames of one name apart by the profile that they came in."""

    def profile(data: bytes) -> bytes:
        exchange.memory["profiles"] = number = exchange.memory.get("profiles", 0) + 1
        return edit(data, 6, lambda text: text + b"#%d" % number if text == b"a" else text)

    edit_profiles(exchange, profile)


@fault
def refuses_nothing_found(exchange: Exchange) -> None:
    """Answers 404 where nothing is selected."""
    if exchange.asks.startswith("SelectMerge") and exchange.is_json:
        exchange.send()
        if exchange.status == 200 and int(exchange.answered().get("flamegraph", {}).get("total", 0)) == 0:
            exchange.reply(404, b'{"code":"not_found"}')


@fault
def numbers_for_integers(exchange: Exchange) -> None:
    """Writes 64-bit integers as numbers."""

    def graph(one: dict[str, Any]) -> None:
        one["total"] = int(one.get("total", 0))
        for level in one.get("levels", []):
            level["values"] = [int(value) for value in level.get("values", [])]

    _change_graph(exchange, graph)


@fault
def rounds_integers(exchange: Exchange) -> None:
    """Computes in floating point."""

    def change(frames: list[list[int]], _: int) -> None:
        for frame in frames:
            frame[:3] = [int(float(value)) for value in frame[:3]]

    _change_levels(exchange, change)


@fault
def refuses_unknown_fields(exchange: Exchange) -> None:
    """Refuses what it does not know."""
    if b"noSuchField" in exchange.body:
        exchange.reply(400)


@fault
def answers_in_json(exchange: Exchange) -> None:
    """Answers every query in JSON."""
    if exchange.asks and not exchange.is_json:
        exchange.reply(200)


# Time series


def _points(exchange: Exchange, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    def fields(one: dict[str, Any]) -> None:
        for series in one.get("series", []):
            if "points" in series:
                series["points"] = change(series["points"])

    _change_answer(exchange, fields)


@fault
def points_at_the_start_of_steps(exchange: Exchange) -> None:
    """Writes a point where its step begins."""
    step_ms = int(float(exchange.asked().get("step", 0)) * 1000) if exchange.is_json else 0
    _points(exchange, lambda points: [{**p, "timestamp": str(int(p["timestamp"]) - step_ms)} for p in points])


@fault
def points_of_nothing(exchange: Exchange) -> None:
    """Writes a point for steps without a profile."""
    _points(exchange, lambda points: [*points, {"value": 0.0, "timestamp": "1"}])


@fault
def forgets_the_first_point(exchange: Exchange) -> None:
    """Does not read from before the start."""
    _points(exchange, lambda points: points[1:])


@fault
def ignores_groups(exchange: Exchange) -> None:
    """Answers with one series."""
    _without(exchange, "groupBy")


@fault
def sums_averages(exchange: Exchange) -> None:
    """Answers with the sum, whatever was asked for."""
    _without(exchange, "aggregation")


@fault
def ignores_limits(exchange: Exchange) -> None:
    """Answers with every series."""
    _without(exchange, "limit")


@fault
def takes_any_step(exchange: Exchange) -> None:
    """Takes any step."""
    _change_request(
        exchange, lambda one: one.update(step=1) if 0 < float(one.get("step", 0)) < 0.001 else None
    )


# Which samples, and other forms


@fault
def ignores_spans(exchange: Exchange) -> None:
    """Answers with every sample, whatever the spans."""
    _without(exchange, "spanSelector")
    if exchange.asks == "SelectMergeSpanProfile":
        exchange.path = exchange.path.replace("SelectMergeSpanProfile", "SelectMergeStacktraces")


@fault
def ignores_traces(exchange: Exchange) -> None:
    """Answers with every sample, whatever the traces and profiles."""
    _without(exchange, "traceIdSelector", "profileIdSelector")


@fault
def ignores_call_sites(exchange: Exchange) -> None:
    """Answers with every stack."""

    def fields(one: dict[str, Any]) -> None:
        one.get("stackTraceSelector", {}).pop("callSite", None)

    _change_request(exchange, fields)


@fault
def ignores_frame_filters(exchange: Exchange) -> None:
    """Answers with every stack, whatever its frames."""

    def fields(one: dict[str, Any]) -> None:
        one.get("stackTraceSelector", {}).pop("frameFilter", None)

    _change_request(exchange, fields)


@fault
def loses_lines(exchange: Exchange) -> None:
    """Leaves the lines out of a pprof."""
    if exchange.asks == "SelectMergeProfile":
        exchange.send()

        def line(one: bytes) -> bytes:
            return join([part for part in parts(one) if part[0] != 2])

        exchange.answer = edit(exchange.answer, 4, lambda location: edit(location, 4, line))


@fault
def empty_trees(exchange: Exchange) -> None:
    """Answers with an empty tree, and an empty graph."""

    def fields(one: dict[str, Any]) -> None:
        if "tree" in one:
            one["tree"] = base64.b64encode(b"\0\0\0").decode()
        if "dot" in one:
            one["dot"] = "digraph {}"

    _change_answer(exchange, fields)


@fault
def turns_diffs(exchange: Exchange) -> None:
    """Takes left for right."""
    fields = exchange.asked()
    if exchange.asks == "Diff" and fields:
        exchange.ask_instead({"left": fields.get("right"), "right": fields.get("left")})


@fault
def counts_samples(exchange: Exchange) -> None:
    """Counts in a heatmap what it counts twice."""

    def fields(one: dict[str, Any]) -> None:
        for series in one.get("series", []):
            for slot in series.get("slots", []):
                slot["counts"] = [2 * int(number) for number in slot.get("counts", [])]

    _change_answer(exchange, fields)


@fault
def knows_nothing_of_itself(exchange: Exchange) -> None:
    """Says nothing of what it holds and of what a query would read."""
    if exchange.asks in ("GetProfileStats", "AnalyzeQuery"):
        exchange.reply(200)
