"""Methods of the querier that the catalog answers: types, labels, series, what there is and what a query
would cost."""

from __future__ import annotations

from google.protobuf.message import Message

from flamewire_server._proto.querier.v1 import querier_pb2
from flamewire_server._proto.types.v1 import types_pb2
from flamewire_server.config import Config
from flamewire_server.errors import RequestError
from flamewire_server.http.ranges import check_range, last_hour_or
from flamewire_server.http.service import Call
from flamewire_server.model.profile_type import ProfileType
from flamewire_server.model.selector import parse_selector
from flamewire_server.query.queries import Queries
from flamewire_server.query.selection import ProfileSelection

__all__ = ["LabelMethods"]


class LabelMethods:
    """One method for each of the querier's, from message to message."""

    def __init__(self, config: Config, queries: Queries) -> None:
        self._config = config
        self._labels = queries.labels
        self._costs = queries.costs

    def profile_types(self, call: Call, request: querier_pb2.ProfileTypesRequest) -> Message:
        """List the profile types."""
        reply = querier_pb2.ProfileTypesResponse()
        for text in self._labels.profile_types(call.tenants, last_hour_or(request.start, request.end)):
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

    def names(self, call: Call, request: types_pb2.LabelNamesRequest) -> Message:
        """List the names of labels."""
        time_range = last_hour_or(request.start, request.end)
        names = self._labels.names(call.tenants, time_range, request.matchers, utf8_names=call.utf8_names)
        return types_pb2.LabelNamesResponse(names=names)

    def values(self, call: Call, request: types_pb2.LabelValuesRequest) -> Message:
        """List the values of a label."""
        if not request.name:
            raise RequestError("invalid_argument", "no label name: give `name`", reason="bad_label_name")
        time_range = last_hour_or(request.start, request.end)
        return types_pb2.LabelValuesResponse(
            names=self._labels.values(call.tenants, time_range, request.name, request.matchers)
        )

    def series(self, call: Call, request: querier_pb2.SeriesRequest) -> Message:
        """List distinct label sets."""
        reply = querier_pb2.SeriesResponse()
        time_range = last_hour_or(request.start, request.end)
        for pairs in self._labels.label_sets(call.tenants, time_range, request.label_names, request.matchers):
            labels = reply.labels_set.add().labels
            for name, value in pairs:
                labels.add(name=name, value=value)
        return reply

    def profile_stats(self, call: Call, request: types_pb2.GetProfileStatsRequest) -> Message:
        """Say since when there are profiles."""
        bounds = self._costs.bounds(call.tenants)
        if bounds is None:
            return types_pb2.GetProfileStatsResponse()
        return types_pb2.GetProfileStatsResponse(
            data_ingested=True, oldest_profile_time=bounds[0], newest_profile_time=bounds[1]
        )

    def analyze_query(self, call: Call, request: querier_pb2.AnalyzeQueryRequest) -> Message:
        """Say what a query would read."""
        time_range = check_range(self._config, last_hour_or(request.start, request.end))
        cost = self._costs.analyze(ProfileSelection(call.tenants, parse_selector(request.query), time_range))
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
