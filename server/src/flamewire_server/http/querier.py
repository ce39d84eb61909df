"""querier.v1.QuerierService: which method is answered where."""

from __future__ import annotations

from flamewire_server._proto.querier.v1 import querier_pb2
from flamewire_server._proto.types.v1 import types_pb2
from flamewire_server.config import Config
from flamewire_server.http.querier_labels import LabelMethods
from flamewire_server.http.querier_series import SeriesMethods
from flamewire_server.http.querier_stacks import StackMethods
from flamewire_server.http.service import Methods
from flamewire_server.query.queries import Queries

__all__ = ["QUERIER", "querier_methods"]

QUERIER = "querier.v1.QuerierService"


def querier_methods(config: Config, queries: Queries) -> Methods:
    """Give every method that this version has."""
    labels, stacks = LabelMethods(config, queries), StackMethods(config, queries.stacks)
    series = SeriesMethods(config, queries)
    return {
        "ProfileTypes": (querier_pb2.ProfileTypesRequest, labels.profile_types),
        "LabelNames": (types_pb2.LabelNamesRequest, labels.names),
        "LabelValues": (types_pb2.LabelValuesRequest, labels.values),
        "Series": (querier_pb2.SeriesRequest, labels.series),
        "GetProfileStats": (types_pb2.GetProfileStatsRequest, labels.profile_stats),
        "AnalyzeQuery": (querier_pb2.AnalyzeQueryRequest, labels.analyze_query),
        "SelectMergeStacktraces": (querier_pb2.SelectMergeStacktracesRequest, stacks.merge_stacktraces),
        "SelectMergeSpanProfile": (querier_pb2.SelectMergeSpanProfileRequest, stacks.merge_span_profile),
        "SelectMergeProfile": (querier_pb2.SelectMergeProfileRequest, stacks.merge_profile),
        "Diff": (querier_pb2.DiffRequest, stacks.diff),
        "SelectSeries": (querier_pb2.SelectSeriesRequest, series.select_series),
        "SelectHeatmap": (querier_pb2.SelectHeatmapRequest, series.select_heatmap),
    }
