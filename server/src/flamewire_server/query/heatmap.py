"""Heatmaps: profiles or spans counted per step of time and bucket of value."""

from __future__ import annotations

from dataclasses import dataclass, field

from flamewire_server._native import Reader
from flamewire_server.query.blocks import BlockFinder, group_series
from flamewire_server.query.exemplars import Exemplar, read_exemplar
from flamewire_server.query.sample_filter import ALL_SAMPLES
from flamewire_server.query.selection import ProfileSelection
from flamewire_server.query.steps import Steps

__all__ = ["HEATMAP_BUCKETS", "Heatmap", "HeatmapQueries", "HeatmapQuery"]

HEATMAP_BUCKETS = 20


@dataclass(frozen=True, slots=True)
class HeatmapQuery:
    """How the selected profiles, or their spans, become heatmaps."""

    group_by: tuple[str, ...]
    step_ms: int
    limit: int
    by_span: bool
    with_exemplars: bool = False


@dataclass(frozen=True, slots=True)
class Heatmap:
    """One group's slots: (right edge in ms, count per bucket); floors are the buckets' lower bounds.

    exemplars: by the right edge of their step; the largest of each bucket that has any.
    """

    labels: tuple[tuple[str, str], ...]
    floors: tuple[float, ...]
    slots: list[tuple[int, list[int]]]
    exemplars: dict[int, list[Exemplar]] = field(default_factory=dict)


class HeatmapQueries:
    """Answers from blocks; sees all that was acknowledged before it began. Thread-safe."""

    def __init__(self, finder: BlockFinder, reader: Reader) -> None:
        self._finder = finder
        self._reader = reader

    def heatmap(self, selection: ProfileSelection, query: HeatmapQuery) -> list[Heatmap]:
        """Count profiles or spans per step, group and bucket of value, the buckets of one width over all.

        Raises:
            RequestError: the step is too small for the range, or a limit is met.
            StorageError, BlockError, OSError: the catalog or a block cannot be read.
            QueryStoppedError: the selection's guard ended it.
        """
        steps = Steps.of(selection.time_range, query.step_ms)
        found = self._finder.find(selection, steps.time_range)
        groups, labels = group_series(found, query.group_by)
        values: list[list[tuple[int, int]]] = [[] for _ in labels]
        parts = []
        for one, grouping in zip(found, groups, strict=True):
            # Totals files know no spans.
            files = one.samples if query.by_span else one.totals
            rows = one.step_rows(self._reader, steps, grouping.of_series, ALL_SAMPLES)
            parts.append((one, files, rows, grouping.numbers))
            of_groups = self._reader.values(files, rows, by_span=query.by_span)
            for group, points in zip(grouping.numbers, of_groups, strict=True):
                values[group] += points
        kept = [group for group in range(len(labels)) if values[group]]
        if query.limit > 0:
            kept.sort(key=lambda group: (-sum(value for _, value in values[group]), labels[group]))
            del kept[query.limit :]
        every = [value for group in kept for _, value in values[group]]
        if not every:
            return []
        lowest = min(every)
        width = (max(every) - lowest) / HEATMAP_BUCKETS or 1.0
        exemplars: dict[int, dict[int, list[Exemplar]]] = {}
        if query.with_exemplars:
            cells = (float(lowest), width, HEATMAP_BUCKETS)
            for one, files, rows, numbers in parts:
                labels_of = {series.fingerprint: series.labels for series in one.series}
                natives = self._reader.exemplars(files, rows, by_span=query.by_span, cells=cells)
                for group, of_group in zip(numbers, natives, strict=True):
                    for native in of_group:
                        of_step = exemplars.setdefault(group, {}).setdefault(steps.edge_ms(native[0]), [])
                        of_step.append(
                            read_exemplar(native, labels_of, query.group_by, by_span=query.by_span)
                        )
        floors = tuple(lowest + index * width for index in range(HEATMAP_BUCKETS))
        result = []
        for group in sorted(kept, key=lambda group: labels[group]):
            slots: dict[int, list[int]] = {}
            for step, value in values[group]:
                counts = slots.setdefault(steps.edge_ms(step), [0] * HEATMAP_BUCKETS)
                counts[min(int((value - lowest) / width), HEATMAP_BUCKETS - 1)] += 1
            result.append(Heatmap(labels[group], floors, sorted(slots.items()), exemplars.get(group, {})))
        return result
