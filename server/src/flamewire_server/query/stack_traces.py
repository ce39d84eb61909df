"""Queries that add stack traces up: a call tree, a pprof."""

from __future__ import annotations

from dataclasses import dataclass

from flamewire_server._native import Reader, Tree
from flamewire_server.errors import RequestError
from flamewire_server.metrics import Metrics
from flamewire_server.query.blocks import BlockFinder
from flamewire_server.query.sample_filter import ALL_SAMPLES, SampleFilter
from flamewire_server.query.selection import ProfileSelection

__all__ = ["PgoShape", "StackTraceQueries"]


@dataclass(frozen=True, slots=True)
class PgoShape:
    """A pprof cut for the Go compiler: locations from the leaf that stay (0: all), whether the leaf's line
    counts."""

    keep_locations: int
    aggregate_callees: bool


class StackTraceQueries:
    """Answers from blocks; every method sees all that was acknowledged before it began. Thread-safe.

    Methods raise RequestError where a limit is met, StorageError, BlockError and OSError where the catalog
    or a block cannot be read, QueryStoppedError where the selection's guard ends them.
    """

    def __init__(self, finder: BlockFinder, reader: Reader, metrics: Metrics) -> None:
        self._finder = finder
        self._reader = reader
        self._metrics = metrics

    def tree(self, selection: ProfileSelection, samples_taken: SampleFilter = ALL_SAMPLES) -> Tree:
        """Merge the selected profiles' stacks."""
        trees = []
        for one in self._finder.find(selection):
            rows = one.rows(self._reader, selection.time_range, samples_taken)
            trees.append(self._reader.tree(one.tenant, one.samples, one.symbols, rows))
        tree = trees[0] if len(trees) == 1 else Tree.merged(trees)
        self._metrics.missing_symbols.inc(tree.missing_stacks)
        return tree

    def pprof(
        self,
        selection: ProfileSelection,
        samples_taken: SampleFilter = ALL_SAMPLES,
        *,
        pgo: PgoShape | None = None,
    ) -> bytes:
        """Merge the selected profiles into one google.v1.Profile, with every stack trace.

        Raises:
            RequestError: the selector leaves more than one profile type open, or several tenants have
                profiles.
        """
        kind = selection.profile_type
        found = self._finder.find(selection)
        holders = [one for one in found if one.series] or found[:1]
        if len(holders) > 1:
            # Each tenant has symbols of its own, and nothing here lays two tables over one another.
            raise RequestError(
                "unimplemented",
                f"a pprof of {len(holders)} tenants is not served here; ask for one tenant at a time",
                reason="unimplemented",
            )
        one = holders[0]
        return self._reader.pprof(
            one.tenant,
            one.samples,
            one.symbols,
            one.rows(self._reader, selection.time_range, samples_taken),
            sample_type=(kind.sample_type, kind.sample_unit),
            period_type=(kind.period_type, kind.period_unit),
            keep_locations=pgo.keep_locations if pgo else 0,
            aggregate_callees=bool(pgo and pgo.aggregate_callees),
            services=sorted({series.service for series in one.series}),
        )
