"""Retention: whole days leave the catalog, their files a while later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flamewire_server.model.time_range import TimeRange
from flamewire_server.storage.catalog import Catalog, NewBlock, NewSeries
from flamewire_server.storage.local_store import LocalStore
from flamewire_server.storage.retention import FILE_GRACE_S, apply_retention

DAY_S = 86400
DAYS = ("2026-11-21", "2026-11-22", "2026-11-23")
START_S = 1_795_219_200  # of DAYS[0]
NOON_OF_LAST_S = START_S + 2 * DAY_S + DAY_S // 2


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[tuple[Catalog, LocalStore]]:
    store = LocalStore(tmp_path)
    catalog = Catalog(tmp_path / "catalog.sqlite")
    for index, day in enumerate(DAYS):
        name = store.write("anonymous", day, "block", b"x")
        time_ns = (START_S + index * DAY_S + 10) * 10**9
        series = NewSeries(1, "shop", "cpu", [("service_name", "shop")], time_ns, time_ns)
        catalog.commit([NewBlock("anonymous", day, name, None, 1, 0, 1, time_ns, time_ns, [series])], [])
    yield catalog, store
    catalog.close()
    store.close()


def days_with_series(catalog: Catalog) -> list[str]:
    found = []
    for index, day in enumerate(DAYS):
        start_ns = (START_S + index * DAY_S) * 10**9
        if catalog.series("anonymous", TimeRange(start_ns, start_ns + DAY_S * 10**9 - 1)):
            found.append(day)
    return found


def days_with_files(store: LocalStore) -> list[str]:
    return [day for day in DAYS if Path(store.path_of(f"anonymous/{day}/block.parquet")).exists()]


def test_a_day_goes_when_all_of_it_is_too_old(parts: tuple[Catalog, LocalStore]) -> None:
    catalog, store = parts
    # Half a day back from noon reaches midnight: the day before has no moment inside the retention.
    assert apply_retention(catalog, store, retention_s=DAY_S / 2, now_s=NOON_OF_LAST_S) == 2
    assert days_with_series(catalog) == [DAYS[2]]


def test_a_day_stays_while_a_moment_of_it_is_young_enough(parts: tuple[Catalog, LocalStore]) -> None:
    catalog, store = parts
    assert apply_retention(catalog, store, retention_s=DAY_S, now_s=NOON_OF_LAST_S) == 1
    assert days_with_series(catalog) == [DAYS[1], DAYS[2]]


def test_files_stay_for_running_queries_and_then_go(parts: tuple[Catalog, LocalStore]) -> None:
    catalog, store = parts
    apply_retention(catalog, store, retention_s=DAY_S, now_s=NOON_OF_LAST_S)
    apply_retention(catalog, store, retention_s=DAY_S, now_s=NOON_OF_LAST_S + FILE_GRACE_S)
    assert days_with_files(store) == list(DAYS)
    # A restart in between does not take them for orphans.
    assert store.sweep(catalog.file_names()) == 0
    apply_retention(catalog, store, retention_s=DAY_S, now_s=NOON_OF_LAST_S + FILE_GRACE_S + 1)
    assert days_with_files(store) == [DAYS[1], DAYS[2]]
    assert catalog.removed_files(NOON_OF_LAST_S * 2) == []


def test_zero_keeps_everything(parts: tuple[Catalog, LocalStore]) -> None:
    catalog, store = parts
    assert apply_retention(catalog, store, retention_s=0, now_s=NOON_OF_LAST_S * 2) == 0
    assert days_with_series(catalog) == list(DAYS)


def test_tenants_may_keep_their_profiles_for_other_times(parts: tuple[Catalog, LocalStore]) -> None:
    catalog, store = parts
    for index, day in enumerate(DAYS):
        name = store.write("long", day, "block", b"x")
        time_ns = (START_S + index * DAY_S) * 10**9
        catalog.commit([NewBlock("long", day, name, None, 1, 0, 1, time_ns, time_ns, [])], [])
    kept_s = {"anonymous": DAY_S / 2, "long": 0.0}
    removed = apply_retention(
        catalog, store, retention_s=1, now_s=NOON_OF_LAST_S, retention_of=lambda tenant: kept_s[tenant]
    )
    assert removed == 2
    assert days_with_series(catalog) == [DAYS[2]]
    assert catalog.time_bounds_ms("long") == (START_S * 1000, (START_S + 2 * DAY_S) * 1000)
