"""Time series: values added up per step of time and group of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from flamewire_server._native import Reader
from flamewire_server.query.blocks import BlockFinder, Found, Grouping, group_series
from flamewire_server.query.exemplars import Exemplar, read_exemplar
from flamewire_server.query.sample_filter import ALL_SAMPLES, SampleFilter
from flamewire_server.query.selection import ProfileSelection
from flamewire_server.query.steps import Steps

__all__ = ["TimeSeries", "TimeSeriesQueries", "TimeSeriesQuery"]


@dataclass(frozen=True, slots=True)
class TimeSeriesQuery:
    """How the selected profiles become series of points."""

    group_by: tuple[str, ...]
    step_ms: int
    limit: int
    average: bool = False
    # Exemplars: none, of profiles (False) or of spans (True).
    exemplars_by_span: bool | None = None


@dataclass(frozen=True, slots=True)
class TimeSeries:
    """One group's points: (right edge in ms, value); steps without profiles are left out.

    exemplars: by the right edge of their step.
    """

    labels: tuple[tuple[str, str], ...]
    points: list[tuple[int, float]]
    exemplars: dict[int, list[Exemplar]] = field(default_factory=dict)


# Of one group: step -> (sum, profiles).
_Sums = dict[int, tuple[int, int]]


class TimeSeriesQueries:
    """Answers from blocks; sees all that was acknowledged before it began. Thread-safe."""

    def __init__(self, finder: BlockFinder, reader: Reader) -> None:
        self._finder = finder
        self._reader = reader

    def time_series(
        self, selection: ProfileSelection, query: TimeSeriesQuery, samples_taken: SampleFilter = ALL_SAMPLES
    ) -> list[TimeSeries]:
        """Add the selected profiles up, or average them, per step and group. The point at t holds
        (t - step, t].

        Raises:
            RequestError: the step is too small for the range, or a limit is met.
            StorageError, BlockError, OSError: the catalog or a block cannot be read.
            QueryStoppedError: the selection's guard ended it.
        """
        steps = Steps.of(selection.time_range, query.step_ms)
        found = self._finder.find(selection, steps.time_range)
        groups, labels = group_series(found, query.group_by)
        sums: list[_Sums] = [{} for _ in labels]
        for one, grouping in zip(found, groups, strict=True):
            rows = one.step_rows(self._reader, steps, grouping.of_series, samples_taken)
            files = _files(one, samples_taken)
            totals = self._reader.totals(files, rows, count_profiles=query.average)
            for group, points in zip(grouping.numbers, totals, strict=True):
                for step, total, profiles in points:
                    before = sums[group].get(step, (0, 0))
                    sums[group][step] = (before[0] + total, before[1] + profiles)
        kept = [group for group in range(len(labels)) if sums[group]]
        if query.limit > 0:
            kept.sort(key=lambda group: (-sum(total for total, _ in sums[group].values()), labels[group]))
            del kept[query.limit :]
        exemplars = self._exemplars(found, groups, steps, query, samples_taken)
        return [
            TimeSeries(
                labels[group],
                [
                    (steps.edge_ms(step), total / profiles if query.average else float(total))
                    for step, (total, profiles) in sorted(sums[group].items())
                ],
                exemplars.get(group, {}),
            )
            for group in sorted(kept, key=lambda group: labels[group])
        ]

    def _exemplars(
        self,
        found: Sequence[Found],
        groups: Sequence[Grouping],
        steps: Steps,
        query: TimeSeriesQuery,
        samples_taken: SampleFilter,
    ) -> dict[int, dict[int, list[Exemplar]]]:
        """Find the largest profile or span of each group and step, of each tenant."""
        result: dict[int, dict[int, list[Exemplar]]] = {}
        by_span = query.exemplars_by_span
        if by_span is None:
            return result
        for one, grouping in zip(found, groups, strict=True):
            rows = one.step_rows(self._reader, steps, grouping.of_series, samples_taken)
            labels_of = {series.fingerprint: series.labels for series in one.series}
            files = one.samples if by_span else _files(one, samples_taken)
            found_here = self._reader.exemplars(files, rows, by_span=by_span)
            for group, exemplars in zip(grouping.numbers, found_here, strict=True):
                for exemplar in exemplars:
                    of_step = result.setdefault(group, {}).setdefault(steps.edge_ms(exemplar[0]), [])
                    of_step.append(read_exemplar(exemplar, labels_of, query.group_by, by_span=by_span))
        return result


def _files(found: Found, samples_taken: SampleFilter) -> list[str]:
    # Totals files know no stacks.
    return found.samples if samples_taken.has_stacks else found.totals
