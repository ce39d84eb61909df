"""What a query would read, and since when there are profiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flamewire_server.query.blocks import BlockFinder
from flamewire_server.query.selection import ProfileSelection

__all__ = ["CostQueries", "QueryCost"]


@dataclass(frozen=True, slots=True)
class QueryCost:
    """What a query would read."""

    series: int
    blocks: int
    sample_bytes: int
    symbol_bytes: int


class CostQueries:
    """Answers from the catalog and the sizes of files. Thread-safe."""

    def __init__(self, finder: BlockFinder) -> None:
        self._finder = finder

    def analyze(self, selection: ProfileSelection) -> QueryCost:
        """Tell what a query of the selected profiles would read.

        Raises:
            StorageError: the catalog cannot be read.
        """
        found = self._finder.look(selection)
        sizes = [one.sizes() for one in found]
        return QueryCost(
            sum(len(one.series) for one in found),
            sum(len(one.samples) for one in found),
            sum(one.samples for one in sizes),
            sum(one.symbols for one in sizes),
        )

    def bounds(self, tenants: Sequence[str]) -> tuple[int, int] | None:
        """Give the times of the first and the last profile in ms, None where there is none.

        Raises:
            StorageError: the catalog cannot be read.
        """
        return self._finder.bounds(tenants)
