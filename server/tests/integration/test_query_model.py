"""Random profiles, selectors and ranges: every answer is that of a small reference model in memory."""

from __future__ import annotations

import base64
import random
import subprocess
import sys
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf import json_format
from server_process import CPU, PROTO, ServerProcess, make_push, now_ms, read_flamegraph

from flamewire_server._proto.google.v1 import profile_pb2
from flamewire_server._proto.querier.v1 import querier_pb2

NAMES = ["main", "a", "b", "c", "io.read", "other"]
SEEDS = range(4)
QUERIES = 12


@dataclass(frozen=True)
class Sample:
    """One sample as the model knows it; stack root first."""

    profile: str
    time_ms: int
    labels: Mapping[str, str]
    stack: tuple[str, ...]
    value: int
    span: str
    trace: str


class Model:
    """What was pushed, and what each question about it must be answered."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    def select(self, start: int, end: int, test: Callable[[Sample], bool]) -> list[Sample]:
        return [one for one in self.samples if start <= one.time_ms <= end and test(one)]

    @staticmethod
    def tree(samples: Iterable[Sample]) -> dict[str, tuple[int, int]]:
        totals: Counter[str] = Counter()
        selfs: Counter[str] = Counter()
        for one in samples:
            for depth in range(1, len(one.stack) + 1):
                totals[";".join(one.stack[:depth])] += one.value
            selfs[";".join(one.stack)] += one.value
        return {path: (total, selfs[path]) for path, total in totals.items()}

    @staticmethod
    def steps(
        samples: Iterable[Sample], start: int, step: int, by: str, average: bool
    ) -> dict[str, dict[int, float]]:
        sums: defaultdict[str, Counter[int]] = defaultdict(Counter)
        profiles: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
        for one in samples:
            edge = start - (start - one.time_ms) // step * step
            group = one.labels.get(by, "")
            sums[group][edge] += one.value
            profiles[group, edge].add(one.profile)
        return {
            group: {
                edge: value / len(profiles[group, edge]) if average else value
                for edge, value in points.items()
            }
            for group, points in sums.items()
        }


def fill(server: ServerProcess, seed: int) -> tuple[Model, str, int]:
    """Push random profiles; returns the model of them, their service, and the time of the first one."""
    chance = random.Random(seed)
    model, service, first_ms = Model(), f"model-{seed}", now_ms() - 3_000_000
    for _ in range(12):
        profile = profile_pb2.Profile(string_table=["", "cpu", "nanoseconds", *NAMES])
        texts = profile.string_table
        profile.sample_type.add(type=1, unit=2)
        profile.period_type.type, profile.period_type.unit = 1, 2
        for number in range(len(NAMES)):
            profile.function.add(id=number + 1, name=number + 3)
            profile.location.add(id=number + 1).line.add(function_id=number + 1, line=number)
        time_ms, identity = first_ms + chance.randrange(100) * 1000, str(uuid.uuid4())
        profile.time_nanos = time_ms * 10**6 + chance.randrange(10**6)
        region = chance.choice(["eu", "us"])
        for _ in range(chance.randrange(1, 15)):
            stack = tuple(chance.choices(NAMES, k=chance.randrange(1, 6)))
            labels = {"span_id": chance.choice(["", f"{chance.randrange(1, 4):016x}"])}
            labels["trace_id"] = chance.choice(["", f"{chance.randrange(1, 4):032x}"])
            labels["route"] = chance.choice(["", "/a", "/b"])
            value = chance.randrange(1, 100)
            sample = profile.sample.add(value=[value])
            sample.location_id.extend(NAMES.index(name) + 1 for name in reversed(stack))
            for key, text in labels.items():
                if text:
                    sample.label.add(key=len(texts), str=len(texts) + 1)
                    texts.extend((key, text))
            kept = {"region": region, **({"route": labels["route"]} if labels["route"] else {})}
            model.samples.append(
                Sample(identity, time_ms, kept, stack, value, labels["span_id"], labels["trace_id"])
            )
        assert server.push(make_push(service, profile, ids=[identity], region=region)).status == 200
    return model, service, first_ms


@dataclass(frozen=True)
class Question:
    """Fields of a request, and what the model says of a sample."""

    selector: str
    ids: dict[str, list[str]]
    stacks: dict[str, Any]
    tests: dict[str, Callable[[Sample], bool]]

    def takes(self, one: Sample, *kinds: str) -> bool:
        return all(test(one) for kind, test in self.tests.items() if not kinds or kind in kinds)


def random_question(chance: random.Random, model: Model, service: str) -> Question:
    matchers = [f'service_name="{service}"']
    label, value = chance.choice([("region", "eu"), ("region", "none"), ("route", "/a"), ("route", "")])
    operator = chance.choice(["=", "!=", "=~", "!~"])
    tests: dict[str, Callable[[Sample], bool]] = {}
    if chance.random() < 0.7:
        matchers.append(f'{label}{operator}"{value}"')
        tests["labels"] = lambda one: (one.labels.get(label, "") == value) == (operator[0] == "=")
    ids: dict[str, list[str]] = {}
    number = chance.randrange(1, 5)
    kind = chance.choice(["span", "trace", "profile", "none"])
    if kind == "span":
        ids["spanSelector"] = [f"{number:016x}"]
        tests["ids"] = lambda one: one.span == f"{number:016x}"
    elif kind == "trace":
        ids["traceIdSelector"] = [f"{number:032x}"]
        tests["ids"] = lambda one: one.trace == f"{number:032x}"
    elif kind == "profile":
        ids["profileIdSelector"] = [one.profile for one in chance.sample(model.samples, 2)]
        tests["ids"] = lambda one: one.profile in ids["profileIdSelector"]
    stacks: dict[str, Any] = {}
    site = chance.choice(model.samples).stack[: chance.randrange(1, 3)]
    wanted, banned = chance.choice(NAMES), chance.choice(NAMES)[:2]
    if chance.random() < 0.3:
        stacks["callSite"] = [{"name": name} for name in site]
        tests["site"] = lambda one: one.stack[: len(site)] == site
    if chance.random() < 0.3:
        stacks["frameFilter"] = {
            "includeFunctionNames": [wanted],
            "excludeFunctionNameRegexes": ["^" + banned.replace(".", "[.]")],
        }
        tests["frames"] = lambda one: (
            wanted in one.stack and not any(name.startswith(banned) for name in one.stack)
        )
    return Question("{" + ",".join(matchers) + "}", ids, stacks, tests)


def stacks_of(profile: profile_pb2.Profile) -> Counter[str]:
    """Fold a pprof."""
    names = {one.id: profile.string_table[one.name] for one in profile.function}
    locations = {one.id: [names[line.function_id] for line in one.line] for one in profile.location}
    folded: Counter[str] = Counter()
    for sample in profile.sample:
        path = [name for number in sample.location_id for name in locations[number]]
        folded[";".join(reversed(path))] += sample.value[0]
    return folded


def read_tree(data: bytes) -> dict[str, tuple[int, int]]:
    """Read querier.v1's tree into folded stack -> (total, self)."""
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def frame(path: tuple[str, ...]) -> int:
        nonlocal at
        length = number()
        name = data[at : at + length].decode()
        at += length
        own, callees = number(), number()
        inner = (*path, name) if name else path
        total = own + sum(frame(inner) for _ in range(callees))
        if inner:
            result[";".join(inner)] = (total, own)
        return total

    result: dict[str, tuple[int, int]] = {}
    if data:
        frame(())
    assert at == len(data)
    return result


def read_diff(graph: Mapping[str, Any]) -> dict[str, tuple[int, int, int, int]]:
    """Read a double flamebearer into folded stack -> (left total, left self, right total, right self)."""
    names, result = graph.get("names", []), {}
    parents: list[tuple[int, int, int, int, str]] = []
    for depth, level in enumerate(graph.get("levels", [])):
        values = [int(value) for value in level.get("values", [])]
        left = right = 0
        row = []
        for at in range(0, len(values), 7):
            left_gap, left_total, left_own, right_gap, right_total, right_own, name = values[at : at + 7]
            left, right = left + left_gap, right + right_gap
            path = names[name]
            if depth:
                above = next(
                    text
                    for left_from, left_to, right_from, right_to, text in parents
                    if left_from <= left and left + left_total <= left_to
                    and right_from <= right and right + right_total <= right_to
                )  # fmt: skip
                path = f"{above};{path}" if depth > 1 else path
                result[path] = (left_total, left_own, right_total, right_own)
            row.append((left, left + left_total, right, right + right_total, path))
            left, right = left + left_total, right + right_total
        parents = row
    return result


@pytest.mark.parametrize("seed", SEEDS)
def test_stack_traces_are_those_of_the_model(server: ServerProcess, seed: int) -> None:
    check_stack_traces(server, *fill(server, seed), random.Random(seed + 1000))


@pytest.mark.parametrize("seed", SEEDS)
def test_time_series_are_those_of_the_model(server: ServerProcess, seed: int) -> None:
    check_time_series(server, *fill(server, seed + 100), random.Random(seed + 2000))


def test_compaction_changes_no_answer(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server()
    filled = [fill(server, seed + 200) for seed in SEEDS]
    for number, one in enumerate(filled):
        check_stack_traces(server, *one, random.Random(number))
        check_time_series(server, *one, random.Random(number))
    assert server.stop() == 0
    command = [sys.executable, "-m", "flamewire_server", "admin", "compact", "--data", str(server.data)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    compacted = start_server()
    for number, one in enumerate(filled):
        check_stack_traces(compacted, *one, random.Random(number))
        check_time_series(compacted, *one, random.Random(number))


def check_stack_traces(
    server: ServerProcess, model: Model, service: str, first_ms: int, chance: random.Random
) -> None:
    left: tuple[dict[str, Any], dict[str, tuple[int, int]]] | None = None
    for _ in range(QUERIES):
        question = random_question(chance, model, service)
        start = first_ms + chance.randrange(-5, 60) * 1000
        end = start + chance.randrange(0, 100) * 1000
        chosen = model.select(start, end, question.takes)
        want = model.tree(chosen)
        request = {
            "profileTypeID": CPU, "labelSelector": question.selector, "start": start, "end": end,
            "stackTraceSelector": question.stacks, **question.ids,
        }  # fmt: skip
        graph = server.query("SelectMergeStacktraces", **request)["flamegraph"]
        assert read_flamegraph(graph) == want, request
        assert int(graph.get("total", 0)) == sum(one.value for one in chosen)
        tree = server.query("SelectMergeStacktraces", **request, format="PROFILE_FORMAT_TREE").get("tree", "")
        assert read_tree(base64.b64decode(tree)) == want, request
        message = json_format.ParseDict(
            {**request, "format": "PROFILE_FORMAT_PPROF"}, querier_pb2.SelectMergeStacktracesRequest()
        )
        reply = server.query_raw("SelectMergeStacktraces", message.SerializeToString(), PROTO)
        pprof = querier_pb2.SelectMergeStacktracesResponse.FromString(reply.body).pprof.profile
        assert stacks_of(pprof) == {path: own for path, (_, own) in want.items() if own}, request
        if left is not None:
            graph = server.query("Diff", left=left[0], right=request)["flamegraph"]
            both = {
                path: (*left[1].get(path, (0, 0)), *want.get(path, (0, 0))) for path in left[1].keys() | want
            }
            assert read_diff(graph) == both, (left[0], request)
        left = request, want


def check_time_series(
    server: ServerProcess, model: Model, service: str, first_ms: int, chance: random.Random
) -> None:
    for _ in range(QUERIES):
        question = random_question(chance, model, service)
        step_ms = chance.choice([1000, 7000, 15_000])
        start = first_ms + chance.randrange(0, 60) * 1000
        end = start + chance.randrange(0, 60) * 1000
        last = start + (end - start) // step_ms * step_ms
        by, average = chance.choice(["region", "route", "nothing"]), chance.random() < 0.5
        chosen = [
            one
            for one in model.select(start - step_ms + 1, last, lambda one: True)
            if question.takes(one, "labels", "site", "frames")
        ]
        request = {
            "profileTypeID": CPU, "labelSelector": question.selector, "stackTraceSelector": question.stacks,
            "start": start, "end": end, "step": step_ms / 1000, "groupBy": [by],
            "aggregation": "TIME_SERIES_AGGREGATION_TYPE_" + ("AVERAGE" if average else "SUM"),
        }  # fmt: skip
        got = {
            "".join(pair["value"] for pair in one.get("labels", [])): {
                int(point["timestamp"]): point["value"] for point in one["points"]
            }
            for one in server.query("SelectSeries", **request).get("series", [])
        }
        assert got == model.steps(chosen, start, step_ms, by, average), request


@pytest.mark.parametrize("by_span", [False, True])
def test_a_heatmap_counts_every_profile_or_span_once(server: ServerProcess, by_span: bool) -> None:
    model, service, first_ms = fill(server, 500 + by_span)
    start, step_ms = first_ms, 20_000
    want: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for one in model.select(
        start - step_ms + 1, start + 5 * step_ms, lambda one: bool(one.span) or not by_span
    ):
        edge = start - (start - one.time_ms) // step_ms * step_ms
        want[edge][one.span if by_span else one.profile] += one.value
    (series,) = server.query(
        "SelectHeatmap", profileTypeID=CPU, labelSelector=f'{{service_name="{service}"}}', start=start,
        end=start + 5 * step_ms, step=step_ms / 1000,
        queryType="HEATMAP_QUERY_TYPE_" + ("SPAN" if by_span else "INDIVIDUAL"),
    )["series"]  # fmt: skip
    floors = series["slots"][0]["yMin"]
    assert len(floors) == 20
    assert floors == sorted(floors)
    got = {int(slot["timestamp"]): slot["counts"] for slot in series["slots"]}
    assert got.keys() == want.keys()
    for edge, values in want.items():
        counts = [0] * len(floors)
        for value in values.values():
            counts[max(index for index, floor in enumerate(floors) if floor <= value + 1e-9)] += 1
        assert got[edge] == counts
