"""kill -9 and a refusing disk at every step of a commit and of a merge: nothing is lost, nothing doubled."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from stored_profiles import EVER, START_S, Question, Sample, StoredProfiles, draw_profile, expected

from flamewire_server.errors import StorageError
from flamewire_server.storage.compaction_queue import FIRST_DELAY_S
from flamewire_server.storage.retention import FILE_GRACE_S, apply_retention

START_NS = START_S * 10**9
ALWAYS = Question("", EVER.start_ns, EVER.end_ns)
LEASE_S = 60
MOST_STEPS = 400
DISK_CALLS = ("open", "write", "fsync", "rename", "unlink")


@contextmanager
def steps_counted(on_step: Callable[[int], None], *, statements: bool) -> Iterator[None]:
    """Call on_step with 1, 2, ... before every call that changes the disk, and every SQL statement."""
    count = 0

    def step(*_: object) -> None:
        nonlocal count
        count += 1
        on_step(count)

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            step()
            return call(*arguments, **options)

        return wrapper

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = real_connect(*arguments, **options)
        if statements:
            connection.set_trace_callback(step)
        return connection

    real_connect = sqlite3.connect
    with (
        mock.patch.object(sqlite3, "connect", connect),
        mock.patch.multiple(os, **{name: counted(getattr(os, name)) for name in DISK_CALLS}),
    ):
        yield


def make_folder(folder: Path) -> list[Sample]:
    """Commit three blocks; returns their samples."""
    draw = random.Random(1)
    profiles = [draw_profile(draw, START_NS + number) for number in range(3)]
    stored = StoredProfiles(folder)
    for profile in profiles:
        stored.push(profile)
    stored.close()
    return [sample for profile in profiles for sample in profile]


def commit_compact_and_clean(folder: Path, profile: list[Sample], acknowledge: Callable[[], object]) -> None:
    stored = StoredProfiles(folder)
    stored.push(profile)
    acknowledge()
    stored.now_s += FIRST_DELAY_S
    stored.compact_due()
    apply_retention(stored.catalog, stored.store, retention_s=0, now_s=stored.now_s + FILE_GRACE_S + 1)
    stored.close()


def run_until_killed(folder: Path, profile: list[Sample], kill_at: int) -> tuple[bool, bool]:
    """Do it all in a child that kills itself; returns whether it came to its end, and acknowledged."""

    def kill(step: int) -> None:
        if step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    read_end, write_end = os.pipe()
    real_write = os.write
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with steps_counted(kill, statements=True):
                commit_compact_and_clean(folder, profile, lambda: real_write(write_end, b"!"))
            status = 0
        finally:
            os._exit(status)
    os.close(write_end)
    acknowledged = os.read(read_end, 1) == b"!"
    os.close(read_end)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFEXITED(status), acknowledged


def test_kill_9_at_every_step_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    samples = make_folder(tmp_path / "prepared")
    profile = draw_profile(random.Random(9), START_NS + 9)
    finished = False
    for kill_at in range(1, MOST_STEPS):
        folder = tmp_path / str(kill_at)
        shutil.copytree(tmp_path / "prepared", folder)
        finished, acknowledged = run_until_killed(folder, profile, kill_at)
        stored = StoredProfiles(folder)
        without, with_it = expected(samples, ALWAYS), expected([*samples, *profile], ALWAYS)
        answer = stored.answer(ALWAYS)
        assert answer[:2] in ([with_it] if acknowledged else [with_it, without]), f"killed at {kill_at}"
        # What the killed worker had claimed is done by the next one.
        stored.now_s += FIRST_DELAY_S + LEASE_S
        stored.compact_due()
        assert stored.levels() == [1]
        assert stored.answer(ALWAYS) == answer
        apply_retention(stored.catalog, stored.store, retention_s=0, now_s=stored.now_s + FILE_GRACE_S + 1)
        assert stored.files_on_disk() == stored.catalog.file_names()
        stored.close()
        shutil.rmtree(folder)
        if finished:
            break
    assert finished
    # A commit and a merge have that many steps at least; fewer were counted if a patch missed its target.
    assert kill_at > 40


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_any_one_call_costs_no_profile(tmp_path: Path, code: int) -> None:
    profile = draw_profile(random.Random(9), START_NS + 9)
    refused_at: int | None = 0
    for fail_at in range(1, MOST_STEPS):
        folder = tmp_path / str(fail_at)
        samples = make_folder(folder)
        stored = StoredProfiles(folder)
        refused_at = None

        def refuse(step: int, fail_at: int = fail_at) -> None:
            nonlocal refused_at
            if step == fail_at:
                refused_at = step
                raise OSError(code, os.strerror(code))

        acknowledged = True
        with steps_counted(refuse, statements=False):
            try:
                stored.push(profile)
            except StorageError:
                acknowledged = False
            stored.now_s += FIRST_DELAY_S
            stored.compact_due()
        everything = expected([*samples, *profile], ALWAYS)
        assert stored.answer(ALWAYS)[:2] == (everything if acknowledged else expected(samples, ALWAYS))
        if not acknowledged:
            stored.push(profile)
        stored.now_s += FIRST_DELAY_S + 2 * LEASE_S
        stored.compact_due()
        assert set(stored.levels()) == {1}
        assert stored.answer(ALWAYS)[:2] == everything
        apply_retention(stored.catalog, stored.store, retention_s=0, now_s=stored.now_s + FILE_GRACE_S + 1)
        stored.store.sweep(stored.catalog.file_names())
        assert stored.files_on_disk() == stored.catalog.file_names()
        stored.close()
        shutil.rmtree(folder)
        if refused_at is None:
            break
    assert refused_at is None
    assert fail_at > 15
