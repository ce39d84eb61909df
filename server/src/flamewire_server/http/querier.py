"""querier.v1.QuerierService: the messages of the wire on one side, the queries on the other.

A call is read and answered in the codec of its request. The work runs on an executor's thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from flamewire_server._native import Tree
from flamewire_server._proto.google.v1 import profile_pb2
from flamewire_server._proto.querier.v1 import querier_pb2
from flamewire_server._proto.types.v1 import types_pb2
from flamewire_server.config import Config
from flamewire_server.errors import RequestError
from flamewire_server.http.access import tenant_of
from flamewire_server.http.connect import JSON, BodyBudget, codec_of, encoding_of, read_body
from flamewire_server.http.sample_filter import pgo_shape, sample_filter
from flamewire_server.ingest.encoding import unpack
from flamewire_server.metrics import Metrics
from flamewire_server.model.profile_type import ProfileType
from flamewire_server.model.selector import parse_selector
from flamewire_server.model.time_range import TimeRange
from flamewire_server.query.labels import LabelQueries
from flamewire_server.query.profiles import HeatmapQuery, ProfileQueries, ProfileSelection, TimeSeriesQuery

__all__ = ["QuerierHandlers"]

_SERVICE = "/querier.v1.QuerierService/"
_MAX_BODY_BYTES = 4 << 20
_LAST_HOUR_MS = 3600 * 1000
# Some 95 years: in nanoseconds it fits 64 bits with room for any start.
_LONGEST_STEP_S = 3e9
# Fields of replies: `flamegraph` in all that carry one, `pprof` of SelectMergeStacktraces.
_FLAMEGRAPH, _PPROF = 1, 5
# Functions of a Graphviz graph where the request does not say: more cannot be read.
_DOT_FUNCTIONS = 100
_TREE_FORMATS = (
    querier_pb2.PROFILE_FORMAT_UNSPECIFIED,
    querier_pb2.PROFILE_FORMAT_FLAMEGRAPH,
    querier_pb2.PROFILE_FORMAT_TREE,
    querier_pb2.PROFILE_FORMAT_DOT,
)


@dataclass(frozen=True, slots=True)
class _Call:
    """One call: whose, in which codec, with which headers."""

    tenant: str
    codec: str
    utf8_names: bool


# What a method gives back: a message to encode, or the bytes of one in the call's codec.
_Answer = Message | bytes
_Method = tuple[type[Message], Callable[[_Call, Any], _Answer]]


class QuerierHandlers:
    """Answers the methods of the querier that this version has; the others are unimplemented."""

    def __init__(
        self,
        config: Config,
        labels: LabelQueries,
        profiles: ProfileQueries,
        executor: Executor,
        metrics: Metrics,
    ) -> None:
        self._config = config
        self._labels = labels
        self._profiles = profiles
        self._executor = executor
        self._metrics = metrics
        self._budget = BodyBudget(16 * _MAX_BODY_BYTES)
        self._methods: dict[str, _Method] = {
            "ProfileTypes": (querier_pb2.ProfileTypesRequest, self._profile_types),
            "LabelNames": (types_pb2.LabelNamesRequest, self._label_names),
            "LabelValues": (types_pb2.LabelValuesRequest, self._label_values),
            "Series": (querier_pb2.SeriesRequest, self._series),
            "SelectMergeStacktraces": (querier_pb2.SelectMergeStacktracesRequest, self._merge_stacktraces),
            "SelectMergeSpanProfile": (querier_pb2.SelectMergeSpanProfileRequest, self._merge_span_profile),
            "SelectMergeProfile": (querier_pb2.SelectMergeProfileRequest, self._merge_profile),
            "SelectSeries": (querier_pb2.SelectSeriesRequest, self._select_series),
            "SelectHeatmap": (querier_pb2.SelectHeatmapRequest, self._select_heatmap),
            "Diff": (querier_pb2.DiffRequest, self._diff),
            "GetProfileStats": (types_pb2.GetProfileStatsRequest, self._profile_stats),
            "AnalyzeQuery": (querier_pb2.AnalyzeQueryRequest, self._analyze_query),
        }

    def routes(self) -> list[web.RouteDef]:
        """Give the route of the service."""
        return [web.post(_SERVICE + "{method}", self.call)]

    async def call(self, request: web.Request) -> web.Response:
        """Answer one call."""
        name = request.match_info["method"]
        if name not in self._methods:
            raise RequestError(
                "unimplemented",
                f"querier.v1.QuerierService/{name[:100]} is not served here",
                reason="unimplemented",
            )
        call = _Call(
            tenant_of(request, self._config),
            codec_of(request),
            "allow-utf8-labelnames=true" in request.headers.get("Accept", "").replace(" ", ""),
        )
        with self._budget.lease() as lease:
            body = await read_body(request, limit_bytes=_MAX_BODY_BYTES, lease=lease)
            body = unpack(body, encoding_of(request), limit_bytes=_MAX_BODY_BYTES)
        started_s = time.perf_counter()
        try:
            reply = await asyncio.get_running_loop().run_in_executor(
                self._executor, self._answer, name, call, body
            )
        finally:
            self._metrics.query_seconds.labels(name).observe(time.perf_counter() - started_s)
        return web.Response(body=reply, content_type=call.codec)

    def _answer(self, name: str, call: _Call, body: bytes) -> bytes:
        request_type, method = self._methods[name]
        message = request_type()
        try:
            if call.codec == JSON:
                json_format.Parse(body or b"{}", message, ignore_unknown_fields=True)
            else:
                message.ParseFromString(body)
        except (json_format.ParseError, DecodeError, ValueError, RecursionError) as error:
            raise RequestError(
                "invalid_argument",
                f"the body is no {message.DESCRIPTOR.full_name}: {str(error)[:200]}",
                reason="bad_message",
            ) from error
        answer = method(call, message)
        if isinstance(answer, bytes):
            return answer
        if call.codec == JSON:
            return json_format.MessageToJson(answer, indent=None, ensure_ascii=False).encode()
        return answer.SerializeToString()

    def _profile_types(self, call: _Call, request: querier_pb2.ProfileTypesRequest) -> Message:
        reply = querier_pb2.ProfileTypesResponse()
        for text in self._labels.profile_types(call.tenant, _time_range(request.start, request.end)):
            kind = ProfileType.parse(text)
            reply.profile_types.add(
                ID=text,
                name=kind.name,
                sample_type=kind.sample_type,
                sample_unit=kind.sample_unit,
                period_type=kind.period_type,
                period_unit=kind.period_unit,
            )
        return reply

    def _label_names(self, call: _Call, request: types_pb2.LabelNamesRequest) -> Message:
        time_range = _time_range(request.start, request.end)
        names = self._labels.names(call.tenant, time_range, request.matchers, utf8_names=call.utf8_names)
        return types_pb2.LabelNamesResponse(names=names)

    def _label_values(self, call: _Call, request: types_pb2.LabelValuesRequest) -> Message:
        if not request.name:
            raise RequestError("invalid_argument", "no label name: give `name`", reason="bad_label_name")
        time_range = _time_range(request.start, request.end)
        return types_pb2.LabelValuesResponse(
            names=self._labels.values(call.tenant, time_range, request.name, request.matchers)
        )

    def _series(self, call: _Call, request: querier_pb2.SeriesRequest) -> Message:
        reply = querier_pb2.SeriesResponse()
        time_range = _time_range(request.start, request.end)
        for pairs in self._labels.label_sets(call.tenant, time_range, request.label_names, request.matchers):
            labels = reply.labels_set.add().labels
            for name, value in pairs:
                labels.add(name=name, value=value)
        return reply

    def _merge_stacktraces(self, call: _Call, request: querier_pb2.SelectMergeStacktracesRequest) -> _Answer:
        _refuse_fields(request, "async")
        selection = self._selection(call, request)
        if request.format == querier_pb2.PROFILE_FORMAT_PPROF:
            profile = self._profiles.pprof(selection, sample_filter(request), pgo=pgo_shape(request))
            if call.codec == JSON:
                reply = querier_pb2.SelectMergeStacktracesResponse()
                reply.pprof.profile.ParseFromString(profile)
                return reply
            return _field(_PPROF, _field(1, profile))
        return self._stacktraces(call, request, self._profiles.tree(selection, sample_filter(request)))

    def _merge_span_profile(self, call: _Call, request: querier_pb2.SelectMergeSpanProfileRequest) -> _Answer:
        if not request.span_selector:
            raise RequestError(
                "invalid_argument",
                "no span: give span_selector, or ask SelectMergeStacktraces for all samples",
                reason="bad_span",
            )
        if request.format not in _TREE_FORMATS[:3]:
            raise _unimplemented("this format")
        tree = self._profiles.tree(self._selection(call, request), sample_filter(request))
        return self._stacktraces(call, request, tree)

    def _stacktraces(self, call: _Call, request: Any, tree: Tree) -> _Answer:
        if request.format not in _TREE_FORMATS:
            raise _unimplemented(f"format {request.format}")
        if request.format == querier_pb2.PROFILE_FORMAT_DOT:
            kind = ProfileType.parse(request.profile_typeID) if request.profile_typeID else None
            functions = self._max_nodes(request.max_nodes or _DOT_FUNCTIONS)
            return querier_pb2.SelectMergeStacktracesResponse(
                dot=tree.dot(kind.sample_unit if kind else "", functions)
            )
        max_nodes = self._max_nodes(request.max_nodes)
        if request.format == querier_pb2.PROFILE_FORMAT_TREE:
            return querier_pb2.SelectMergeStacktracesResponse(tree=tree.tree_bytes(max_nodes))
        if call.codec == JSON:
            return b'{"flamegraph":' + tree.flamegraph_json(max_nodes) + b"}"
        return _field(_FLAMEGRAPH, tree.flamegraph_proto(max_nodes))

    def _merge_profile(self, call: _Call, request: querier_pb2.SelectMergeProfileRequest) -> _Answer:
        selection = self._selection(call, request)
        profile = self._profiles.pprof(selection, sample_filter(request), pgo=pgo_shape(request))
        return profile_pb2.Profile.FromString(profile) if call.codec == JSON else profile

    def _diff(self, call: _Call, request: querier_pb2.DiffRequest) -> bytes:
        sides = []
        for side in (request.left, request.right):
            if side.format not in _TREE_FORMATS[:2]:
                raise _unimplemented("a Diff in a format other than PROFILE_FORMAT_FLAMEGRAPH")
            _refuse_fields(side, "async")
            sides.append(self._profiles.tree(self._selection(call, side), sample_filter(side)))
        left, right = sides
        max_nodes = self._max_nodes(max(request.left.max_nodes, request.right.max_nodes))
        if call.codec == JSON:
            return b'{"flamegraph":' + left.diff_json(right, max_nodes) + b"}"
        return _field(_FLAMEGRAPH, left.diff_proto(right, max_nodes))

    def _profile_stats(self, call: _Call, request: types_pb2.GetProfileStatsRequest) -> Message:
        bounds = self._profiles.bounds(call.tenant)
        if bounds is None:
            return types_pb2.GetProfileStatsResponse()
        return types_pb2.GetProfileStatsResponse(
            data_ingested=True, oldest_profile_time=bounds[0], newest_profile_time=bounds[1]
        )

    def _analyze_query(self, call: _Call, request: querier_pb2.AnalyzeQueryRequest) -> Message:
        time_range = self._time_range(request.start, request.end)
        cost = self._profiles.analyze(
            ProfileSelection(call.tenant, parse_selector(request.query), time_range)
        )
        reply = querier_pb2.AnalyzeQueryResponse()
        reply.query_scopes.add(
            component_type="blocks",
            component_count=1,
            block_count=cost.blocks,
            series_count=cost.series,
            profile_bytes=cost.sample_bytes,
            symbol_bytes=cost.symbol_bytes,
        )
        reply.query_impact.total_bytes_in_time_range = cost.sample_bytes + cost.symbol_bytes
        reply.query_impact.total_queried_series = cost.series
        return reply

    def _select_series(self, call: _Call, request: querier_pb2.SelectSeriesRequest) -> Message:
        _refuse_exemplars(request)
        step_ms = _step_ms(request.step)
        query = TimeSeriesQuery(
            tuple(request.group_by),
            step_ms,
            request.limit,
            average=request.aggregation == types_pb2.TIME_SERIES_AGGREGATION_TYPE_AVERAGE,
        )
        reply = querier_pb2.SelectSeriesResponse()
        for one in self._profiles.time_series(self._selection(call, request), query, sample_filter(request)):
            series = reply.series.add()
            for name, value in one.labels:
                series.labels.add(name=name, value=value)
            for timestamp, number in one.points:
                series.points.add(timestamp=timestamp, value=number)
        return reply

    def _select_heatmap(self, call: _Call, request: querier_pb2.SelectHeatmapRequest) -> Message:
        _refuse_exemplars(request)
        query = HeatmapQuery(
            tuple(request.group_by),
            _step_ms(request.step),
            request.limit,
            by_span=request.query_type == querier_pb2.HEATMAP_QUERY_TYPE_SPAN,
        )
        reply = querier_pb2.SelectHeatmapResponse()
        for one in self._profiles.heatmap(self._selection(call, request), query):
            series = reply.series.add()
            for name, value in one.labels:
                series.labels.add(name=name, value=value)
            for timestamp, counts in one.slots:
                series.slots.add(timestamp=timestamp, y_min=one.floors, counts=counts)
        return reply

    def _selection(self, call: _Call, request: Any) -> ProfileSelection:
        time_range = self._time_range(request.start, request.end)
        return ProfileSelection.parse(call.tenant, request.profile_typeID, request.label_selector, time_range)

    def _time_range(self, start_ms: int, end_ms: int) -> TimeRange:
        longest_ms = self._config.max_query_length_s * 1000
        if longest_ms and end_ms - start_ms > longest_ms:
            raise RequestError(
                "invalid_argument",
                f"the time range exceeds limits.max_query_length ({self._config.max_query_length_s:g}"
                " s); ask for less",
                reason="range_too_long",
            )
        return _time_range(start_ms, end_ms)

    def _max_nodes(self, asked: int) -> int:
        if asked > self._config.max_flamegraph_nodes:
            raise RequestError(
                "invalid_argument",
                f"max_nodes is {asked}; at most {self._config.max_flamegraph_nodes} are given"
                " (limits.max_flamegraph_nodes_max)",
                reason="too_many_nodes",
            )
        return asked if asked > 0 else self._config.max_flamegraph_nodes_default


def _time_range(start_ms: int, end_ms: int) -> TimeRange:
    if not start_ms and not end_ms:
        # Clients of old send no range and mean the last hour; QRY-004.
        end_ms = time.time_ns() // 1_000_000
        start_ms = end_ms - _LAST_HOUR_MS
    return TimeRange.from_ms(start_ms, end_ms)


def _step_ms(step_s: float) -> int:
    step_ms = round(step_s * 1000) if 0.001 <= step_s <= _LONGEST_STEP_S else 0
    if step_ms < 1:
        raise RequestError(
            "invalid_argument",
            f"step is {step_s}; give seconds, from 0.001 to {_LONGEST_STEP_S:g}",
            reason="bad_step",
        )
    return step_ms


def _refuse_exemplars(request: Any) -> None:
    if request.exemplar_type > types_pb2.EXEMPLAR_TYPE_NONE:
        raise _unimplemented("exemplar_type")


def _refuse_fields(request: Message, *names: str) -> None:
    """Refuse what would change the answer and is not there yet: a wrong answer is worse than none."""
    for field, value in request.ListFields():
        if field.name in names and not (isinstance(value, Message) and not value.ListFields()):
            raise _unimplemented(field.name)


def _unimplemented(what: str) -> RequestError:
    return RequestError(
        "unimplemented", f"{what} is not served here; leave it out of the request", reason="unimplemented"
    )


def _field(number: int, content: bytes) -> bytes:
    """Encode a length-delimited field."""
    head, length = bytearray([number << 3 | 2]), len(content)
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + content
