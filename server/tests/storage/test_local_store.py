"""The folder store: whole files or none, one owner, no leftovers."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from flamewire_server.errors import StorageError
from flamewire_server.storage.local_store import LocalStore, new_block_name


@pytest.fixture
def store(tmp_path: Path):
    store = LocalStore(tmp_path / "data")
    yield store
    store.close()


def test_a_file_is_read_back_under_its_name(store: LocalStore) -> None:
    name = store.write("anonymous", "2026-11-23", "a.samples", b"x" * 100_000)
    assert name == "anonymous/2026-11-23/a.samples.parquet"
    store.sync_folders([name])
    assert Path(store.path_of(name)).read_bytes() == b"x" * 100_000


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_disk_that_fails_leaves_nothing_behind(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    store.write("anonymous", "2026-11-23", "before", b"x")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StorageError, match="No space left"):
        store.write("anonymous", "2026-11-23", "a.samples", b"x")
    monkeypatch.undo()
    folder = Path(store.path_of("anonymous/2026-11-23"))
    assert [path.name for path in folder.iterdir()] == ["before.parquet"]


def test_the_sweep_removes_what_no_commit_knows(store: LocalStore) -> None:
    kept = store.write("anonymous", "2026-11-23", "kept", b"x")
    lost = store.write("anonymous", "2026-11-22", "lost", b"x")
    Path(store.path_of("anonymous/2026-11-23/torn.tmp")).write_bytes(b"x")
    assert store.sweep({kept}) == 2
    assert Path(store.path_of(kept)).exists()
    assert not Path(store.path_of(lost)).parent.exists()
    # The folder is made again when it is needed again.
    store.write("anonymous", "2026-11-22", "new", b"x")


def test_a_second_process_is_refused_the_folder(store: LocalStore, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="another flamewire-server"):
        LocalStore(tmp_path / "data")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot use"):
        LocalStore(tmp_path / "file")


def test_block_names_are_version_7_uuids_that_do_not_repeat() -> None:
    names = {new_block_name() for _ in range(1000)}
    assert len(names) == 1000
    assert all(len(name) == 36 and name[14] == "7" and name[19] in "89ab" for name in names)
