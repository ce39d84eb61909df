"""A store that an earlier version left is opened, answers, and is compacted."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest
from stored_profiles import EVER, START_S, Question, Sample, StoredProfiles, draw_profile, expected

from flamewire_server.errors import StorageError
from flamewire_server.storage.schema import MIGRATIONS

ALWAYS = Question("", EVER.start_ns, EVER.end_ns)
NEWEST = MIGRATIONS[-1][0]


def make_older(folder: Path, version: int) -> list[Sample]:
    """Commit blocks, then give the catalog the tables of an earlier version; returns the samples."""
    stored = StoredProfiles(folder)
    samples = []
    for number in range(6):
        stored.push(profile := draw_profile(random.Random(number), START_S * 10**9 + number))
        samples += profile
    stored.close()
    path = folder / "catalog.sqlite"
    new = sqlite3.connect(path)
    old = sqlite3.connect(folder / "older.sqlite")
    for number, statements in MIGRATIONS:
        if number <= version:
            for statement in statements:
                old.execute(statement)
    old.execute("CREATE TABLE migrations (version BIGINT PRIMARY KEY, applied_at_s BIGINT)")
    old.executemany("INSERT INTO migrations VALUES (?, 0)", [(number,) for number in range(1, version + 1)])
    for (table,) in old.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        if table == "migrations":
            continue
        columns = ", ".join(row[1] for row in old.execute(f"PRAGMA table_info({table})"))
        rows = new.execute(f"SELECT {columns} FROM {table}").fetchall()
        marks = ", ".join("?" * (columns.count(",") + 1))
        old.executemany(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})", rows)
    old.commit()
    old.close()
    new.close()
    for name in ("catalog.sqlite-wal", "catalog.sqlite-shm"):
        (folder / name).unlink(missing_ok=True)
    (folder / "older.sqlite").rename(path)
    return samples


@pytest.mark.parametrize("version", range(1, NEWEST))
def test_every_earlier_version_is_brought_up(tmp_path: Path, version: int) -> None:
    samples = make_older(tmp_path, version)
    stored = StoredProfiles(tmp_path)
    assert stored.swept == 0
    assert stored.answer(ALWAYS)[:2] == expected(samples, ALWAYS)
    stored.push(profile := draw_profile(random.Random(9), START_S * 10**9))
    samples += profile
    stored.now_s += 10**5
    stored.compact_due()
    assert max(stored.levels()) > 0
    assert stored.answer(ALWAYS)[:2] == expected(samples, ALWAYS)
    stored.close()
    # Opened again there is nothing left to do.
    again = StoredProfiles(tmp_path)
    assert again.answer(ALWAYS)[:2] == expected(samples, ALWAYS)
    again.close()


def test_blocks_of_an_earlier_layout_above_level_0_are_merged_with_new_ones(tmp_path: Path) -> None:
    """Compaction wrote samples with series, id and time in each row up to schema version 2."""
    samples = make_older(tmp_path, 2)
    with sqlite3.connect(tmp_path / "catalog.sqlite") as connection:
        connection.execute("UPDATE blocks SET level = 1 WHERE id % 2 = 0")
    stored = StoredProfiles(tmp_path)
    stored.now_s += 10**5
    stored.compact_due()
    assert stored.answer(ALWAYS)[:2] == expected(samples, ALWAYS)
    stored.close()


def test_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    make_older(tmp_path, NEWEST)
    with sqlite3.connect(tmp_path / "catalog.sqlite") as connection:
        connection.execute("INSERT INTO migrations VALUES (?, 0)", (NEWEST + 1,))
    with pytest.raises(StorageError, match="schema version"):
        StoredProfiles(tmp_path)
