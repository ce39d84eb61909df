"""The catalog: which blocks exist, what they hold, which series and profile ids are known. SQLite, WAL, FULL.

The statements keep to the SQL that SQLite and PostgreSQL share. A method may be called from any thread: each
thread has a connection of its own, and SQLite lets readers run beside the one writer.
"""

# ruff: noqa: S608 - what is put into the statements is rows of question marks and names of columns
from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from flamewire_server.model.labels import Labels
from flamewire_server.model.time_range import TimeRange
from flamewire_server.storage.compaction_queue import (
    FILE_COLUMNS,
    FIRST_DELAY_S,
    Swap,
    announce,
    insert_block,
)
from flamewire_server.storage.database import Database, marks, storage_errors

__all__ = [
    "Block",
    "Catalog",
    "DuplicateError",
    "NewBlock",
    "NewSeries",
    "ProfileId",
    "Series",
    "StoredFiles",
]

# SQLite takes 32,766 parameters in a statement since 3.32, PostgreSQL 65,535.
_PARAMETERS = 8000
# Above this many series a block is not looked through for them: the reader filters by series anyway.
_PRUNE_LIMIT = 500


class DuplicateError(Exception):
    """A profile id of the commit is known already; nothing was committed."""


@dataclass(frozen=True, slots=True)
class ProfileId:
    """What makes a profile one: pushed series, id, and the hash of its content."""

    series: int
    profile_id: bytes
    content: int


@dataclass(frozen=True, slots=True)
class NewSeries:
    """A series that a new block has rows of. labels: sorted (name, value) pairs, private ones too."""

    fingerprint: int
    service: str
    profile_type: str
    labels: list[tuple[str, str]]
    time_min_ns: int
    time_max_ns: int


@dataclass(frozen=True, slots=True)
class NewBlock:
    """A block whose files are durable, and which this commit makes visible.

    created_at_s decides when it is compacted; crc32 of each file, None where it was not taken.
    """

    tenant: str
    day: str
    samples_name: str
    symbols_name: str | None
    samples_bytes: int
    symbols_bytes: int
    row_count: int
    time_min_ns: int
    time_max_ns: int
    series: list[NewSeries]
    created_at_s: int = 0
    samples_crc: int | None = None
    symbols_crc: int | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A block that a query reads."""

    block_id: int
    day: str
    samples_name: str
    totals_name: str | None


@dataclass(frozen=True, slots=True)
class Series:
    """A series as label queries see it."""

    fingerprint: int
    service: str
    profile_type: str
    labels: Labels


@dataclass(frozen=True, slots=True)
class StoredFiles:
    """What a query has to read: names in the store.

    totals: in place of samples for whoever needs no stacks and no spans: one row per series and profile where
    the block has been compacted, else the samples.
    """

    samples: list[str]
    symbols: list[str]
    totals: list[str]


class Catalog:
    """The SQLite catalog of one data folder.

    Args:
        path: the database file; made and migrated where needed.

    Raises:
        StorageError: it cannot be opened, or a newer version has written it.
    """

    def __init__(self, path: Path) -> None:
        self.database = Database(path)

    def close(self) -> None:
        """Close the connections of all threads; none may be in a call."""
        self.database.close()

    def commit(self, blocks: Sequence[NewBlock], ids: Sequence[tuple[str, ProfileId, int]]) -> None:
        """Make blocks visible and profile ids known, all or nothing, durable on return.

        Args:
            blocks: their files must be durable.
            ids: (tenant, id, hour since 1970 after which it may be forgotten).

        Raises:
            DuplicateError: an id is known.
            StorageError: the disk refused.
        """
        with self.database.transaction("commit") as connection:
            try:
                connection.executemany(
                    "INSERT INTO profile_ids (tenant, series, profile_id, content, forget_at_h)"
                    " VALUES (?, ?, ?, ?, ?)",
                    [(tenant, key.series, key.profile_id, key.content, hour) for tenant, key, hour in ids],
                )
            except sqlite3.IntegrityError as error:
                raise DuplicateError from error
            for block in blocks:
                self._insert_block(connection, block)
            announce(connection, blocks)

    def adopt(self, swap: Swap, series: Sequence[NewSeries], *, created_at_s: int) -> None:
        """Make a block of another data folder visible, whose files are durable."""
        with self.database.transaction("take a block") as connection:
            insert_block(connection, swap, created_at_s=created_at_s)
            _put_series(connection, swap.tenant, swap.day, series)
            connection.execute(
                "INSERT INTO jobs (kind, tenant, day, due_at_s, lease_until_s, worker)"
                " VALUES ('compact', ?, ?, ?, 0, '') ON CONFLICT (kind, tenant, day) DO NOTHING",
                (swap.tenant, swap.day, created_at_s + FIRST_DELAY_S),
            )

    def series_of(self, block_id: int) -> list[NewSeries]:
        """List the series of a block, with the times of their profiles in it."""
        with storage_errors("list series"):
            rows = self.database.connection().execute(
                "SELECT series.fingerprint, service, profile_type, labels, held.time_min_ns, held.time_max_ns"
                " FROM block_series held JOIN blocks ON blocks.id = held.block_id JOIN series"
                " ON series.tenant = blocks.tenant AND series.day = blocks.day"
                " AND series.fingerprint = held.fingerprint WHERE held.block_id = ?",
                (block_id,),
            )
            return [
                NewSeries(fingerprint, service, kind, [tuple(pair) for pair in json.loads(labels)], *times)
                for fingerprint, service, kind, labels, *times in rows
            ]

    def known_contents(
        self, tenant: str, keys: Sequence[tuple[int, bytes]]
    ) -> dict[tuple[int, bytes], set[int]]:
        """Look up which (series, profile id) are known, and with which content hashes."""
        known: dict[tuple[int, bytes], set[int]] = {}
        with storage_errors("look up profile ids"):
            for chunk in _chunks(keys, _PARAMETERS // 2):
                rows = self.database.connection().execute(
                    f"WITH pushed (series, profile_id) AS (VALUES {_rows(len(chunk), 2)})"
                    " SELECT known.series, known.profile_id, known.content FROM pushed JOIN profile_ids known"
                    " ON known.tenant = ? AND known.series = pushed.series AND known.profile_id ="
                    " pushed.profile_id",
                    [*(value for key in chunk for value in key), tenant],
                )
                for series, profile_id, content in rows:
                    known.setdefault((series, profile_id), set()).add(content)
        return known

    def series(
        self,
        tenant: str,
        time_range: TimeRange,
        *,
        service: str | None = None,
        profile_type: str | None = None,
    ) -> list[Series]:
        """List the series that have profiles in the range.

        Exact up to a gap inside one UTC day: of each day the first and the last profile's time are known.

        Args:
            tenant: whose.
            time_range: inclusive.
            service: only this service.
            profile_type: only this profile type.
        """
        first_day, last_day = time_range.days
        sql = (
            "SELECT DISTINCT fingerprint, service, profile_type, labels FROM series"
            " WHERE tenant = ? AND day >= ? AND day <= ? AND time_max_ns >= ? AND time_min_ns <= ?"
        )
        parameters: list[object] = [tenant, first_day, last_day, time_range.start_ns, time_range.end_ns]
        if service is not None:
            sql += " AND service = ?"
            parameters.append(service)
        if profile_type is not None:
            sql += " AND profile_type = ?"
            parameters.append(profile_type)
        with storage_errors("list series"):
            rows = self.database.connection().execute(sql, parameters).fetchall()
        return [
            Series(fingerprint, svc, kind, _read_labels(labels)) for fingerprint, svc, kind, labels in rows
        ]

    def fingerprints(self, tenant: str, day: str) -> set[int]:
        """List the series of a day."""
        with storage_errors("list series"):
            rows = self.database.connection().execute(
                "SELECT fingerprint FROM series WHERE tenant = ? AND day = ?", (tenant, day)
            )
            return {fingerprint for (fingerprint,) in rows}

    def tenants(self) -> list[str]:
        """List the tenants that have blocks."""
        with storage_errors("list tenants"):
            rows = self.database.connection().execute("SELECT DISTINCT tenant FROM blocks ORDER BY tenant")
            return [tenant for (tenant,) in rows]

    def time_bounds_ms(self, tenant: str) -> tuple[int, int] | None:
        """Give the times of the tenant's first and last profile, None where it has none."""
        with storage_errors("find the first and the last profile"):
            row = (
                self.database.connection()
                .execute("SELECT MIN(time_min_ns), MAX(time_max_ns) FROM blocks WHERE tenant = ?", (tenant,))
                .fetchone()
            )
        first_ns, last_ns = row
        return None if first_ns is None else (first_ns // 1_000_000, last_ns // 1_000_000)

    def files(self, tenant: str, time_range: TimeRange, series: Sequence[Series]) -> StoredFiles:
        """List the files that hold the series' samples in the range, and all their symbols.

        A block's stacks may have their symbols in any block of the same tenant, service and day.
        """
        blocks = self._blocks(tenant, time_range, series)
        days = sorted({block.day for block in blocks})
        services = sorted({one.service for one in series})
        if not days:
            return StoredFiles([], [], [])
        return StoredFiles(
            [block.samples_name for block in blocks],
            self._symbols(tenant, days, services),
            [block.totals_name or block.samples_name for block in blocks],
        )

    def _blocks(self, tenant: str, time_range: TimeRange, series: Sequence[Series]) -> list[Block]:
        first_day, last_day = time_range.days
        bounds = [time_range.start_ns, time_range.end_ns]
        sql = (
            "SELECT id, day, samples_name, totals_name FROM blocks"
            " WHERE tenant = ? AND day >= ? AND day <= ? AND time_max_ns >= ? AND time_min_ns <= ?"
            " AND samples_whole = 1"
        )
        parameters: list[object] = [tenant, first_day, last_day, *bounds]
        if len(series) <= _PRUNE_LIMIT:
            sql += (
                " AND EXISTS (SELECT 1 FROM block_series held WHERE held.block_id = blocks.id"
                f" AND held.fingerprint IN ({marks(len(series))})"
                " AND held.time_max_ns >= ? AND held.time_min_ns <= ?)"
            )
            parameters += [*(one.fingerprint for one in series), *bounds]
        with storage_errors("list blocks"):
            rows = self.database.connection().execute(sql + " ORDER BY id", parameters)
            return [Block(*row) for row in rows]

    def _symbols(self, tenant: str, days: Sequence[str], services: Sequence[str]) -> list[str]:
        sql = (
            "SELECT symbols_name FROM blocks WHERE symbols_name IS NOT NULL AND symbols_whole = 1"
            f" AND tenant = ? AND day IN ({marks(len(days))})"
        )
        parameters: list[object] = [tenant, *days]
        if len(services) <= _PRUNE_LIMIT:
            sql += (
                " AND EXISTS (SELECT 1 FROM block_series held JOIN series ON series.tenant = blocks.tenant"
                " AND series.day = blocks.day AND series.fingerprint = held.fingerprint"
                f" WHERE held.block_id = blocks.id AND series.service IN ({marks(len(services))}))"
            )
            parameters += services
        with storage_errors("list symbols"):
            return [name for (name,) in self.database.connection().execute(sql + " ORDER BY id", parameters)]

    def file_names(self) -> set[str]:
        """List every file that the store shall have: of blocks, and of removed blocks that wait for their
        end."""
        with storage_errors("list files"):
            rows = self.database.connection().execute(
                " UNION ALL ".join(
                    f"SELECT {column} FROM blocks WHERE {column} IS NOT NULL" for column in FILE_COLUMNS
                )
                + " UNION ALL SELECT name FROM removed_files"
            )
            return {name for (name,) in rows}

    def remove_days(self, tenant: str, before: str, *, now_s: int) -> int:
        """Take every block and series of a tenant's days before `before` out; their files stay for now.

        Returns:
            How many blocks went.
        """
        old = (tenant, before)
        with self.database.transaction("remove old blocks") as connection:
            for column in FILE_COLUMNS:
                connection.execute(
                    f"INSERT INTO removed_files (name, removed_at_s) SELECT {column}, ? FROM blocks"
                    f" WHERE tenant = ? AND day < ? AND {column} IS NOT NULL",
                    (now_s, *old),
                )
            connection.execute(
                "DELETE FROM block_series WHERE block_id IN"
                " (SELECT id FROM blocks WHERE tenant = ? AND day < ?)",
                old,
            )
            removed = connection.execute("DELETE FROM blocks WHERE tenant = ? AND day < ?", old).rowcount
            connection.execute("DELETE FROM series WHERE tenant = ? AND day < ?", old)
            connection.execute("DELETE FROM jobs WHERE tenant = ? AND day < ?", old)
        return removed

    def removed_files(self, before_s: int) -> list[str]:
        """List the files whose blocks were removed before the given time."""
        with storage_errors("list removed files"):
            rows = self.database.connection().execute(
                "SELECT name FROM removed_files WHERE removed_at_s < ?", (before_s,)
            )
            return [name for (name,) in rows]

    def forget_files(self, names: Collection[str]) -> None:
        """Strike removed files off: they are gone from the store."""
        with self.database.transaction("forget files") as connection:
            connection.executemany("DELETE FROM removed_files WHERE name = ?", [(name,) for name in names])

    def forget_ids(self, before_h: int) -> int:
        """Forget profile ids whose hour has come; returns how many."""
        with self.database.transaction("forget profile ids") as connection:
            return connection.execute("DELETE FROM profile_ids WHERE forget_at_h < ?", (before_h,)).rowcount

    def _insert_block(self, connection: sqlite3.Connection, block: NewBlock) -> None:
        (block_id,) = connection.execute(
            "INSERT INTO blocks (tenant, day, level, samples_name, symbols_name, samples_bytes,"
            " symbols_bytes, row_count, time_min_ns, time_max_ns, created_at_s, samples_crc, symbols_crc)"
            " VALUES (?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (
                block.tenant, block.day, block.samples_name, block.symbols_name, block.samples_bytes,
                block.symbols_bytes, block.row_count, block.time_min_ns, block.time_max_ns,
                block.created_at_s, block.samples_crc, block.symbols_crc,
            ),
        ).fetchone()  # fmt: skip
        connection.executemany(
            "INSERT INTO block_series (block_id, fingerprint, time_min_ns, time_max_ns) VALUES (?, ?, ?, ?)",
            [(block_id, one.fingerprint, one.time_min_ns, one.time_max_ns) for one in block.series],
        )
        _put_series(connection, block.tenant, block.day, block.series)


def _put_series(connection: sqlite3.Connection, tenant: str, day: str, series: Sequence[NewSeries]) -> None:
    connection.executemany(
        "INSERT INTO series (tenant, day, fingerprint, service, profile_type, labels,"
        " time_min_ns, time_max_ns)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, day, fingerprint) DO UPDATE SET"
        " time_min_ns = CASE WHEN excluded.time_min_ns < series.time_min_ns"
        " THEN excluded.time_min_ns ELSE series.time_min_ns END,"
        " time_max_ns = CASE WHEN excluded.time_max_ns > series.time_max_ns"
        " THEN excluded.time_max_ns ELSE series.time_max_ns END",
        [
            (
                tenant, day, one.fingerprint, one.service, one.profile_type,
                json.dumps(one.labels, ensure_ascii=False, separators=(",", ":")),
                one.time_min_ns, one.time_max_ns,
            )
            for one in series
        ],
    )  # fmt: skip


def _rows(count: int, width: int) -> str:
    return ", ".join([f"({marks(width)})"] * count)


def _chunks(keys: Sequence[tuple[int, bytes]], size: int) -> Iterable[Sequence[tuple[int, bytes]]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


# The labels of a fingerprint never change, so that the text itself is the key. About 1 KB an entry.
@lru_cache(maxsize=16384)
def _read_labels(text: str) -> Labels:
    return Labels(tuple((name, value) for name, value in json.loads(text)))
