"""Everything that can be asked, over one store."""

from __future__ import annotations

from flamewire_server._native import Reader
from flamewire_server.metrics import Metrics
from flamewire_server.query.blocks import BlockFinder
from flamewire_server.query.cost import CostQueries
from flamewire_server.query.heatmap import HeatmapQueries
from flamewire_server.query.labels import LabelQueries
from flamewire_server.query.stack_traces import StackTraceQueries
from flamewire_server.query.time_series import TimeSeriesQueries
from flamewire_server.storage.catalog import Catalog
from flamewire_server.storage.local_store import LocalStore

__all__ = ["Queries"]


class Queries:
    """The queries, by what they answer: labels, stacks, series, heatmaps, costs.

    Args:
        catalog: knows the blocks.
        store: has them.
        reader: reads them.
        metrics: counts.
        max_query_bytes: of block files that one query may read; 0 is no limit.
    """

    def __init__(
        self,
        catalog: Catalog,
        store: LocalStore,
        reader: Reader,
        metrics: Metrics,
        *,
        max_query_bytes: int = 0,
    ) -> None:
        finder = BlockFinder(catalog, store, max_query_bytes=max_query_bytes)
        self.labels = LabelQueries(catalog)
        self.stacks = StackTraceQueries(finder, reader, metrics)
        self.series = TimeSeriesQueries(finder, reader)
        self.heatmaps = HeatmapQueries(finder, reader)
        self.costs = CostQueries(finder)
