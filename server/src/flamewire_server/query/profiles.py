"""Queries on profiles: a call tree, a time series. Selector -> catalog -> files -> native reader."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flamewire_server._native import Reader, Tree
from flamewire_server.errors import RequestError
from flamewire_server.metrics import Metrics
from flamewire_server.model.profile_type import ProfileType
from flamewire_server.model.selector import Selector, parse_selector
from flamewire_server.model.time_range import NS_PER_MS, TimeRange
from flamewire_server.query.labels import select_series
from flamewire_server.query.sample_filter import ALL_SAMPLES, SampleFilter
from flamewire_server.storage.catalog import Catalog, Series
from flamewire_server.storage.local_store import LocalStore

__all__ = [
    "HEATMAP_BUCKETS",
    "Heatmap",
    "HeatmapQuery",
    "PgoShape",
    "ProfileQueries",
    "ProfileSelection",
    "QueryCost",
    "TimeSeries",
    "TimeSeriesQuery",
]

HEATMAP_BUCKETS = 20

# Points of one series: a year in steps of 15 s is 2.1 million; more is a mistake in the request.
_MAX_STEPS = 4_000_000


@dataclass(frozen=True, slots=True)
class ProfileSelection:
    """Which profiles a query is about; validated."""

    tenant: str
    selector: Selector
    time_range: TimeRange

    @classmethod
    def parse(cls, tenant: str, profile_type: str, selector: str, time_range: TimeRange) -> ProfileSelection:
        """Read a request's profile type and selector; the type may also stand in the selector.

        Raises:
            RequestError: one of them does not parse, or no profile type is given.
        """
        parsed = parse_selector(selector)
        if profile_type:
            kind = str(ProfileType.parse(profile_type))
            parsed = Selector((*parse_selector(kind).matchers, *parsed.matchers))
        elif parsed.profile_type is None:
            raise RequestError(
                "invalid_argument",
                "no profile type: give profile_typeID, or write it before the braces of the selector",
                reason="bad_profile_type",
            )
        return cls(tenant, parsed, time_range)


@dataclass(frozen=True, slots=True)
class TimeSeriesQuery:
    """How the selected profiles become series of points."""

    group_by: tuple[str, ...]
    step_ms: int
    limit: int
    average: bool = False


@dataclass(frozen=True, slots=True)
class TimeSeries:
    """One group's points: (right edge in ms, value); steps without profiles are left out."""

    labels: tuple[tuple[str, str], ...]
    points: list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class PgoShape:
    """A pprof cut for the Go compiler: locations from the leaf that stay (0: all), whether the leaf's line
    counts."""

    keep_locations: int
    aggregate_callees: bool


@dataclass(frozen=True, slots=True)
class HeatmapQuery:
    """How the selected profiles, or their spans, become heatmaps."""

    group_by: tuple[str, ...]
    step_ms: int
    limit: int
    by_span: bool


@dataclass(frozen=True, slots=True)
class Heatmap:
    """One group's slots: (right edge in ms, count per bucket); floors are the buckets' lower bounds."""

    labels: tuple[tuple[str, str], ...]
    floors: tuple[float, ...]
    slots: list[tuple[int, list[int]]]


@dataclass(frozen=True, slots=True)
class QueryCost:
    """What a query would read."""

    series: int
    blocks: int
    sample_bytes: int
    symbol_bytes: int


@dataclass(frozen=True, slots=True)
class _Found:
    """The series of a selection, and the paths of the files that hold them."""

    series: list[Series]
    samples: list[str]
    totals: list[str]
    symbols: list[str]

    @property
    def fingerprints(self) -> list[int]:
        """The series by which the reader knows them."""
        return [one.fingerprint for one in self.series]


@dataclass(frozen=True, slots=True)
class _Steps:
    """The steps of a range: step k = 1.. ends at start + (k - 1) * step, and reaches one step back."""

    start_ms: int
    step_ms: int
    count: int

    @classmethod
    def of(cls, time_range: TimeRange, step_ms: int) -> _Steps:
        """Divide a range; RequestError where the step is too small for it."""
        start_ms, end_ms = time_range.start_ns // NS_PER_MS, time_range.end_ns // NS_PER_MS
        count = (end_ms - start_ms) // step_ms + 1
        if count > _MAX_STEPS:
            raise RequestError(
                "invalid_argument",
                f"the range has {count} steps of {step_ms} ms; at most {_MAX_STEPS} are computed:"
                " take a larger step",
                reason="too_many_steps",
            )
        return cls(start_ms, step_ms, count)

    @property
    def first_ns(self) -> int:
        """Where the first step begins, exclusive."""
        # A stamp inside a millisecond belongs to that millisecond, so every edge lies at the end of one.
        return (self.start_ms - self.step_ms) * NS_PER_MS + NS_PER_MS - 1

    @property
    def time_range(self) -> TimeRange:
        """What is read."""
        last_ns = self.edge_ms(self.count) * NS_PER_MS + NS_PER_MS - 1
        return TimeRange(max(self.first_ns + 1, 0), last_ns)

    def edge_ms(self, step: int) -> int:
        """Give the right edge of a step."""
        return self.start_ms + (step - 1) * self.step_ms


class ProfileQueries:
    """Answers from blocks; every method sees all that was acknowledged before it began. Thread-safe."""

    def __init__(self, catalog: Catalog, store: LocalStore, reader: Reader, metrics: Metrics) -> None:
        self._catalog = catalog
        self._store = store
        self._reader = reader
        self._metrics = metrics

    def tree(self, selection: ProfileSelection, samples_taken: SampleFilter = ALL_SAMPLES) -> Tree:
        """Merge the selected profiles' stacks.

        Raises:
            StorageError, BlockError, OSError: the catalog or a block cannot be read.
        """
        found = self._find(selection, selection.time_range)
        tree = self._reader.tree(
            selection.tenant,
            found.samples,
            found.symbols,
            series=found.fingerprints,
            start_ns=selection.time_range.start_ns,
            end_ns=selection.time_range.end_ns,
            span_ids=samples_taken.span_ids,
            profile_ids=samples_taken.profile_ids,
            trace_ids=samples_taken.trace_ids,
            stacks=samples_taken.stacks(self._names(selection, found.symbols)),
        )
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
            RequestError: the selector leaves more than one profile type open.
            StorageError, BlockError, OSError: the catalog or a block cannot be read.
        """
        kind = ProfileType.parse(selection.selector.profile_type or "")
        found = self._find(selection, selection.time_range)
        return self._reader.pprof(
            selection.tenant,
            found.samples,
            found.symbols,
            series=found.fingerprints,
            start_ns=selection.time_range.start_ns,
            end_ns=selection.time_range.end_ns,
            sample_type=(kind.sample_type, kind.sample_unit),
            period_type=(kind.period_type, kind.period_unit),
            span_ids=samples_taken.span_ids,
            profile_ids=samples_taken.profile_ids,
            trace_ids=samples_taken.trace_ids,
            stacks=samples_taken.stacks(self._names(selection, found.symbols)),
            keep_locations=pgo.keep_locations if pgo else 0,
            aggregate_callees=bool(pgo and pgo.aggregate_callees),
        )

    def heatmap(self, selection: ProfileSelection, query: HeatmapQuery) -> list[Heatmap]:
        """Count profiles or spans per step, group and bucket of value, the buckets of one width over all.

        Raises:
            RequestError: the step is too small for the range.
            StorageError, BlockError, OSError: the catalog or a block cannot be read.
        """
        steps = _Steps.of(selection.time_range, query.step_ms)
        found = self._find(selection, steps.time_range)
        groups, labels = _group(found.series, query.group_by)
        values = self._reader.values(
            # Totals files know no spans.
            found.samples if query.by_span else found.totals,
            series=found.fingerprints,
            groups=groups,
            start_ns=steps.first_ns,
            step_ns=query.step_ms * NS_PER_MS,
            steps=steps.count,
            by_span=query.by_span,
        )
        kept = [one for one in zip(labels, values, strict=True) if one[1]]
        if query.limit > 0:
            kept.sort(key=lambda one: (-sum(value for _, value in one[1]), one[0]))
            del kept[query.limit :]
        every = [value for _, points in kept for _, value in points]
        if not every:
            return []
        lowest = min(every)
        width = (max(every) - lowest) / HEATMAP_BUCKETS or 1.0
        floors = tuple(lowest + index * width for index in range(HEATMAP_BUCKETS))
        result = []
        for group_labels, points in sorted(kept, key=lambda one: one[0]):
            slots: dict[int, list[int]] = {}
            for step, value in points:
                counts = slots.setdefault(steps.edge_ms(step), [0] * HEATMAP_BUCKETS)
                counts[min(int((value - lowest) / width), HEATMAP_BUCKETS - 1)] += 1
            result.append(Heatmap(group_labels, floors, sorted(slots.items())))
        return result

    def analyze(self, selection: ProfileSelection) -> QueryCost:
        """Tell what a query of the selected profiles would read.

        Raises:
            StorageError: the catalog cannot be read.
        """
        found = self._find(selection, selection.time_range)

        def size_bytes(paths: Sequence[str]) -> int:
            # A file that compaction has just replaced counts for nothing.
            return sum(os.stat(path).st_size for path in paths if os.path.exists(path))

        return QueryCost(
            len(found.series), len(found.samples), size_bytes(found.samples), size_bytes(found.symbols)
        )

    def bounds(self, tenant: str) -> tuple[int, int] | None:
        """Give the times of the first and the last profile in ms, None where there is none."""
        return self._catalog.time_bounds_ms(tenant)

    def time_series(
        self, selection: ProfileSelection, query: TimeSeriesQuery, samples_taken: SampleFilter = ALL_SAMPLES
    ) -> list[TimeSeries]:
        """Add the selected profiles up, or average them, per step and group. The point at t holds
        (t - step, t].

        Raises:
            RequestError: the step is too small for the range.
            StorageError, BlockError, OSError: the catalog or a block cannot be read.
        """
        steps = _Steps.of(selection.time_range, query.step_ms)
        found = self._find(selection, steps.time_range)
        stacks = samples_taken.stacks(self._names(selection, found.symbols))
        groups, labels = _group(found.series, query.group_by)
        totals = self._reader.totals(
            # Totals files know no stacks.
            found.totals if stacks is None else found.samples,
            series=found.fingerprints,
            groups=groups,
            start_ns=steps.first_ns,
            step_ns=query.step_ms * NS_PER_MS,
            steps=steps.count,
            count_profiles=query.average,
            tenant=selection.tenant,
            symbol_files=found.symbols,
            stacks=stacks,
        )
        groups_found = [one for one in zip(labels, totals, strict=True) if one[1]]
        if query.limit > 0:
            groups_found.sort(key=lambda one: (-sum(total for _, total, _ in one[1]), one[0]))
            del groups_found[query.limit :]
        return [
            TimeSeries(
                group_labels,
                [
                    (steps.edge_ms(k), total / profiles if query.average else float(total))
                    for k, total, profiles in points
                ],
            )
            for group_labels, points in sorted(groups_found, key=lambda one: one[0])
        ]

    def _names(self, selection: ProfileSelection, symbols: Sequence[str]) -> Callable[[], Sequence[str]]:
        return lambda: self._reader.function_names(selection.tenant, symbols)

    def _find(self, selection: ProfileSelection, time_range: TimeRange) -> _Found:
        """Find the series, and the paths of the files that a query reads."""
        series = select_series(self._catalog, selection.tenant, time_range, selection.selector)
        if not series:
            return _Found([], [], [], [])
        files = self._catalog.files(selection.tenant, time_range, series)
        samples, totals, symbols = (
            [self._store.path_of(name) for name in names]
            for names in (files.samples, files.totals, files.symbols)
        )
        return _Found(series, samples, totals, symbols)


def _group(
    series: Sequence[Series], group_by: Sequence[str]
) -> tuple[list[int], list[tuple[tuple[str, str], ...]]]:
    """Give each series the index of its group, and each group its labels."""
    indices: dict[tuple[tuple[str, str], ...], int] = {}
    groups = [indices.setdefault(one.labels.project(group_by), len(indices)) for one in series]
    return groups, list(indices)
