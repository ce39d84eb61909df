"""Queries on profiles: a call tree, a time series. Selector -> catalog -> files -> native reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flamewire_server._native import Reader, Tree
from flamewire_server.errors import RequestError
from flamewire_server.metrics import Metrics
from flamewire_server.model.profile_type import ProfileType
from flamewire_server.model.selector import Selector, parse_selector
from flamewire_server.model.time_range import NS_PER_MS, TimeRange
from flamewire_server.query.labels import select_series
from flamewire_server.storage.catalog import Catalog, Series
from flamewire_server.storage.local_store import LocalStore

__all__ = ["ProfileQueries", "ProfileSelection", "TimeSeries", "TimeSeriesQuery"]

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


class ProfileQueries:
    """Answers from blocks; every method sees all that was acknowledged before it began. Thread-safe."""

    def __init__(self, catalog: Catalog, store: LocalStore, reader: Reader, metrics: Metrics) -> None:
        self._catalog = catalog
        self._store = store
        self._reader = reader
        self._metrics = metrics

    def tree(self, selection: ProfileSelection, span_ids: Sequence[int] | None = None) -> Tree:
        """Merge the selected profiles' stacks; with span_ids only samples of these spans.

        Raises:
            StorageError, BlockError, OSError: the catalog or a block cannot be read.
        """
        series, samples, symbols = self._find(selection, selection.time_range)
        tree = self._reader.tree(
            selection.tenant,
            samples,
            symbols,
            series=[one.fingerprint for one in series],
            start_ns=selection.time_range.start_ns,
            end_ns=selection.time_range.end_ns,
            span_ids=span_ids,
        )
        self._metrics.missing_symbols.inc(tree.missing_stacks)
        return tree

    def time_series(self, selection: ProfileSelection, query: TimeSeriesQuery) -> list[TimeSeries]:
        """Add the selected profiles up, or average them, per step and group. The point at t holds
        (t - step, t].

        Raises:
            RequestError: the step is too small for the range.
            StorageError, BlockError, OSError: the catalog or a block cannot be read.
        """
        start_ms = selection.time_range.start_ns // NS_PER_MS
        end_ms = selection.time_range.end_ns // NS_PER_MS
        steps = (end_ms - start_ms) // query.step_ms + 1
        if steps > _MAX_STEPS:
            raise RequestError(
                "invalid_argument",
                f"the range has {steps} steps of {query.step_ms} ms; at most {_MAX_STEPS} are"
                " computed: take a larger"
                " step",
                reason="too_many_steps",
            )
        # A stamp inside a millisecond belongs to that millisecond, so every edge lies at the end of one.
        first_ns = (start_ms - query.step_ms) * NS_PER_MS + NS_PER_MS - 1
        last_ns = (start_ms + (steps - 1) * query.step_ms) * NS_PER_MS + NS_PER_MS - 1
        time_range = TimeRange(max(first_ns + 1, 0), last_ns)
        series = select_series(self._catalog, selection.tenant, time_range, selection.selector)
        files = self._catalog.files(selection.tenant, time_range, series)
        groups, labels = _group(series, query.group_by)
        totals = self._reader.totals(
            [self._store.path_of(name) for name in files.totals],
            series=[one.fingerprint for one in series],
            groups=groups,
            start_ns=first_ns,
            step_ns=query.step_ms * NS_PER_MS,
            steps=steps,
            count_profiles=query.average,
        )
        groups_found = [one for one in zip(labels, totals, strict=True) if one[1]]
        if query.limit > 0:
            groups_found.sort(key=lambda one: (-sum(total for _, total, _ in one[1]), one[0]))
            del groups_found[query.limit :]
        return [
            TimeSeries(
                group_labels,
                [
                    (start_ms + (k - 1) * query.step_ms, total / profiles if query.average else float(total))
                    for k, total, profiles in points
                ],
            )
            for group_labels, points in sorted(groups_found, key=lambda one: one[0])
        ]

    def _find(
        self, selection: ProfileSelection, time_range: TimeRange
    ) -> tuple[list[Series], list[str], list[str]]:
        """Find the series and the paths of the samples and symbols files that a query reads."""
        series = select_series(self._catalog, selection.tenant, time_range, selection.selector)
        if not series:
            return [], [], []
        files = self._catalog.files(selection.tenant, time_range, series)
        return (
            series,
            [self._store.path_of(name) for name in files.samples],
            [self._store.path_of(name) for name in files.symbols],
        )


def _group(
    series: Sequence[Series], group_by: Sequence[str]
) -> tuple[list[int], list[tuple[tuple[str, str], ...]]]:
    """Give each series the index of its group, and each group its labels."""
    indices: dict[tuple[tuple[str, str], ...], int] = {}
    groups = [indices.setdefault(one.labels.project(group_by), len(indices)) for one in series]
    return groups, list(indices)
