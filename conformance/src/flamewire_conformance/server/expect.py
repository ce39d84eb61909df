"""What a step can expect of an answer: one function each, named as in the case files."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from flamewire_conformance.errors import WireError
from flamewire_conformance.pprof import read_profile
from flamewire_conformance.server.client import Answered
from flamewire_conformance.server.replies import flamegraph_of, folded_of_levels, folded_of_tree, levels_of

__all__ = ["EXPECTATIONS", "Context", "judge"]


class Context:
    """The words of a case that change from run to run.

    Args:
        service: stands for ``{service}``.
        base_ms: stands for ``@0``; ``@-30`` is 30 s before it.
    """

    def __init__(self, service: str, base_ms: int) -> None:
        self.service = service
        self.base_ms = base_ms

    def fill(self, value: Any) -> Any:
        """Replace the placeholders in a value, however deep they stand."""
        if isinstance(value, str):
            if re.fullmatch(r"@-?\d+(\.\d+)?", value):
                return self.base_ms + round(float(value[1:]) * 1000)
            return value.replace("{service}", self.service)
        if isinstance(value, Mapping):
            return {self.fill(key): self.fill(one) for key, one in value.items()}
        if isinstance(value, Sequence):
            return [self.fill(one) for one in value]
        return value


def _graph(answered: Answered) -> Mapping[str, Any]:
    if answered.headers.get("content-type", "").startswith("application/proto"):
        return flamegraph_of(answered.body)
    found = answered.json()
    graph = found.get("flamegraph", {}) if isinstance(found, Mapping) else {}
    return graph if isinstance(graph, Mapping) else {}


def status(answered: Answered, want: int | Sequence[int]) -> Iterator[str]:
    """One status, or several that are as good."""
    wanted = [want] if isinstance(want, int) else list(want)
    if answered.status not in wanted:
        said = answered.body[:200].decode("utf-8", "replace")
        yield f"the answer is {answered.status}, not {' or '.join(map(str, wanted))}: {said}"


def code(answered: Answered, want: str) -> Iterator[str]:
    """The code of a Connect error."""
    found = answered.json()
    got = found.get("code") if isinstance(found, Mapping) else None
    if got != want:
        yield f"the error's code is {got!r}, not {want!r}"


def message(answered: Answered, want: str) -> Iterator[str]:
    """A pattern that is found in a Connect error's message."""
    found = answered.json()
    got = str(found.get("message", "")) if isinstance(found, Mapping) else ""
    if not re.search(want, got):
        yield f"the error's message does not name {want}: {got[:200]}"


def body(answered: Answered, want: str) -> Iterator[str]:
    """The whole body, as text."""
    if answered.body.decode("utf-8", "replace").strip() != want:
        yield f"the body is {answered.body[:100]!r}, not {want!r}"


def headers(answered: Answered, want: Mapping[str, str]) -> Iterator[str]:
    """{name: pattern}: each header matches as a whole."""
    for name, pattern in want.items():
        if not re.fullmatch(pattern, answered.headers.get(name.lower(), "")):
            yield f"the header {name} is {answered.headers.get(name.lower())!r}, not {pattern}"


def stacks(answered: Answered, want: Mapping[str, int]) -> Iterator[str]:
    """{folded stack: own value}: these and no others; ``""`` is the root."""
    found = {path: own for path, (_, own) in folded_of_levels(_graph(answered)).items() if own}
    yield from _differences(found, want)


def _differences(found: Mapping[str, object], want: Mapping[str, object]) -> Iterator[str]:
    for path in sorted({*found, *want}):
        if found.get(path) != want.get(path):
            got, wanted = found.get(path, "nothing"), want.get(path, "nothing")
            yield f"{path[-200:] or 'the root'} has {got}, not {wanted}"


def totals(answered: Answered, want: Mapping[str, int]) -> Iterator[str]:
    """{folded stack: total}: these and no others; ``""`` is the root."""
    yield from _differences(
        {path: total for path, (total, _) in folded_of_levels(_graph(answered)).items()}, want
    )


def levels(answered: Answered, want: Sequence[Sequence[Sequence[Any]]]) -> Iterator[str]:
    """[[[gap, total, self, name], ...], ...]: the levels exactly, with names for their indices."""
    graph = _graph(answered)
    names, found = graph.get("names", []), []
    width = len(want[0][0])
    for values in levels_of(graph):
        frames = [values[at : at + width] for at in range(0, len(values), width)]
        found.append(
            [[*frame[:-1], names[frame[-1]] if frame[-1] < len(names) else frame[-1]] for frame in frames]
        )
    if found != [[list(frame) for frame in level] for level in want]:
        yield f"the levels are {found}, not {want}"
    if names[:1] != ["total"]:
        yield f"the first name is {names[:1]}, not total"


def numbers(answered: Answered, want: Mapping[str, int]) -> Iterator[str]:
    """{total, maxSelf, leftTicks, rightTicks}: numbers of the flame graph."""
    graph = _graph(answered)
    found = {name: int(graph.get(name, 0)) for name in want}
    yield from _differences(found, want)


def strings_for_integers(answered: Answered, _: object) -> Iterator[str]:
    """true: 64-bit integers of the flame graph are strings."""
    graph = _graph(answered)
    values = [value for level in graph.get("levels", []) for value in level.get("values", [])]
    if not values or not all(isinstance(value, str) for value in [graph.get("total"), *values]):
        yield f"numbers are {[graph.get('total'), *values][:3]}, not strings"


def diff(answered: Answered, want: Mapping[str, Sequence[int]]) -> Iterator[str]:
    """{folded stack: [left total, left self, right total, right self]}: these and no others."""
    found = {path: list(values) for path, values in folded_of_levels(_graph(answered), 7).items()}
    yield from _differences(found, {path: list(values) for path, values in want.items()})


def sorted_children(answered: Answered, _: object) -> Iterator[str]:
    """true: the frames of one parent stand in the order of their names."""
    order: dict[str, list[str]] = {}
    for path in folded_of_levels(_graph(answered)):
        parent, _sign, name = path.rpartition(";")
        if path:
            order.setdefault(parent, []).append(name)
    for parent, found in order.items():
        if found != sorted(found, key=str.encode):
            yield f"below {parent or 'the root'} stand {found}"


def frames_at_most(answered: Answered, want: int) -> Iterator[str]:
    """How many frames the flame graph has at most, ``other`` ones aside."""
    found = [path for path in folded_of_levels(_graph(answered)) if path.rpartition(";")[2] != "other"]
    if len(found) > want:
        yield f"the flame graph has {len(found)} frames, at most {want} were asked for"


def tree(answered: Answered, want: Mapping[str, int]) -> Iterator[str]:
    """{folded stack: own value} of the tree format."""
    yield from _differences(folded_of_tree(base64.b64decode(answered.json().get("tree", ""))), want)


def dot(answered: Answered, want: str) -> Iterator[str]:
    """A pattern that is found in the Graphviz text."""
    text = str(answered.json().get("dot", ""))
    if not text.lstrip().startswith("digraph") or not re.search(want, text):
        yield f"the graph is {text[:100]!r} and does not hold {want}"


def pprof(answered: Answered, want: Mapping[str, Any]) -> Iterator[str]:
    """{stacks: {folded: value}, types: [type:unit], period_type}: of a binary pprof reply."""
    if answered.status != 200:
        yield f"the answer is {answered.status}"
        return
    profile = read_profile(answered.body)
    yield from profile.faults
    found: dict[str, int] = {}
    for sample in profile.samples:
        path = ";".join(frame.function for frame in reversed(sample.stack))
        found[path] = found.get(path, 0) + sample.values[0]
    yield from _differences(found, want["stacks"])
    if (types := [":".join(one) for one in profile.sample_types]) != want.get("types", types):
        yield f"the sample types are {types}, not {want['types']}"
    if (period := ":".join(profile.period_type)) != want.get("period_type", period):
        yield f"the period type is {period}, not {want['period_type']}"
    files = {(frame.filename, frame.line) for sample in profile.samples for frame in sample.stack}
    if want.get("lines") and files != {tuple(want["lines"])}:
        yield f"files and lines are {sorted(files)[:3]}, not {want['lines']}"


def names(answered: Answered, want: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """{are | include | lack: [names]}: of LabelNames and LabelValues, sorted and each once."""
    found = [str(name) for name in answered.json().get("names", [])]
    if found != sorted(set(found), key=str.encode):
        yield f"the names are not sorted, or stand twice: {found[:20]}"
    if "are" in want and found != list(want["are"]):
        yield f"the names are {found}, not {list(want['are'])}"
    if missing := [name for name in want.get("include", ()) if name not in found]:
        yield f"{missing} are not among the names"
    if extra := [name for name in want.get("lack", ()) if name in found]:
        yield f"{extra} are among the names"


def profile_types(answered: Answered, want: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """{include | lack: [ids]}: of ProfileTypes, sorted, each once, with their parts."""
    found = answered.json().get("profileTypes", [])
    ids = [one.get("ID", "") for one in found]
    if ids != sorted(set(ids)):
        yield f"the profile types are not sorted, or stand twice: {ids}"
    if missing := [one for one in want.get("include", ()) if one not in ids]:
        yield f"{missing} are not among {ids}"
    if extra := [one for one in want.get("lack", ()) if one in ids]:
        yield f"{extra} are among the profile types"
    for one in found:
        parts = [one.get(key, "") for key in ("name", "sampleType", "sampleUnit", "periodType", "periodUnit")]
        if ":".join(parts) != one.get("ID"):
            yield f"{one.get('ID')} has the parts {parts}"


def label_sets(answered: Answered, want: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """[{name: value}]: the label sets of Series, in any order, each once."""
    found = [
        {pair["name"]: pair.get("value", "") for pair in one.get("labels", [])}
        for one in answered.json().get("labelsSet", [])
    ]
    if sorted(map(repr, map(_sorted, found))) != sorted(map(repr, map(_sorted, want))):
        yield f"the label sets are {found}, not {list(want)}"


def _sorted(labels: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted(labels.items())


def points(answered: Answered, want: Mapping[str, Mapping[int, float]]) -> Iterator[str]:
    """{"name=value,...": {time in ms: value}}: the series of SelectSeries; ``""`` has no labels."""
    found = {}
    for one in answered.json().get("series", []):
        key = ",".join(f"{pair['name']}={pair.get('value', '')}" for pair in one.get("labels", []))
        if key in found:
            yield f"the series {key} stands twice"
        found[key] = {int(p.get("timestamp", 0)): float(p.get("value", 0)) for p in one.get("points", [])}
    wanted = {key: {int(time): float(value) for time, value in one.items()} for key, one in want.items()}
    if found != wanted:
        yield f"the series are {found}, not {wanted}"


def heatmap(answered: Answered, want: Mapping[int, int]) -> Iterator[str]:
    """{time in ms: count}: how many profiles or spans each slot counts, over all buckets."""
    slots = {
        int(slot.get("timestamp", 0)): sum(map(int, slot.get("counts", [])))
        for one in answered.json().get("series", [])
        for slot in one.get("slots", [])
    }
    found = {time: count for time, count in slots.items() if count}
    if found != {int(time): count for time, count in want.items()}:
        yield f"the slots count {found}, not {want}"


def json(answered: Answered, want: Mapping[str, Any]) -> Iterator[str]:
    """{key: value}: these fields have these values; 64-bit integers as text."""
    found = answered.json()
    for key, value in want.items():
        if str(found.get(key)) != str(value):
            yield f"{key} is {found.get(key)!r}, not {value!r}"


def json_has(answered: Answered, want: Sequence[str]) -> Iterator[str]:
    """[keys]: these fields are there."""
    if missing := [key for key in want if key not in answered.json()]:
        yield f"the answer lacks {missing}"


EXPECTATIONS: Final[Mapping[str, Callable[[Answered, Any], Iterator[str]]]] = {
    check.__name__: check
    for check in (
        status, code, message, body, headers, stacks, totals, levels, numbers, strings_for_integers, diff,
        sorted_children, frames_at_most, tree, dot, pprof, names, profile_types, label_sets, points, heatmap,
        json, json_has,
    )
}  # fmt: skip


def judge(answered: Answered, expect: Mapping[str, Any], context: Context) -> list[str]:
    """Return what an answer does not keep of a step's expectations, in words."""
    wanted = {"status": 200, **expect}
    faults: list[str] = []
    for name, argument in wanted.items():
        filled = context.fill(argument)
        try:
            faults += EXPECTATIONS[name](answered, filled)
        except (WireError, ValueError, AttributeError, KeyError, TypeError) as error:
            faults.append(f"the answer cannot be read as {name}: {error}")
    return faults
