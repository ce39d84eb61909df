"""querier.v1.QuerierService: the messages of the wire on one side, the queries on the other.

A call is read and answered in the codec of its request. The work runs on an executor's thread.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from flamewire_server._native import Tree
from flamewire_server._proto.querier.v1 import querier_pb2
from flamewire_server._proto.types.v1 import types_pb2
from flamewire_server.config import Config
from flamewire_server.errors import RequestError
from flamewire_server.http.connect import JSON, BodyBudget, codec_of, is_gzip, read_body
from flamewire_server.metrics import Metrics
from flamewire_server.model.profile_type import ProfileType
from flamewire_server.model.tenant import parse_tenant
from flamewire_server.model.time_range import TimeRange
from flamewire_server.query.labels import LabelQueries
from flamewire_server.query.profiles import ProfileQueries, ProfileSelection, TimeSeriesQuery

__all__ = ["QuerierHandlers"]

_SERVICE = "/querier.v1.QuerierService/"
_MAX_BODY_BYTES = 4 << 20
_LAST_HOUR_MS = 3600 * 1000
# Some 95 years: in nanoseconds it fits 64 bits with room for any start.
_LONGEST_STEP_S = 3e9
_SPAN_ID = re.compile(r"[0-9a-fA-F]{16}")
# The tag of field 1, length-delimited: `flamegraph` in both replies that carry one.
_FLAMEGRAPH_TAG = b"\x0a"


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
            "SelectSeries": (querier_pb2.SelectSeriesRequest, self._select_series),
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
            parse_tenant(
                request.headers.get("X-Scope-OrgID"), multitenancy=self._config.multitenancy_enabled
            ),
            codec_of(request),
            "allow-utf8-labelnames=true" in request.headers.get("Accept", "").replace(" ", ""),
        )
        with self._budget.lease() as lease:
            body = await read_body(request, limit_bytes=_MAX_BODY_BYTES, lease=lease)
            if is_gzip(request):
                # Imported here: no client of the field compresses a query.
                from flamewire_server.ingest.push_v1 import gunzip

                body = gunzip(body, _MAX_BODY_BYTES)
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

    def _merge_stacktraces(self, call: _Call, request: querier_pb2.SelectMergeStacktracesRequest) -> bytes:
        _refuse_format(request.format)
        _refuse_fields(request, "stack_trace_selector", "profile_id_selector", "trace_id_selector", "async")
        tree = self._profiles.tree(
            self._selection(call, request),
            _span_ids(request.span_selector) if request.span_selector else None,
        )
        return self._flamegraph(call, tree, request.max_nodes)

    def _merge_span_profile(self, call: _Call, request: querier_pb2.SelectMergeSpanProfileRequest) -> bytes:
        _refuse_format(request.format)
        if not request.span_selector:
            raise RequestError(
                "invalid_argument",
                "no span: give span_selector, or ask SelectMergeStacktraces for all samples",
                reason="bad_span",
            )
        tree = self._profiles.tree(self._selection(call, request), _span_ids(request.span_selector))
        return self._flamegraph(call, tree, request.max_nodes)

    def _select_series(self, call: _Call, request: querier_pb2.SelectSeriesRequest) -> Message:
        _refuse_fields(request, "stack_trace_selector")
        if request.exemplar_type > types_pb2.EXEMPLAR_TYPE_NONE:
            raise _unimplemented("exemplar_type")
        step_ms = round(request.step * 1000) if 0.001 <= request.step <= _LONGEST_STEP_S else 0
        if step_ms < 1:
            raise RequestError(
                "invalid_argument",
                f"step is {request.step}; give seconds, from 0.001 to {_LONGEST_STEP_S:g}",
                reason="bad_step",
            )
        query = TimeSeriesQuery(
            tuple(request.group_by),
            step_ms,
            request.limit,
            average=request.aggregation == types_pb2.TIME_SERIES_AGGREGATION_TYPE_AVERAGE,
        )
        reply = querier_pb2.SelectSeriesResponse()
        for one in self._profiles.time_series(self._selection(call, request), query):
            series = reply.series.add()
            for name, value in one.labels:
                series.labels.add(name=name, value=value)
            for timestamp, number in one.points:
                series.points.add(timestamp=timestamp, value=number)
        return reply

    def _selection(self, call: _Call, request: Any) -> ProfileSelection:
        longest_ms = self._config.max_query_length_s * 1000
        if longest_ms and request.end - request.start > longest_ms:
            raise RequestError(
                "invalid_argument",
                f"the time range exceeds limits.max_query_length ({self._config.max_query_length_s:g}"
                " s); ask for less",
                reason="range_too_long",
            )
        time_range = _time_range(request.start, request.end)
        return ProfileSelection.parse(call.tenant, request.profile_typeID, request.label_selector, time_range)

    def _flamegraph(self, call: _Call, tree: Tree, max_nodes: int) -> bytes:
        if max_nodes > self._config.max_flamegraph_nodes:
            raise RequestError(
                "invalid_argument",
                f"max_nodes is {max_nodes}; at most {self._config.max_flamegraph_nodes} are given"
                " (limits.max_flamegraph_nodes_max)",
                reason="too_many_nodes",
            )
        kept = max_nodes if max_nodes > 0 else self._config.max_flamegraph_nodes_default
        if call.codec == JSON:
            return b'{"flamegraph":' + tree.flamegraph_json(kept) + b"}"
        graph = tree.flamegraph_proto(kept)
        return _FLAMEGRAPH_TAG + _varint(len(graph)) + graph


def _time_range(start_ms: int, end_ms: int) -> TimeRange:
    if not start_ms and not end_ms:
        # Clients of old send no range and mean the last hour; QRY-004.
        end_ms = time.time_ns() // 1_000_000
        start_ms = end_ms - _LAST_HOUR_MS
    return TimeRange.from_ms(start_ms, end_ms)


def _span_ids(texts: Any) -> list[int]:
    for text in texts:
        if not _SPAN_ID.fullmatch(text):
            raise RequestError(
                "invalid_argument",
                f"{text[:40]!r} is no span id; give 16 hexadecimal digits",
                reason="bad_span",
            )
    return [int.from_bytes(bytes.fromhex(text), "big", signed=True) for text in texts]


def _refuse_format(wanted: int) -> None:
    if wanted not in (querier_pb2.PROFILE_FORMAT_UNSPECIFIED, querier_pb2.PROFILE_FORMAT_FLAMEGRAPH):
        raise _unimplemented("format other than PROFILE_FORMAT_FLAMEGRAPH")


def _refuse_fields(request: Message, *names: str) -> None:
    """Refuse what would change the answer and is not there yet: a wrong answer is worse than none."""
    for field, value in request.ListFields():
        if field.name in names and not (isinstance(value, Message) and not value.ListFields()):
            raise _unimplemented(field.name)


def _unimplemented(what: str) -> RequestError:
    return RequestError(
        "unimplemented", f"{what} is not served here; leave it out of the request", reason="unimplemented"
    )


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
