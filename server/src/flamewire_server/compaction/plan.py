"""Which blocks of a day to merge, and when. Pure: no clock, no disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flamewire_server.storage.compaction_queue import FIRST_DELAY_S, StoredBlock

__all__ = ["Merge", "merge_all", "plan_merge"]


@dataclass(frozen=True, slots=True)
class _Level:
    """When blocks of a level are merged: when the oldest is that old, or there are so many."""

    age_s: int
    count: int
    least: int


# A row is so written three times after its commit: soon, within minutes, within hours.
_LEVELS = (
    _Level(age_s=FIRST_DELAY_S, count=200, least=1),
    _Level(age_s=600, count=12, least=2),
    _Level(age_s=3 * 3600, count=12, least=2),
)
# What one merge takes: bounds its memory (24 bytes a row, about 10 bytes of file for each frame of 75 bytes).
_MAX_BLOCKS = 400
_MAX_ROWS = 2_000_000
_MAX_SYMBOLS_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Merge:
    """Blocks to merge into one of a level; one block alone needs no more than the level, above level 0."""

    blocks: Sequence[StoredBlock]
    level: int

    @property
    def is_promotion(self) -> bool:
        """The block is large enough as it is."""
        return len(self.blocks) == 1 and self.blocks[0].level > 0


def plan_merge(blocks: Sequence[StoredBlock], now_s: int) -> tuple[Merge | None, int | None]:
    """Choose the next merge of a day.

    Args:
        blocks: of the day, the oldest first.
        now_s: the calendar clock.

    Returns:
        The merge, or when one will be due if nothing is committed; (None, None) when nothing ever will be.
    """
    next_due_s: int | None = None
    for number, level in enumerate(_LEVELS):
        of_level = [block for block in blocks if block.level == number]
        if len(of_level) < level.least:
            continue
        due_s = min(block.created_at_s for block in of_level) + level.age_s
        # A clock that was set back must not make blocks wait for it to catch up.
        is_from_future = due_s > now_s + 2 * level.age_s
        if due_s <= now_s or len(of_level) >= level.count or is_from_future:
            return Merge(_take(of_level), number + 1), None
        next_due_s = due_s if next_due_s is None else min(next_due_s, due_s)
    return None, next_due_s


def merge_all(blocks: Sequence[StoredBlock]) -> list[Merge]:
    """Choose merges after which the day has as few blocks as their size allows: for a day that is over."""
    merges = []
    left = list(blocks)
    while left:
        taken = _take(left)
        if len(taken) > 1 or taken[0].level == 0:
            merges.append(Merge(taken, len(_LEVELS)))
        left = left[len(taken) :]
    return merges


def _take(blocks: Sequence[StoredBlock]) -> list[StoredBlock]:
    taken: list[StoredBlock] = []
    rows = symbols_bytes = 0
    for block in blocks[:_MAX_BLOCKS]:
        rows += block.row_count
        symbols_bytes += block.bytes_of("symbols")
        if taken and (rows > _MAX_ROWS or symbols_bytes > _MAX_SYMBOLS_BYTES):
            break
        taken.append(block)
    return taken
