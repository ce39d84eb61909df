"""The catalog: commits whole or not at all, finds series and blocks by time, forgets in order."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from flamewire_server.errors import StorageError
from flamewire_server.model.time_range import TimeRange
from flamewire_server.storage.catalog import Catalog, DuplicateError, NewBlock, NewSeries, ProfileId

DAY_NS = 86400 * 10**9
DAY = "2026-11-23"
DAY_START_NS = 1_795_392_000 * 10**9
ID = ProfileId(-5, b"0123456789abcdef", 7)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog(tmp_path / "catalog.sqlite")
    yield catalog
    catalog.close()


def block(
    *, name: str, start_ns: int, end_ns: int, service: str = "shop", fingerprint: int = -1,
    symbols: bool = True,
    tenant: str = "anonymous", day: str = DAY,
) -> NewBlock:  # fmt: skip
    labels = [("__profile_type__", "cpu"), ("service_name", service)]
    return NewBlock(
        tenant, day, f"{name}.samples", f"{name}.symbols" if symbols else None, 10, 5, 3, start_ns, end_ns,
        [NewSeries(fingerprint, service, "cpu", labels, start_ns, end_ns)],
    )  # fmt: skip


def seconds(start: float, end: float) -> TimeRange:
    return TimeRange(DAY_START_NS + int(start * 1e9), DAY_START_NS + int(end * 1e9))


def add(catalog: Catalog, start: float, end: float, **fields: object) -> None:
    span = seconds(start, end)
    catalog.commit([block(start_ns=span.start_ns, end_ns=span.end_ns, **fields)], [])  # type: ignore[arg-type]


def test_a_commit_is_seen_by_the_next_query(catalog: Catalog) -> None:
    add(catalog, 10, 20, name="a")
    (series,) = catalog.series("anonymous", seconds(0, 100))
    assert series.labels.get("service_name") == "shop"
    files = catalog.files("anonymous", seconds(0, 100), [series])
    assert (files.samples, files.symbols) == (["a.samples"], ["a.symbols"])


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [(0, 9, False), (0, 10, True), (12, 13, True), (20, 30, True), (20.1, 30, False)],
)
def test_ranges_hold_both_ends(catalog: Catalog, start: float, end: float, found: bool) -> None:
    add(catalog, 10, 20, name="a")
    assert bool(catalog.series("anonymous", seconds(start, end))) is found


def test_a_tenant_sees_its_own_only(catalog: Catalog) -> None:
    add(catalog, 10, 20, name="a", tenant="one")
    assert catalog.series("two", seconds(0, 100)) == []
    assert catalog.series("one", seconds(0, 100)) != []


def test_a_query_reads_only_the_blocks_of_its_series_but_all_symbols_of_their_service(
    catalog: Catalog,
) -> None:
    add(catalog, 0, 1, name="first", fingerprint=1)
    add(catalog, 10, 11, name="later", fingerprint=2, symbols=False)
    add(catalog, 10, 11, name="other", fingerprint=3, service="other")
    (series,) = [one for one in catalog.series("anonymous", seconds(10, 11)) if one.service == "shop"]
    files = catalog.files("anonymous", seconds(10, 11), [series])
    assert files.samples == ["later.samples"]
    # The stacks of `later` were known from `first`, which lies outside the range.
    assert files.symbols == ["first.symbols"]


def test_many_series_at_once_find_their_blocks_too(catalog: Catalog) -> None:
    for number in range(600):
        add(catalog, 10, 11, name=f"b{number}", fingerprint=number, service=f"s{number}")
    series = catalog.series("anonymous", seconds(10, 11))
    assert len(series) == 600
    files = catalog.files("anonymous", seconds(10, 11), series)
    assert (len(files.samples), len(files.symbols)) == (600, 600)


def test_a_series_grows_with_later_blocks(catalog: Catalog) -> None:
    add(catalog, 10, 20, name="a")
    add(catalog, 30, 40, name="b")
    add(catalog, 5, 6, name="c")
    assert len(catalog.series("anonymous", seconds(0, 100))) == 1
    assert catalog.series("anonymous", seconds(5, 5))
    assert catalog.series("anonymous", seconds(40, 50))
    assert not catalog.series("anonymous", seconds(41, 50))


def test_a_known_id_fails_the_whole_commit(catalog: Catalog) -> None:
    catalog.commit([], [("anonymous", ID, 500)])
    span = seconds(0, 1)
    with pytest.raises(DuplicateError):
        catalog.commit(
            [block(name="a", start_ns=span.start_ns, end_ns=span.end_ns)],
            [("anonymous", ProfileId(1, b"x" * 16, 1), 500), ("anonymous", ID, 500)],
        )
    assert catalog.series("anonymous", seconds(0, 100)) == []
    assert catalog.known_contents("anonymous", [(1, b"x" * 16)]) == {}
    # The connection is not left inside a transaction.
    add(catalog, 0, 1, name="b")


def test_ids_are_known_per_tenant_series_and_id_with_each_content(catalog: Catalog) -> None:
    other = ProfileId(ID.series, ID.profile_id, 8)
    catalog.commit([], [("anonymous", ID, 500), ("anonymous", other, 500)])
    key = (ID.series, ID.profile_id)
    assert catalog.known_contents("anonymous", [key, (1, ID.profile_id)]) == {key: {7, 8}}
    assert catalog.known_contents("other", [key]) == {}
    many = [(number, b"y" * 16) for number in range(10_000)]
    assert catalog.known_contents("anonymous", [*many, key]) == {key: {7, 8}}


def test_ids_are_forgotten_when_their_hour_has_come(catalog: Catalog) -> None:
    catalog.commit([], [("anonymous", ID, 500)])
    assert catalog.forget_ids(500) == 0
    assert catalog.forget_ids(501) == 1


def test_every_file_is_known_until_it_is_forgotten(catalog: Catalog) -> None:
    add(catalog, 0, 1, name="a")
    add(catalog, 0, 1, name="b", symbols=False, day="2026-11-22", fingerprint=9)
    names = {"a.samples", "a.symbols", "b.samples"}
    assert catalog.file_names() == names
    assert catalog.remove_days("anonymous", DAY, now_s=1000) == 1
    assert catalog.file_names() == names
    assert catalog.removed_files(1001) == ["b.samples"]
    catalog.forget_files(["b.samples"])
    assert catalog.file_names() == {"a.samples", "a.symbols"}


def test_what_was_committed_is_there_after_reopening(catalog: Catalog, tmp_path: Path) -> None:
    add(catalog, 10, 20, name="a")
    catalog.close()
    again = Catalog(tmp_path / "catalog.sqlite")
    assert len(again.series("anonymous", seconds(0, 100))) == 1
    again.close()


def test_a_catalog_of_a_newer_version_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    catalog.close()
    with sqlite3.connect(tmp_path / "catalog.sqlite") as connection:
        connection.execute("INSERT INTO migrations VALUES (999, 0)")
    connection.close()
    with pytest.raises(StorageError, match="schema version 999"):
        Catalog(tmp_path / "catalog.sqlite")


def test_a_file_that_is_no_catalog_is_refused(tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StorageError, match="not a database"):
        Catalog(tmp_path / "catalog.sqlite")


def test_commits_are_durable_when_they_return(catalog: Catalog) -> None:
    connection = catalog.database.connection()
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    # 2 = FULL: the WAL is fsynced at every commit.
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
