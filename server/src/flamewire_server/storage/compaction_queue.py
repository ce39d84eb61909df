"""What the catalog knows of compaction: which days are due, who works on one, and the swap of blocks.

The statements keep to the SQL that SQLite and PostgreSQL share.
"""

# ruff: noqa: S608 - what is put into the statements is rows of question marks and names of columns
from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flamewire_server.storage.database import Database, marks, storage_errors

if TYPE_CHECKING:
    from flamewire_server.storage.catalog import NewBlock

__all__ = ["FIRST_DELAY_S", "CompactionQueue", "Job", "StoredBlock", "Swap", "SwapError", "announce"]

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
class StoredBlock:
    """A block as compaction and checks see it. crc: CRC-32 of a file, None where it was not taken."""

    block_id: int
    level: int
    samples_name: str
    symbols_name: str | None
    totals_name: str | None
    row_count: int
    samples_bytes: int
    symbols_bytes: int
    totals_bytes: int
    samples_crc: int | None
    symbols_crc: int | None
    totals_crc: int | None
    created_at_s: int

    @property
    def files(self) -> list[tuple[str, int, int | None]]:
        """Name, size and CRC of each file."""
        files = (
            (self.samples_name, self.samples_bytes, self.samples_crc),
            (self.symbols_name, self.symbols_bytes, self.symbols_crc),
            (self.totals_name, self.totals_bytes, self.totals_crc),
        )
        return [(name, size, crc) for name, size, crc in files if name is not None]


@dataclass(frozen=True, slots=True)
class Swap:
    """A merged block whose files are durable, and the blocks that it takes the place of.

    series: (fingerprint, earliest, latest time) of each.
    """

    tenant: str
    day: str
    level: int
    merged: Sequence[StoredBlock]
    samples_name: str
    symbols_name: str | None
    totals_name: str
    samples_bytes: int
    symbols_bytes: int
    totals_bytes: int
    samples_crc: int
    symbols_crc: int | None
    totals_crc: int
    row_count: int
    series: Sequence[tuple[int, int, int]]


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
                " WHERE tenant = ? AND day = ? AND level = 0) AS dues) WHERE id = ? AND worker = ?",
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
                "SELECT id, level, samples_name, symbols_name, totals_name, row_count, samples_bytes,"
                " symbols_bytes, totals_bytes, samples_crc, symbols_crc, totals_crc, created_at_s"
                " FROM blocks WHERE tenant = ? AND day = ? ORDER BY id",
                (tenant, day),
            )
            return [StoredBlock(*row) for row in rows]

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
        """Say when the oldest block that was not compacted yet was committed."""
        with storage_errors("look for new blocks"):
            (oldest,) = (
                self._database.connection()
                .execute("SELECT MIN(created_at_s) FROM blocks WHERE level = 0")
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
            for column in ("samples_name", "symbols_name", "totals_name"):
                connection.execute(
                    f"INSERT INTO removed_files (name, removed_at_s) SELECT {column}, ? FROM blocks"
                    f" WHERE id IN ({marks(len(ids))}) AND {column} IS NOT NULL",
                    (now_s, *ids),
                )
            removed = connection.execute(f"DELETE FROM blocks WHERE id IN ({marks(len(ids))})", ids).rowcount
            if removed != len(ids):
                raise SwapError(f"{len(ids) - removed} of {len(ids)} blocks are gone")
            connection.execute(f"DELETE FROM block_series WHERE block_id IN ({marks(len(ids))})", ids)
            self._insert(connection, swap)

    def _insert(self, connection: sqlite3.Connection, swap: Swap) -> None:
        (block_id,) = connection.execute(
            "INSERT INTO blocks (tenant, day, level, samples_name, symbols_name, totals_name, samples_bytes,"
            " symbols_bytes, totals_bytes, samples_crc, symbols_crc, totals_crc, row_count, time_min_ns,"
            " time_max_ns, created_at_s)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (
                swap.tenant, swap.day, swap.level, swap.samples_name, swap.symbols_name, swap.totals_name,
                swap.samples_bytes, swap.symbols_bytes, swap.totals_bytes, swap.samples_crc, swap.symbols_crc,
                swap.totals_crc, swap.row_count, min(first for _, first, _ in swap.series),
                max(last for _, _, last in swap.series), min(block.created_at_s for block in swap.merged),
            ),
        ).fetchone()  # fmt: skip
        connection.executemany(
            "INSERT INTO block_series (block_id, fingerprint, time_min_ns, time_max_ns) VALUES (?, ?, ?, ?)",
            [(block_id, *one) for one in swap.series],
        )
