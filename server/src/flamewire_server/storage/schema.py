"""The catalog's tables, as numbered migrations.

Only this file is SQLite's own; the statements in catalog.py are written in what SQLite and PostgreSQL share.
A migration that has been released is never edited, and the next version must run on the tables of the one
before it.
"""

from __future__ import annotations

import sqlite3
import time

from flamewire_server.errors import StorageError

__all__ = ["MIGRATIONS", "migrate"]

MIGRATIONS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (
        1,
        (
            # A block: the rows of one commit for one tenant and one UTC day. symbols_name is NULL where every
            # stack was known from an earlier block of the same day.
            """
            CREATE TABLE blocks (
                id INTEGER PRIMARY KEY,
                tenant TEXT NOT NULL,
                day TEXT NOT NULL,
                level INTEGER NOT NULL,
                samples_name TEXT NOT NULL UNIQUE,
                symbols_name TEXT,
                samples_bytes BIGINT NOT NULL,
                symbols_bytes BIGINT NOT NULL,
                row_count BIGINT NOT NULL,
                time_min_ns BIGINT NOT NULL,
                time_max_ns BIGINT NOT NULL
            )
            """,
            "CREATE INDEX blocks_by_time ON blocks (tenant, day, time_max_ns)",
            """
            CREATE TABLE block_series (
                block_id BIGINT NOT NULL,
                fingerprint BIGINT NOT NULL,
                time_min_ns BIGINT NOT NULL,
                time_max_ns BIGINT NOT NULL,
                PRIMARY KEY (block_id, fingerprint)
            ) WITHOUT ROWID
            """,
            # A series has one row for each UTC day that it has profiles in: label queries then follow the
            # time range, and retention drops whole days.
            """
            CREATE TABLE series (
                tenant TEXT NOT NULL,
                day TEXT NOT NULL,
                fingerprint BIGINT NOT NULL,
                service TEXT NOT NULL,
                profile_type TEXT NOT NULL,
                labels TEXT NOT NULL,
                time_min_ns BIGINT NOT NULL,
                time_max_ns BIGINT NOT NULL,
                PRIMARY KEY (tenant, day, fingerprint)
            ) WITHOUT ROWID
            """,
            # The ids of stored profiles, until no retry of them can be accepted any more.
            """
            CREATE TABLE profile_ids (
                tenant TEXT NOT NULL,
                series BIGINT NOT NULL,
                profile_id BLOB NOT NULL,
                content BIGINT NOT NULL,
                forget_at_h BIGINT NOT NULL,
                PRIMARY KEY (tenant, series, profile_id, content)
            ) WITHOUT ROWID
            """,
            "CREATE INDEX profile_ids_by_age ON profile_ids (forget_at_h)",
            # Files whose blocks are gone from the catalog, kept a while for queries that still read them.
            """
            CREATE TABLE removed_files (
                name TEXT PRIMARY KEY,
                removed_at_s BIGINT NOT NULL
            )
            """,
        ),
    ),
    (
        2,
        (
            # Compacted blocks: the file that time series read, and what decides when a block is due. CRC-32
            # of each file; NULL where an older version wrote it.
            "ALTER TABLE blocks ADD COLUMN totals_name TEXT",
            "ALTER TABLE blocks ADD COLUMN totals_bytes BIGINT NOT NULL DEFAULT 0",
            "ALTER TABLE blocks ADD COLUMN created_at_s BIGINT NOT NULL DEFAULT 0",
            "ALTER TABLE blocks ADD COLUMN samples_crc BIGINT",
            "ALTER TABLE blocks ADD COLUMN symbols_crc BIGINT",
            "ALTER TABLE blocks ADD COLUMN totals_crc BIGINT",
            # Work on one tenant's day, claimed by lease. Commits make it due, who did the work sets it back.
            """
            CREATE TABLE jobs (
                id INTEGER PRIMARY KEY,
                kind TEXT NOT NULL,
                tenant TEXT NOT NULL,
                day TEXT NOT NULL,
                due_at_s BIGINT NOT NULL,
                lease_until_s BIGINT NOT NULL,
                worker TEXT NOT NULL,
                UNIQUE (kind, tenant, day)
            )
            """,
            "INSERT INTO jobs (kind, tenant, day, due_at_s, lease_until_s, worker)"
            " SELECT DISTINCT 'compact', tenant, day, 0, 0, '' FROM blocks",
        ),
    ),
    (
        3,
        (
            # Roll-ups of compacted blocks.
            "ALTER TABLE blocks ADD COLUMN hours_name TEXT",
            "ALTER TABLE blocks ADD COLUMN hours_bytes BIGINT NOT NULL DEFAULT 0",
            "ALTER TABLE blocks ADD COLUMN hours_crc BIGINT",
            "ALTER TABLE blocks ADD COLUMN days_name TEXT",
            "ALTER TABLE blocks ADD COLUMN days_bytes BIGINT NOT NULL DEFAULT 0",
            "ALTER TABLE blocks ADD COLUMN days_crc BIGINT",
            # Quarantine: 0 where the file is damaged. Such a block is not merged; nobody reads the file.
            "ALTER TABLE blocks ADD COLUMN samples_whole BIGINT NOT NULL DEFAULT 1",
            "ALTER TABLE blocks ADD COLUMN symbols_whole BIGINT NOT NULL DEFAULT 1",
        ),
    ),
    (
        4,
        (
            # What the users of a tenant have set in their pages.
            """
            CREATE TABLE settings (
                tenant TEXT NOT NULL,
                name TEXT NOT NULL,
                value TEXT NOT NULL,
                modified_at_ms BIGINT NOT NULL,
                PRIMARY KEY (tenant, name)
            )
            """,
            # Single profiles that somebody uploaded to look at.
            """
            CREATE TABLE adhoc_profiles (
                tenant TEXT NOT NULL,
                id TEXT NOT NULL,
                name TEXT NOT NULL,
                uploaded_at_ms BIGINT NOT NULL,
                body BLOB NOT NULL,
                PRIMARY KEY (tenant, id)
            )
            """,
        ),
    ),
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables to this version's state, in one transaction.

    Raises:
        StorageError: a newer version has written the catalog.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations (version BIGINT PRIMARY KEY, applied_at_s BIGINT)"
        )
        (current,) = connection.execute("SELECT COALESCE(MAX(version), 0) FROM migrations").fetchone()
        newest = MIGRATIONS[-1][0]
        if current > newest:
            raise StorageError(
                f"the catalog has schema version {current}, this server knows up to {newest}; run the newer"
                " flamewire-server again, or another --data"
            )
        for version, statements in MIGRATIONS:
            if version > current:
                for statement in statements:
                    connection.execute(statement)
                connection.execute("INSERT INTO migrations VALUES (?, ?)", (version, int(time.time())))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
