"""From a selection to the files that a query reads, tenant by tenant."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flamewire_server._native import QueryGuard, Reader, Selection, StepSelection
from flamewire_server.errors import RequestError
from flamewire_server.model.time_range import TimeRange
from flamewire_server.query.labels import select_series
from flamewire_server.query.sample_filter import SampleFilter
from flamewire_server.query.selection import ProfileSelection
from flamewire_server.query.steps import Steps
from flamewire_server.storage.catalog import Catalog, Series
from flamewire_server.storage.local_store import LocalStore

__all__ = ["BlockFinder", "Found", "Grouping", "TotalBytes", "group_series"]

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class TotalBytes:
    """Sizes of the files of a query."""

    samples: int
    symbols: int


@dataclass(frozen=True, slots=True)
class Found:
    """One tenant's series of a selection, and the paths of the files that hold them."""

    tenant: str
    series: list[Series]
    samples: list[str]
    totals: list[str]
    symbols: list[str]
    guard: QueryGuard | None

    @property
    def fingerprints(self) -> list[int]:
        """The series by which the reader knows them."""
        return [one.fingerprint for one in self.series]

    def rows(self, reader: Reader, time_range: TimeRange, samples_taken: SampleFilter) -> Selection:
        """Say which rows of the files are taken."""
        return Selection(
            series=self.fingerprints,
            start_ns=time_range.start_ns,
            end_ns=time_range.end_ns,
            span_ids=samples_taken.span_ids,
            profile_ids=samples_taken.profile_ids,
            trace_ids=samples_taken.trace_ids,
            stacks=samples_taken.stacks(self._names(reader)),
            guard=self.guard,
        )

    def step_rows(
        self, reader: Reader, steps: Steps, groups: Sequence[int], samples_taken: SampleFilter
    ) -> StepSelection:
        """Say which rows of the files go into which group and step."""
        return StepSelection(
            series=self.fingerprints,
            groups=groups,
            start_ns=steps.first_ns,
            step_ns=steps.step_ns,
            steps=steps.count,
            tenant=self.tenant,
            symbol_files=self.symbols,
            stacks=samples_taken.stacks(self._names(reader)),
            guard=self.guard,
        )

    def sizes(self) -> TotalBytes:
        """Add up what the files take on the disk."""

        def size_bytes(paths: Sequence[str]) -> int:
            # A file that compaction has just replaced counts for nothing.
            return sum(os.stat(path).st_size for path in paths if os.path.exists(path))

        return TotalBytes(size_bytes(self.samples), size_bytes(self.symbols))

    def _names(self, reader: Reader) -> Callable[[], Sequence[str]]:
        return lambda: reader.function_names(self.tenant, self.symbols)


class BlockFinder:
    """Finds the files of selections. Thread-safe.

    Args:
        catalog: knows the blocks.
        store: knows where they lie.
        max_query_bytes: of block files that one query may read; 0 is no limit.
    """

    def __init__(self, catalog: Catalog, store: LocalStore, *, max_query_bytes: int = 0) -> None:
        self._catalog = catalog
        self._store = store
        self._max_query_bytes = max_query_bytes

    def find(self, selection: ProfileSelection, time_range: TimeRange | None = None) -> list[Found]:
        """Find each tenant's series, and the paths of the files that a query of them reads.

        Raises:
            RequestError: they are more than one query may read.
            StorageError: the catalog cannot be read.
        """
        wanted = time_range or selection.time_range
        found = [self._find(tenant, selection, wanted) for tenant in selection.tenants]
        if self._max_query_bytes:
            sizes = [one.sizes() for one in found]
            total = sum(one.samples + one.symbols for one in sizes)
            if total > self._max_query_bytes:
                raise RequestError(
                    "resource_exhausted",
                    f"the query would read {total} bytes of blocks, and limits.max_query_bytes is"
                    f" {self._max_query_bytes}; ask for a shorter range or a narrower selector",
                    reason="query_too_large",
                )
        return found

    def look(self, selection: ProfileSelection) -> list[Found]:
        """Find like find, whatever the limit: for whoever only wants to know."""
        return [self._find(tenant, selection, selection.time_range) for tenant in selection.tenants]

    def bounds(self, tenants: Sequence[str]) -> tuple[int, int] | None:
        """Give the times of the first and the last profile in ms, None where there is none.

        Raises:
            StorageError: the catalog cannot be read.
        """
        known = [bounds for tenant in tenants if (bounds := self._catalog.time_bounds_ms(tenant)) is not None]
        if not known:
            return None
        return min(first for first, _ in known), max(last for _, last in known)

    def _find(self, tenant: str, selection: ProfileSelection, time_range: TimeRange) -> Found:
        series = select_series(self._catalog, tenant, time_range, selection.selector)
        if not series:
            return Found(tenant, [], [], [], [], selection.guard)
        files = self._catalog.files(tenant, time_range, series)
        samples, totals, symbols = (
            [self._store.path_of(name) for name in names]
            for names in (files.samples, files.totals, files.symbols)
        )
        return Found(tenant, series, samples, totals, symbols, selection.guard)


@dataclass(frozen=True, slots=True)
class Grouping:
    """The groups of one tenant's series."""

    # Of each series, counted among this tenant's groups.
    of_series: list[int]
    # Of each of these groups, its number among the groups of all tenants.
    numbers: list[int]


def group_series(found: Sequence[Found], group_by: Sequence[str]) -> tuple[list[Grouping], list[Labels]]:
    """Give each tenant's series their groups, and each group of all tenants its labels."""
    numbers: dict[Labels, int] = {}
    groupings = []
    for tenant in found:
        own: dict[Labels, int] = {}
        of_series = [own.setdefault(one.labels.project(group_by), len(own)) for one in tenant.series]
        groupings.append(Grouping(of_series, [numbers.setdefault(labels, len(numbers)) for labels in own]))
    return groupings, list(numbers)
