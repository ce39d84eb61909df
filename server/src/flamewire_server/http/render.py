"""GET endpoints of Pyroscope's older UI, which Profiles Drilldown still asks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from flamewire_server._native import Tree
from flamewire_server.http.querier_stacks import DOT_FUNCTIONS
from flamewire_server.http.ranges import parse_range
from flamewire_server.http.url_query import UrlQuery, bad_parameter
from flamewire_server.http.url_service import Document
from flamewire_server.model.profile_type import ProfileType
from flamewire_server.model.time_range import NS_PER_MS, TimeRange
from flamewire_server.query.queries import Queries
from flamewire_server.query.selection import ProfileSelection
from flamewire_server.query.time_series import TimeSeries, TimeSeriesQuery

__all__ = ["RenderAnswers", "diff_document", "flamebearer_document"]

_SHORTEST_STEP_S = 15
_MAX_POINTS = 1500


class RenderAnswers:
    """Flame graph and timeline in one answer, a comparison of two, and the profile types."""

    def __init__(self, queries: Queries) -> None:
        self._labels = queries.labels
        self._stacks = queries.stacks
        self._series = queries.series

    def answers(self) -> dict[str, Callable[[UrlQuery], Document]]:
        """Give the answers by their path."""
        return {
            "/pyroscope/render": self.render,
            "/pyroscope/render-diff": self.render_diff,
            "/pyroscope/label-values": self.label_values,
        }

    def render(self, query: UrlQuery) -> Document:
        """Answer with a flame graph and its timeline."""
        selection = query.selection()
        kind = selection.profile_type
        form = query.choice("format", "json", "dot")
        average = query.choice("aggregation", "sum", "avg", "average") != "sum"
        tree = self._stacks.tree(selection)
        if form == "dot":
            dot = tree.dot(kind.sample_unit, query.max_nodes(DOT_FUNCTIONS))
            return Document(dot.encode(), "text/vnd.graphviz; charset=utf-8")
        group_by = tuple(name for name in query.get("groupBy").split(",") if name)
        document = flamebearer_document(tree, kind, query.max_nodes())
        return _json({**document, **self._timelines(selection, group_by, average=average)})

    def render_diff(self, query: UrlQuery) -> Document:
        """Answer with two flame graphs over one another."""
        sides = query.sides()
        left, right = (self._stacks.tree(one) for one in sides)
        return _json(diff_document(left, right, sides[0].profile_type, query.max_nodes()))

    def label_values(self, query: UrlQuery) -> Document:
        """Answer with the values of a label; those of `__name__` are the profile types."""
        name = query.get("label")
        if not name:
            raise bad_parameter("label", "the name of a label")
        time_range = parse_range(query.get("from", "now-1h"), query.get("until", "now"))
        if name == "__name__":
            return _json(self._labels.profile_types(query.tenants, time_range))
        matchers = [query.get("query")] if query.get("query") else []
        return _json(self._labels.values(query.tenants, time_range, name, matchers))

    def _timelines(
        self, selection: ProfileSelection, group_by: tuple[str, ...], *, average: bool
    ) -> dict[str, object]:
        start_s, end_s = (
            at // NS_PER_MS // 1000 for at in (selection.time_range.start_ns, selection.time_range.end_ns)
        )
        step_s = max(_SHORTEST_STEP_S, -(-(end_s - start_s) // _MAX_POINTS))
        # The first bucket is snapped down, so that refreshing does not move the others.
        first_s = start_s // step_s * step_s
        count = max(-(-(end_s - first_s) // step_s), 1)
        edges = TimeRange.from_ms((first_s + step_s) * 1000, (first_s + count * step_s) * 1000)
        steps = ProfileSelection(selection.tenants, selection.selector, edges, selection.guard)

        def timelines(names: tuple[str, ...]) -> dict[str, dict[str, object]]:
            series = self._series.time_series(
                steps, TimeSeriesQuery(names, step_s * 1000, 0, average=average)
            )
            return {_group_name(one): _timeline(one, first_s, step_s, count) for one in series}

        empty = _timeline(TimeSeries((), []), first_s, step_s, count)
        return {
            "timeline": timelines(()).get("", empty),
            "groups": timelines(group_by) if group_by else {},
            "heatmap": None,
        }


def flamebearer_document(tree: Tree, kind: ProfileType, max_nodes: int) -> dict[str, object]:
    """Make the document of one flame graph, without a timeline."""
    graph = json.loads(tree.flamegraph_json(max_nodes))
    return {
        "version": 1,
        "flamebearer": _flamebearer(graph),
        "metadata": _metadata("single", kind),
        "timeline": None,
        "groups": None,
        "heatmap": None,
    }


def diff_document(left: Tree, right: Tree, kind: ProfileType, max_nodes: int) -> dict[str, object]:
    """Make the document of two flame graphs over one another."""
    graph = json.loads(left.diff_json(right, max_nodes))
    return {
        "version": 1,
        "flamebearer": _flamebearer(graph),
        "metadata": _metadata("double", kind),
        "leftTicks": int(graph["leftTicks"]),
        "rightTicks": int(graph["rightTicks"]),
        "timeline": None,
        "groups": None,
        "heatmap": None,
    }


def _json(value: object) -> Document:
    return Document(json.dumps(value, ensure_ascii=False).encode())


def _flamebearer(graph: Mapping[str, Any]) -> dict[str, object]:
    return {
        "names": graph["names"],
        "levels": [[int(value) for value in level["values"]] for level in graph["levels"]],
        "numTicks": int(graph["total"]),
        "maxSelf": int(graph["maxSelf"]),
    }


def _metadata(form: str, kind: ProfileType) -> dict[str, object]:
    if kind.sample_type == "cpu":
        units, sample_rate = "samples", 1_000_000_000
    elif kind.sample_type.endswith("_objects") or kind.sample_type in ("goroutine", "samples"):
        units, sample_rate = "objects", 100
    else:
        units, sample_rate = kind.sample_unit, 100
    return {
        "format": form,
        "spyName": "",
        "sampleRate": sample_rate,
        "units": units,
        "name": kind.sample_type,
    }


def _group_name(series: TimeSeries) -> str:
    return ",".join(value for _, value in series.labels)


def _timeline(series: TimeSeries, first_s: int, step_s: int, count: int) -> dict[str, object]:
    """Lay points out: the bucket that begins at t holds what the point at t + step does."""
    samples: list[float] = [0] * count
    for edge_ms, value in series.points:
        samples[(edge_ms // 1000 - first_s) // step_s - 1] = value
    return {"startTime": first_s, "samples": samples, "durationDelta": step_s, "watermarks": {}}
