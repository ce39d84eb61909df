"""GET endpoints: those of Pyroscope's older UI, which Profiles Drilldown still asks, and exports."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from flamewire_server.config import Config
from flamewire_server.errors import RequestError
from flamewire_server.http.access import tenant_of
from flamewire_server.model.profile_type import ProfileType
from flamewire_server.model.selector import parse_selector
from flamewire_server.model.time_range import NS_PER_MS, TimeRange
from flamewire_server.query.labels import LabelQueries
from flamewire_server.query.profiles import ProfileQueries, ProfileSelection, TimeSeries, TimeSeriesQuery

__all__ = ["RenderHandlers", "parse_time_ms"]

_RELATIVE = re.compile(r"now(?:-(\d+)(ms|s|m|h|d|w|M|y))?")
_UNIT_MS = {
    "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000,
    "w": 7 * 86_400_000, "M": 30 * 86_400_000, "y": 365 * 86_400_000,
}  # fmt: skip
_SHORTEST_STEP_S = 15
# Format of an export: suffix of the file, Content-Type.
_EXPORTS = {
    "pprof": ("pb.gz", "application/octet-stream"),
    "folded": ("folded.txt", "text/plain"),
    "csv": ("csv", "text/csv"),
}
_MAX_POINTS = 1500
_DOT_FUNCTIONS = 100
_NO_SUCH_TIME = "is no time; give now, now-1h, YYYYMMDD, or seconds, ms, us or ns since 1970"


def parse_time_ms(text: str, now_ms: int) -> int:
    """Read a time of a URL as milliseconds since 1970.

    Raises:
        RequestError: it is none of `now`, `now-1h`, `20261123`, or a number of s (10 digits), ms, us or ns.
    """
    match = _RELATIVE.fullmatch(text)
    if match:
        return now_ms - (int(match[1]) * _UNIT_MS[match[2]] if match[1] else 0)
    if re.fullmatch(r"\d{8}", text):
        try:
            return int(datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC).timestamp() * 1000)
        except ValueError as error:
            raise _bad_time(text) from error
    if not re.fullmatch(r"\d{1,19}", text):
        raise _bad_time(text)
    number = int(text)
    if len(text) > 16:
        return number // 1_000_000
    if len(text) > 13:
        return number // 1000
    return number if len(text) > 10 else number * 1000


def _bad_time(text: str) -> RequestError:
    return RequestError("invalid_argument", f"{text[:40]!r} {_NO_SUCH_TIME}", reason="bad_time_range")


class RenderHandlers:
    """Flame graph and timeline in one answer, a comparison of two, and the profile types."""

    def __init__(
        self, config: Config, labels: LabelQueries, profiles: ProfileQueries, executor: Executor
    ) -> None:
        self._config = config
        self._labels = labels
        self._profiles = profiles
        self._executor = executor

    def routes(self) -> list[web.RouteDef]:
        """Give the routes."""
        return [
            web.get("/pyroscope/render", self.render),
            web.get("/pyroscope/render-diff", self.render_diff),
            web.get("/pyroscope/label-values", self.label_values),
            web.get("/api/v1/export", self.export),
        ]

    async def render(self, request: web.Request) -> web.Response:
        """Answer with a flame graph and its timeline."""
        return await self._answer(request, self._render)

    async def render_diff(self, request: web.Request) -> web.Response:
        """Answer with two flame graphs over one another."""
        return await self._answer(request, self._render_diff)

    async def label_values(self, request: web.Request) -> web.Response:
        """Answer with the values of a label; those of `__name__` are the profile types."""
        return await self._answer(request, self._label_values)

    async def export(self, request: web.Request) -> web.Response:
        """Answer with a file of every stack trace: pprof, folded stacks, or a table of functions."""
        tenant = tenant_of(request, self._config)
        kind = request.query.get("format", "pprof")
        if kind not in _EXPORTS:
            raise _bad_parameter("format", " or ".join(_EXPORTS))
        body = await asyncio.get_running_loop().run_in_executor(
            self._executor, self._export, tenant, dict(request.query), kind
        )
        suffix, content_type = _EXPORTS[kind]
        return web.Response(
            body=body,
            content_type=content_type,
            headers={"Content-Disposition": f'attachment; filename="profile.{suffix}"'},
        )

    def _export(self, tenant: str, query: Mapping[str, str], kind: str) -> bytes:
        selection = self._selection(tenant, query, "query", "from", "until")
        if kind == "pprof":
            return gzip.compress(self._profiles.pprof(selection), 1, mtime=0)
        tree = self._profiles.tree(selection)
        if kind == "folded":
            return tree.folded()
        table = io.StringIO()
        writer = csv.writer(table)
        writer.writerow(("function", "self", "total"))
        writer.writerows(tree.functions())
        return table.getvalue().encode()

    async def _answer(
        self, request: web.Request, work: Callable[[str, Mapping[str, str]], object]
    ) -> web.Response:
        tenant = tenant_of(request, self._config)
        result = await asyncio.get_running_loop().run_in_executor(
            self._executor, work, tenant, dict(request.query)
        )
        if isinstance(result, str):
            return web.Response(text=result, content_type="text/vnd.graphviz")
        return web.Response(text=json.dumps(result, ensure_ascii=False), content_type="application/json")

    def _render(self, tenant: str, query: Mapping[str, str]) -> object:
        selection = self._selection(tenant, query, "query", "from", "until")
        kind = ProfileType.parse(selection.selector.profile_type or "")
        tree = self._profiles.tree(selection)
        if query.get("format") == "dot":
            return tree.dot(kind.sample_unit, self._max_nodes(query, _DOT_FUNCTIONS))
        if query.get("format", "json") != "json":
            raise _bad_parameter("format", "json or dot")
        if query.get("aggregation", "sum") not in ("sum", "avg", "average"):
            raise _bad_parameter("aggregation", "sum or avg")
        graph = json.loads(
            tree.flamegraph_json(self._max_nodes(query, self._config.max_flamegraph_nodes_default))
        )
        start_s, end_s = (
            at // NS_PER_MS // 1000 for at in (selection.time_range.start_ns, selection.time_range.end_ns)
        )
        step_s = max(_SHORTEST_STEP_S, -(-(end_s - start_s) // _MAX_POINTS))
        # The first bucket is snapped down, so that refreshing does not move the others.
        first_s = start_s // step_s * step_s
        group_by = tuple(name for name in query.get("groupBy", "").split(",") if name)
        average = query.get("aggregation") in ("avg", "average")
        count = max(-(-(end_s - first_s) // step_s), 1)
        edges = TimeRange.from_ms((first_s + step_s) * 1000, (first_s + count * step_s) * 1000)
        steps = ProfileSelection(tenant, selection.selector, edges)

        def timelines(names: tuple[str, ...]) -> dict[str, dict[str, object]]:
            series = self._profiles.time_series(
                steps, TimeSeriesQuery(names, step_s * 1000, 0, average=average)
            )
            return {_group_name(one): _timeline(one, first_s, step_s, count) for one in series}

        empty = _timeline(TimeSeries((), []), first_s, step_s, count)
        return {
            "version": 1,
            "flamebearer": _flamebearer(graph),
            "metadata": _metadata("single", kind),
            "timeline": timelines(()).get("", empty),
            "groups": timelines(group_by) if group_by else {},
            "heatmap": None,
        }

    def _render_diff(self, tenant: str, query: Mapping[str, str]) -> object:
        sides = [
            self._selection(tenant, query, f"{side}Query", f"{side}From", f"{side}Until")
            for side in ("left", "right")
        ]
        kinds = {one.selector.profile_type for one in sides}
        if len(kinds) > 1:
            raise RequestError(
                "invalid_argument",
                "leftQuery and rightQuery are of different profile types; compare one with itself",
                reason="bad_profile_type",
            )
        left, right = (self._profiles.tree(one) for one in sides)
        graph = json.loads(
            left.diff_json(right, self._max_nodes(query, self._config.max_flamegraph_nodes_default))
        )
        return {
            "version": 1,
            "flamebearer": _flamebearer(graph),
            "metadata": _metadata("double", ProfileType.parse(kinds.pop() or "")),
            "leftTicks": int(graph["leftTicks"]),
            "rightTicks": int(graph["rightTicks"]),
            "timeline": None,
            "groups": None,
            "heatmap": None,
        }

    def _label_values(self, tenant: str, query: Mapping[str, str]) -> object:
        name = query.get("label")
        if not name:
            raise _bad_parameter("label", "the name of a label")
        time_range = _time_range(query.get("from", "now-1h"), query.get("until", "now"))
        if name == "__name__":
            return self._labels.profile_types(tenant, time_range)
        return self._labels.values(tenant, time_range, name, [query["query"]] if query.get("query") else [])

    def _selection(
        self, tenant: str, query: Mapping[str, str], selector: str, start: str, end: str
    ) -> ProfileSelection:
        if not query.get(selector):
            raise _bad_parameter(selector, "a profile type and a selector")
        time_range = _time_range(query.get(start, "now-1h"), query.get(end, "now"))
        longest_ns = self._config.max_query_length_s * 1e9
        if longest_ns and time_range.end_ns - time_range.start_ns > longest_ns + NS_PER_MS:
            raise RequestError(
                "invalid_argument",
                f"the time range exceeds limits.max_query_length ({self._config.max_query_length_s:g} s);"
                " ask for less",
                reason="range_too_long",
            )
        parsed = parse_selector(query[selector])
        return ProfileSelection.parse(tenant, parsed.profile_type or "", query[selector], time_range)

    def _max_nodes(self, query: Mapping[str, str], default: int) -> int:
        text = query.get("max-nodes") or query.get("maxNodes") or "0"
        if not re.fullmatch(r"\d{1,9}", text) or int(text) > self._config.max_flamegraph_nodes:
            raise _bad_parameter("max-nodes", f"a number up to {self._config.max_flamegraph_nodes}")
        return int(text) or default


def _time_range(start: str, end: str) -> TimeRange:
    now_ms = time.time_ns() // NS_PER_MS
    return TimeRange.from_ms(parse_time_ms(start, now_ms), parse_time_ms(end, now_ms))


def _bad_parameter(name: str, wanted: str) -> RequestError:
    return RequestError("invalid_argument", f"the parameter {name} must be {wanted}", reason="bad_parameter")


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
