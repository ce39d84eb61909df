"""One commit: all or nothing on disk and in the catalog, each profile once, whatever fails in between."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from flamewire_server._native import Encoder, Limits, decode_push
from flamewire_server._proto.google.v1 import profile_pb2
from flamewire_server._proto.push.v1 import push_pb2
from flamewire_server.config import Config
from flamewire_server.errors import RequestError, StorageError
from flamewire_server.ingest import block_writer
from flamewire_server.ingest.block_writer import BlockWriter, Push, Stored
from flamewire_server.model.time_range import TimeRange
from flamewire_server.overrides import TenantConfigs
from flamewire_server.storage.catalog import Catalog, DuplicateError
from flamewire_server.storage.local_store import LocalStore

EVER = TimeRange.from_ms(0, 253_402_300_799_000)


class FaultyCatalog(Catalog):
    """The real catalog, whose commits fail as the test wants: before they are done, or after."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.before: list[Exception] = []
        self.after: list[Exception] = []

    def commit(self, blocks: Sequence[Any], ids: Sequence[Any]) -> None:
        if self.before:
            raise self.before.pop()
        super().commit(blocks, ids)
        if self.after:
            raise self.after.pop()


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = LocalStore(folder)
        self.catalog = FaultyCatalog(folder / "catalog.sqlite")
        self.encoder = Encoder()
        self.writer = BlockWriter(
            store=self.store, catalog=self.catalog, encoder=self.encoder, limits=Limits()
        )

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "blocks").rglob("*") if path.is_file())

    def close(self) -> None:
        self.catalog.close()
        self.store.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def make_push(
    *, name: str = "main", uid: str | None = None, tenant: str = "anonymous", family: str = "process_cpu"
) -> Push:
    texts = ["", "cpu", "nanoseconds", name, "program.py"]
    profile = profile_pb2.Profile(string_table=texts, time_nanos=time.time_ns(), period=1)
    profile.sample_type.add(type=1, unit=2)
    profile.period_type.type, profile.period_type.unit = 1, 2
    profile.function.add(id=1, name=3, filename=4)
    profile.location.add(id=1).line.add(function_id=1, line=1)
    profile.sample.add(location_id=[1], value=[7])
    request = push_pb2.PushRequest()
    series = request.series.add()
    for label, value in (("__name__", family), ("service_name", "shop")):
        series.labels.add(name=label, value=value)
    series.samples.add(raw_profile=profile.SerializeToString(), ID=uid or str(uuid.uuid4()))
    return Push(tenant, request.SerializeToString(), "identity", decode_push)


def counts(outcome: Stored | RequestError) -> tuple[int, int, int]:
    assert isinstance(outcome, Stored)
    return outcome.profiles, outcome.duplicates, outcome.conflicts


def test_pushes_of_a_group_share_one_block_of_their_tenant(bench: Bench) -> None:
    pushes = [make_push(), make_push(name="other"), make_push(tenant="two")]
    assert [counts(outcome) for outcome in bench.writer.commit(pushes)] == [(1, 0, 0)] * 3
    assert len(bench.files()) == 4
    assert bench.store.sweep(bench.catalog.file_names()) == 0


def test_a_refused_push_leaves_the_others_of_its_group_stored(bench: Bench) -> None:
    bad = Push("anonymous", b"\xff", "identity", decode_push)
    refused, stored = bench.writer.commit([bad, make_push()])
    assert isinstance(refused, RequestError)
    assert counts(stored) == (1, 0, 0)


def test_the_same_profile_twice_in_a_group_counts_once(bench: Bench) -> None:
    push = make_push()
    assert [counts(outcome) for outcome in bench.writer.commit([push, push])] == [(1, 0, 0), (0, 1, 0)]
    assert counts(bench.writer.commit([push])[0]) == (0, 1, 0)
    assert len(bench.files()) == 2


def test_another_content_under_a_known_id_is_stored_and_counted(bench: Bench) -> None:
    uid = str(uuid.uuid4())
    one, two = make_push(uid=uid), make_push(uid=uid, name="other")
    assert [counts(outcome) for outcome in bench.writer.commit([one, two])] == [(1, 0, 0), (1, 0, 1)]


def test_a_catalog_that_fails_leaves_no_file_and_the_retry_stores_everything(bench: Bench) -> None:
    push = make_push()
    bench.catalog.before = [StorageError("database is full")]
    with pytest.raises(StorageError):
        bench.writer.commit([push])
    assert bench.files() == []
    assert counts(bench.writer.commit([push])[0]) == (1, 0, 0)
    # The symbols too: those of the failed commit were not taken for durable.
    assert len(bench.files()) == 2


def test_a_disk_that_fails_leaves_no_file(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StorageError("cannot fsync")

    monkeypatch.setattr(bench.store, "sync_folders", fail)
    with pytest.raises(StorageError):
        bench.writer.commit([make_push()])
    assert bench.files() == []
    assert bench.catalog.series("anonymous", EVER) == []


def test_files_stay_where_the_commit_may_be_found_done_after_a_restart(bench: Bench) -> None:
    push = make_push()
    bench.catalog.after = [StorageError("disk I/O error", uncertain=True)]
    with pytest.raises(StorageError):
        bench.writer.commit([push])
    # Here it was done: its files are needed, and the retry is a duplicate.
    assert bench.catalog.file_names() == {
        str(path.relative_to(bench.folder / "blocks"))
        for path in (bench.folder / "blocks").rglob("*.parquet")
    }
    assert counts(bench.writer.commit([push])[0]) == (0, 1, 0)


def test_an_id_that_another_writer_commits_in_between_is_looked_up_again(bench: Bench) -> None:
    push = make_push()
    bench.catalog.before = [DuplicateError()]
    assert counts(bench.writer.commit([push])[0]) == (1, 0, 0)
    assert len(bench.files()) == 2


def test_ids_that_are_new_and_known_for_ever_are_no_endless_loop(bench: Bench) -> None:
    bench.catalog.before = [DuplicateError() for _ in range(10)]
    with pytest.raises(StorageError, match="again and again"):
        bench.writer.commit([make_push()])
    assert bench.files() == []


def test_ids_are_remembered_longer_than_their_profile_is_accepted(bench: Bench) -> None:
    push = make_push()
    bench.writer.commit([push])
    last_accepted_h = (time.time_ns() + Limits().reject_older_than_ns) // (3600 * 10**9)
    assert bench.catalog.forget_ids(last_accepted_h + 1) == 0
    assert bench.catalog.forget_ids(last_accepted_h + 4) == 1


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Bench]:
    """A bench whose tenant `few` may have two series."""
    path = tmp_path / "overrides.yaml"
    path.write_text("overrides: {few: {max_global_series_per_tenant: 2}}")
    bench = Bench(tmp_path / "data")
    bench.writer = BlockWriter(
        store=bench.store,
        catalog=bench.catalog,
        encoder=bench.encoder,
        limits=Limits(),
        configs=TenantConfigs(Config(overrides_file=path)),
    )
    yield bench
    bench.close()


def test_series_beyond_the_tenants_limit_are_refused_and_known_ones_taken(limited: Bench) -> None:
    pushes = [make_push(tenant="few", family=f"family_{number}") for number in (1, 2, 3, 1)]
    pushes.append(make_push(tenant="many", family="family_9"))
    first, second, third, again, other = limited.writer.commit(pushes)
    assert [counts(one)[0] for one in (first, second, again, other)] == [1, 1, 1, 1]
    assert isinstance(third, RequestError)
    assert (third.code, third.reason) == ("resource_exhausted", "series_limit")
    (late,) = limited.writer.commit([make_push(tenant="few", family="family_4")])
    assert isinstance(late, RequestError)
    assert counts(limited.writer.commit([make_push(tenant="few", family="family_2")])[0]) == (1, 0, 0)
    assert len(limited.catalog.series("few", EVER)) == 2


def test_pushes_that_unfold_far_are_written_in_parts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_writer, "_MAX_DECODED_BYTES", 1)
    outcomes = bench.writer.commit([make_push(uid="same"), make_push(), make_push()])
    assert len([name for name in bench.files() if "samples" in name]) == 3
    assert [counts(outcome) for outcome in outcomes] == [(1, 0, 0)] * 3
    # What one part stored is acknowledged although the next one fails.
    real_commit, calls = bench.catalog.commit, []

    def commit(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise StorageError("the disk is full")
        real_commit(*arguments)

    monkeypatch.setattr(bench.catalog, "commit", commit)
    stored, *rest = bench.writer.commit([make_push(), make_push(), make_push()])
    assert counts(stored) == (1, 0, 0)
    assert [(one.reason, one.retry_after_s) for one in rest if isinstance(one, RequestError)] == [
        ("storage", 1)
    ] * 2
