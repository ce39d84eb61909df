"""Methods of the querier that answer with values over time: series and heatmaps."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from google.protobuf.message import Message

from flamewire_server._proto.querier.v1 import querier_pb2
from flamewire_server._proto.types.v1 import types_pb2
from flamewire_server.config import Config
from flamewire_server.errors import RequestError
from flamewire_server.http.connect import JSON
from flamewire_server.http.querier_stacks import select_profiles
from flamewire_server.http.ranges import read_step_ms
from flamewire_server.http.sample_filter import sample_filter
from flamewire_server.http.service import Answer, Call
from flamewire_server.query.exemplars import Exemplar
from flamewire_server.query.heatmap import HeatmapQuery
from flamewire_server.query.queries import Queries
from flamewire_server.query.time_series import TimeSeries, TimeSeriesQuery

__all__ = ["SeriesMethods"]


class SeriesMethods:
    """One method for each of the querier's, from message to message."""

    def __init__(self, config: Config, queries: Queries) -> None:
        self._config = config
        self._series = queries.series
        self._heatmaps = queries.heatmaps

    def select_series(self, call: Call, request: querier_pb2.SelectSeriesRequest) -> Answer:
        """Add values up per step and group."""
        query = TimeSeriesQuery(
            tuple(request.group_by),
            read_step_ms(request.step),
            request.limit,
            average=request.aggregation == types_pb2.TIME_SERIES_AGGREGATION_TYPE_AVERAGE,
            exemplars_by_span={
                types_pb2.EXEMPLAR_TYPE_INDIVIDUAL: False,
                types_pb2.EXEMPLAR_TYPE_SPAN: True,
            }.get(request.exemplar_type),
        )
        selection = select_profiles(self._config, call, request)
        found = self._series.time_series(selection, query, sample_filter(request))
        if call.codec == JSON and query.exemplars_by_span is None:
            return _points_json(found)
        reply = querier_pb2.SelectSeriesResponse()
        for one in found:
            series = reply.series.add()
            _add_labels(series.labels, one.labels)
            for timestamp, number in one.points:
                point = series.points.add(timestamp=timestamp, value=number)
                _add_exemplars(point.exemplars, one.exemplars.get(timestamp, ()))
        return reply

    def select_heatmap(self, call: Call, request: querier_pb2.SelectHeatmapRequest) -> Message:
        """Count profiles or spans per step, group and bucket."""
        by_span = request.query_type == querier_pb2.HEATMAP_QUERY_TYPE_SPAN
        with_exemplars = request.exemplar_type > types_pb2.EXEMPLAR_TYPE_NONE
        if with_exemplars and by_span != (request.exemplar_type == types_pb2.EXEMPLAR_TYPE_SPAN):
            raise RequestError(
                "invalid_argument",
                "exemplar_type must fit query_type: profiles have profiles as exemplars, spans have spans",
                reason="bad_exemplar_type",
            )
        query = HeatmapQuery(
            tuple(request.group_by), read_step_ms(request.step), request.limit, by_span, with_exemplars
        )
        reply = querier_pb2.SelectHeatmapResponse()
        for one in self._heatmaps.heatmap(select_profiles(self._config, call, request), query):
            series = reply.series.add()
            _add_labels(series.labels, one.labels)
            for timestamp, counts in one.slots:
                slot = series.slots.add(timestamp=timestamp, y_min=one.floors, counts=counts)
                _add_exemplars(slot.exemplars, one.exemplars.get(timestamp, ()))
        return reply


def _points_json(found: Iterable[TimeSeries]) -> bytes:
    """Write what a client mostly asks for: protobuf's own JSON takes many times as long for its points."""
    series = []
    for one in found:
        labels = json.dumps(
            [{"name": name, "value": value} for name, value in one.labels], ensure_ascii=False
        )
        points = ",".join([f'{{"value":{value!r},"timestamp":"{at_ms}"}}' for at_ms, value in one.points])
        series.append(f'{{"labels":{labels},"points":[{points}]}}')
    return f'{{"series":[{",".join(series)}]}}'.encode()


def _add_labels(target: Any, labels: Iterable[tuple[str, str]]) -> None:
    for name, value in labels:
        target.add(name=name, value=value)


def _add_exemplars(target: Any, exemplars: Iterable[Exemplar]) -> None:
    for one in exemplars:
        message = target.add(
            timestamp=one.time_ms,
            profile_id=one.profile_id,
            span_id=one.span_id,
            trace_id=one.trace_id,
            value=one.value,
        )
        _add_labels(message.labels, one.labels)
