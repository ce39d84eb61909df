"""What the catalog knows of compaction: which days are due, who works on one, and the swap of blocks.

The statements keep to the SQL that SQLite and PostgreSQL share.
"""

# ruff: noqa: S608 - what is put into the statements is rows of question marks and names of columns
from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flamewire_server.storage.database import Database, marks, storage_errors

if TYPE_CHECKING:
    from flamewire_server.storage.catalog import NewBlock

__all__ = [
    "FILE_COLUMNS",
    "FIRST_DELAY_S",
    "KINDS",
    "BlockFile",
    "CompactionQueue",
    "Job",
    "StoredBlock",
    "Swap",
    "SwapError",
    "announce",
    "insert_block",
]

# The files that a block may have, and the columns of `blocks` that name them.
KINDS = ("samples", "symbols", "totals", "hours", "days")
FILE_COLUMNS = tuple(f"{kind}_name" for kind in KINDS)
# How long a new block waits for others to be merged with.
FIRST_DELAY_S = 10
# "Not due": no work is left until the next commit.
_NEVER_S = 1 << 62


class SwapError(Exception):
    """A block that was merged is gone from the catalog (retention, a deletion, another worker): nothing was
    done."""


@dataclass(frozen=True, slots=True)
class Job:
    """One tenant's day, claimed until the lease ends."""

    job_id: int
    tenant: str
    day: str
    worker: str


@dataclass(frozen=True, slots=True)
class BlockFile:
    """A file of a block: its name in the store, and what was written. crc: CRC-32, None where it was not
    taken."""

    kind: str
    name: str
    size_bytes: int
    crc: int | None


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A block as compaction and checks see it."""

    block_id: int
    level: int
    row_count: int
    time_min_ns: int
    time_max_ns: int
    created_at_s: int
    is_whole: bool
    files: tuple[BlockFile, ...]

    def name_of(self, kind: str) -> str | None:
        """Give the name of one of its files, None where it has none of the kind."""
        return next((file.name for file in self.files if file.kind == kind), None)

    def bytes_of(self, *kinds: str) -> int:
        """Add up the sizes of its files, of the kinds given or of all."""
        return sum(file.size_bytes for file in self.files if not kinds or file.kind in kinds)

    @property
    def samples_name(self) -> str:
        """The file that every block has."""
        return self.files[0].name

    @property
    def symbols_name(self) -> str | None:
        """None where its stacks were all known when it was committed."""
        return self.name_of("symbols")


@dataclass(frozen=True, slots=True)
class Swap:
    """A merged block whose files are durable, and the blocks that it takes the place of.

    series: (fingerprint, earliest, latest time) of each; without any the block holds symbols only.
    """

    tenant: str
    day: str
    level: int
    merged: Sequence[StoredBlock]
    files: Sequence[BlockFile]
    row_count: int
    series: Sequence[tuple[int, int, int]]
    times_ns: tuple[int, int] | None = None

    @property
    def bounds_ns(self) -> tuple[int, int]:
        """The earliest and the latest time: as given, of its series, or of the merged blocks."""
        if self.times_ns is not None:
            return self.times_ns
        firsts = [first for _, first, _ in self.series] or [block.time_min_ns for block in self.merged]
        lasts = [last for _, _, last in self.series] or [block.time_max_ns for block in self.merged]
        return min(firsts), max(lasts)


def announce(connection: sqlite3.Connection, blocks: Sequence[NewBlock]) -> None:
    """Make the days of new blocks due; part of the transaction that commits them."""
    connection.executemany(
        "INSERT INTO jobs (kind, tenant, day, due_at_s, lease_until_s, worker)"
        " VALUES ('compact', ?, ?, ?, 0, '') ON CONFLICT (kind, tenant, day)"
        " DO UPDATE SET due_at_s = excluded.due_at_s WHERE excluded.due_at_s < jobs.due_at_s",
        [(block.tenant, block.day, block.created_at_s + FIRST_DELAY_S) for block in blocks],
    )


class CompactionQueue:
    """Days to compact, and their blocks. Methods raise StorageError; any thread may call them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, worker: str, *, now_s: int, lease_s: int) -> Job | None:
        """Take the day that is due the longest, if one is and nobody holds it."""
        with self._database.transaction("claim a compaction") as connection:
            # The outer lease condition is for PostgreSQL: of two claims that chose one row, the second then
            # finds it leased.
            row = connection.execute(
                "UPDATE jobs SET lease_until_s = ?, worker = ? WHERE id = (SELECT id FROM jobs"
                " WHERE kind = 'compact' AND due_at_s <= ? AND lease_until_s <= ?"
                " ORDER BY due_at_s, id LIMIT 1) AND lease_until_s <= ? RETURNING id, tenant, day",
                (now_s + lease_s, worker, now_s, now_s, now_s),
            ).fetchone()
        if row is None:
            return None
        job_id, tenant, day = row
        return Job(job_id, tenant, day, worker)

    def finish(self, job: Job, *, due_at_s: int | None) -> None:
        """Give a day back, due again at a time, or only after the next commit (None).

        Commits that came meanwhile are heard: their blocks are due at their own time.
        """
        with self._database.transaction("finish a compaction") as connection:
            connection.execute(
                "UPDATE jobs SET lease_until_s = 0, worker = '', due_at_s = (SELECT MIN(due_s) FROM"
                " (SELECT ? AS due_s UNION ALL SELECT created_at_s + ? FROM blocks"
                " WHERE tenant = ? AND day = ? AND level = 0 AND samples_whole + symbols_whole = 2) AS dues)"
                " WHERE id = ? AND worker = ?",
                (
                    _NEVER_S if due_at_s is None else due_at_s, FIRST_DELAY_S, job.tenant, job.day,
                    job.job_id, job.worker,
                ),
            )  # fmt: skip

    def postpone(self, job: Job, *, until_s: int) -> None:
        """Give a day back that cannot be worked on, not due before a time, whatever is committed."""
        with self._database.transaction("postpone a compaction") as connection:
            connection.execute(
                "UPDATE jobs SET lease_until_s = ?, due_at_s = ? WHERE id = ? AND worker = ?",
                (until_s, until_s, job.job_id, job.worker),
            )

    def days(self) -> list[tuple[str, str]]:
        """List every (tenant, day) that has blocks, sorted."""
        with storage_errors("list days"):
            rows = self._database.connection().execute("SELECT DISTINCT tenant, day FROM blocks")
            return sorted((tenant, day) for tenant, day in rows)

    def blocks(self, tenant: str, day: str) -> list[StoredBlock]:
        """List the blocks of a day, the oldest first."""
        with storage_errors("list blocks"):
            rows = self._database.connection().execute(
                "SELECT id, level, row_count, time_min_ns, time_max_ns, created_at_s,"
                f" samples_whole + symbols_whole, {_FILE_FIELDS}"
                " FROM blocks WHERE tenant = ? AND day = ? ORDER BY id",
                (tenant, day),
            )
            return [_read_block(row) for row in rows]

    def blocks_with(
        self, tenant: str, day: str, fingerprints: Collection[int], start_ns: int, end_ns: int
    ) -> list[StoredBlock]:
        """List the blocks of a day that have profiles of some series in a range, the oldest first."""
        wanted = set(fingerprints)
        with storage_errors("list blocks"):
            rows = self._database.connection().execute(
                "SELECT held.block_id, held.fingerprint FROM block_series held"
                " JOIN blocks ON blocks.id = held.block_id WHERE blocks.tenant = ? AND blocks.day = ?"
                " AND held.time_max_ns >= ? AND held.time_min_ns <= ?",
                (tenant, day, start_ns, end_ns),
            )
            ids = {block_id for block_id, fingerprint in rows if fingerprint in wanted}
        return [block for block in self.blocks(tenant, day) if block.block_id in ids]

    def forget_empty(self, tenant: str, day: str, *, now_s: int) -> None:
        """Take the series of a day out that no block has any more, and all of a day without rows."""
        of_day = (tenant, day)
        with self._database.transaction("forget what was deleted") as connection:
            connection.execute(
                "DELETE FROM series WHERE tenant = ? AND day = ? AND fingerprint NOT IN"
                " (SELECT held.fingerprint FROM block_series held JOIN blocks ON blocks.id = held.block_id"
                " WHERE blocks.tenant = ? AND blocks.day = ?)",
                (*of_day, *of_day),
            )
            (rows,) = connection.execute(
                "SELECT COALESCE(SUM(row_count), 0) FROM blocks WHERE tenant = ? AND day = ?", of_day
            ).fetchone()
            if rows:
                return
            for column in FILE_COLUMNS:
                connection.execute(
                    f"INSERT INTO removed_files (name, removed_at_s) SELECT {column}, ? FROM blocks"
                    f" WHERE tenant = ? AND day = ? AND {column} IS NOT NULL",
                    (now_s, *of_day),
                )
            connection.execute("DELETE FROM blocks WHERE tenant = ? AND day = ?", of_day)
            connection.execute("DELETE FROM jobs WHERE tenant = ? AND day = ?", of_day)

    def series(self, tenant: str, day: str) -> list[tuple[int, str, str]]:
        """List (fingerprint, service, profile type) of all series of a day."""
        with storage_errors("list series"):
            return (
                self._database.connection()
                .execute(
                    "SELECT fingerprint, service, profile_type FROM series WHERE tenant = ? AND day = ?",
                    (tenant, day),
                )
                .fetchall()
            )

    def oldest_new_block_s(self) -> int | None:
        """Say when the oldest block that was not compacted yet was committed; damaged ones do not count."""
        with storage_errors("look for new blocks"):
            (oldest,) = (
                self._database.connection()
                .execute(
                    "SELECT MIN(created_at_s) FROM blocks WHERE level = 0"
                    " AND samples_whole + symbols_whole = 2"
                )
                .fetchone()
            )
        return None if oldest is None else int(oldest)

    def promote(self, block: StoredBlock) -> None:
        """Raise the level of a block that is large enough as it is."""
        with self._database.transaction("promote a block") as connection:
            connection.execute(
                "UPDATE blocks SET level = ? WHERE id = ? AND level = ?",
                (block.level + 1, block.block_id, block.level),
            )

    def swap(self, swap: Swap, *, now_s: int) -> None:
        """Put the merged block in place of the others, all or nothing, durable on return.

        Their files are noted as removed, for the retention to delete after its grace period.

        Raises:
            SwapError: one of the others is gone.
        """
        ids = [block.block_id for block in swap.merged]
        with self._database.transaction("swap blocks") as connection:
            for column in FILE_COLUMNS:
                connection.execute(
                    f"INSERT INTO removed_files (name, removed_at_s) SELECT {column}, ? FROM blocks"
                    f" WHERE id IN ({marks(len(ids))}) AND {column} IS NOT NULL",
                    (now_s, *ids),
                )
            removed = connection.execute(f"DELETE FROM blocks WHERE id IN ({marks(len(ids))})", ids).rowcount
            if removed != len(ids):
                raise SwapError(f"{len(ids) - removed} of {len(ids)} blocks are gone")
            connection.execute(f"DELETE FROM block_series WHERE block_id IN ({marks(len(ids))})", ids)
            created_at_s = min(block.created_at_s for block in swap.merged)
            insert_block(connection, swap, created_at_s=created_at_s)

    def quarantine(self, block: StoredBlock, kinds: Collection[str]) -> None:
        """Note that files of a block are damaged: it is not merged, and nobody reads them.

        Args:
            kinds: of the files that are damaged; none puts the block back into use.
        """
        symbols_whole = "symbols" not in kinds
        samples_whole = not set(kinds) - {"symbols"}
        with self._database.transaction("put a block into quarantine") as connection:
            connection.execute(
                "UPDATE blocks SET samples_whole = ?, symbols_whole = ? WHERE id = ?",
                (int(samples_whole), int(symbols_whole), block.block_id),
            )

    def has(self, block: StoredBlock) -> bool:
        """Say whether a block is in the catalog still."""
        with storage_errors("look for a block"):
            row = (
                self._database.connection()
                .execute("SELECT 1 FROM blocks WHERE id = ?", (block.block_id,))
                .fetchone()
            )
        return row is not None

    def quarantined(self) -> int:
        """Count the blocks that have damaged files."""
        with storage_errors("count damaged blocks"):
            (count,) = (
                self._database.connection()
                .execute("SELECT COUNT(*) FROM blocks WHERE samples_whole = 0 OR symbols_whole = 0")
                .fetchone()
            )
        return int(count)


def insert_block(connection: sqlite3.Connection, swap: Swap, *, created_at_s: int) -> None:
    """Insert a block that is not new; part of a transaction."""
    time_min_ns, time_max_ns = swap.bounds_ns
    fields: dict[str, object] = {
        "tenant": swap.tenant,
        "day": swap.day,
        "level": swap.level,
        "row_count": swap.row_count,
        "time_min_ns": time_min_ns,
        "time_max_ns": time_max_ns,
        "created_at_s": created_at_s,
        "symbols_bytes": 0,
    }
    for file in swap.files:
        kind = file.kind
        fields |= {f"{kind}_name": file.name, f"{kind}_bytes": file.size_bytes, f"{kind}_crc": file.crc}
    (block_id,) = connection.execute(
        f"INSERT INTO blocks ({', '.join(fields)}) VALUES ({marks(len(fields))}) RETURNING id",
        list(fields.values()),
    ).fetchone()
    connection.executemany(
        "INSERT INTO block_series (block_id, fingerprint, time_min_ns, time_max_ns) VALUES (?, ?, ?, ?)",
        [(block_id, *one) for one in swap.series],
    )


_FILE_FIELDS = ", ".join(f"{kind}_name, {kind}_bytes, {kind}_crc" for kind in KINDS)


def _read_block(row: Sequence[Any]) -> StoredBlock:
    block_id, level, row_count, time_min_ns, time_max_ns, created_at_s, whole, *fields = row
    files = (
        BlockFile(kind, *fields[3 * place : 3 * place + 3])
        for place, kind in enumerate(KINDS)
        if fields[3 * place] is not None
    )
    return StoredBlock(
        block_id, level, row_count, time_min_ns, time_max_ns, created_at_s, whole == 2, tuple(files)
    )
