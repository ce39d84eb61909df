"""The group commit: at once when idle, together when busy, and no push is lost in silence."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flamewire_server.errors import OverloadedError, RequestError, StorageError
from flamewire_server.ingest import committer as committer_module
from flamewire_server.ingest.block_writer import Push, Stored
from flamewire_server.ingest.committer import Committer
from flamewire_server.metrics import Metrics

DEADLINE_S = 20
STORED = Stored(profiles=1, duplicates=0, conflicts=0, samples=1, decoded_bytes=1)


def push(body: bytes = b"x") -> Push:
    def decode(*_: Any, **__: Any) -> Any:
        raise AssertionError("the fake commit decodes nothing")

    return Push("anonymous", body, "identity", decode)


class FakeDisk:
    """A commit that the test holds up, and that fails on request."""

    def __init__(self) -> None:
        self.groups: list[list[bytes]] = []
        self.started = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.failures: list[Exception] = []
        self.poison: bytes | None = None

    def commit(self, pushes: Sequence[Push]) -> list[Stored | RequestError]:
        self.groups.append([push.body for push in pushes])
        self.started.release()
        assert self.gate.wait(DEADLINE_S)
        if self.failures:
            raise self.failures.pop()
        if self.poison in self.groups[-1]:
            raise RuntimeError("a defect")
        refused = RequestError("invalid_argument", "no", reason="invalid_profile")
        return [refused if push.body == b"bad" else STORED for push in pushes]


class Bench:
    def __init__(self) -> None:
        self.disk = FakeDisk()
        self.now_s = 100.0
        self.metrics = Metrics()
        self.executor = ThreadPoolExecutor(1)
        self.committer = Committer(
            self.disk.commit, executor=self.executor, metrics=self.metrics, clock_s=lambda: self.now_s
        )

    async def started(self) -> None:
        assert await asyncio.to_thread(self.disk.started.acquire, timeout=DEADLINE_S)

    def submit(self, body: bytes) -> asyncio.Task[Stored]:
        return asyncio.create_task(self.committer.submit(push(body)))


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.disk.gate.set()
    bench.executor.shutdown()


def run(coroutine: Any) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(DEADLINE_S):
            return await coroutine

    return asyncio.run(bounded())


def test_an_idle_server_commits_at_once(bench: Bench) -> None:
    async def main() -> None:
        assert await bench.submit(b"a") == STORED
        assert await bench.submit(b"b") == STORED

    run(main())
    assert bench.disk.groups == [[b"a"], [b"b"]]


def test_pushes_that_come_during_a_commit_are_committed_together(bench: Bench) -> None:
    async def main() -> None:
        bench.disk.gate.clear()
        first = bench.submit(b"a")
        await bench.started()
        later = [bench.submit(body) for body in (b"b", b"c", b"d")]
        await asyncio.sleep(0)
        bench.disk.gate.set()
        await asyncio.gather(first, *later)

    run(main())
    assert bench.disk.groups == [[b"a"], [b"b", b"c", b"d"]]


def test_nothing_is_acknowledged_before_its_commit_is_over(bench: Bench) -> None:
    async def main() -> None:
        bench.disk.gate.clear()
        task = bench.submit(b"a")
        await bench.started()
        assert not task.done()
        bench.disk.gate.set()
        await task

    run(main())


def test_a_refused_push_leaves_the_others_of_its_group_alone(bench: Bench) -> None:
    async def main() -> None:
        bench.disk.gate.clear()
        first = bench.submit(b"a")
        await bench.started()
        bad, good = bench.submit(b"bad"), bench.submit(b"good")
        await asyncio.sleep(0)
        bench.disk.gate.set()
        await first
        assert await good == STORED
        with pytest.raises(RequestError) as caught:
            await bad
        assert caught.value.code == "invalid_argument"

    run(main())


def test_a_disk_that_fails_makes_its_pushes_unavailable_and_the_next_ones_work(bench: Bench) -> None:
    async def main() -> None:
        bench.disk.failures = [StorageError("No space left on device")]
        with pytest.raises(OverloadedError) as caught:
            await bench.submit(b"a")
        assert (caught.value.code, caught.value.retry_after_s) == ("unavailable", 1)
        assert "No space left" in (bench.committer.failing_because(within_s=15) or "")
        bench.now_s += 16
        assert bench.committer.failing_because(within_s=15) is None
        assert await bench.submit(b"b") == STORED

    run(main())
    assert "flamewire_commit_failures_total 1.0" in bench.metrics.render().decode()


def test_a_success_ends_the_failure(bench: Bench) -> None:
    async def main() -> None:
        bench.disk.failures = [StorageError("No space left on device")]
        with pytest.raises(OverloadedError):
            await bench.submit(b"a")
        await bench.submit(b"b")
        assert bench.committer.failing_because(within_s=15) is None

    run(main())


def test_a_push_that_trips_a_defect_fails_alone(bench: Bench) -> None:
    async def main() -> None:
        bench.disk.poison = b"poison"
        bench.disk.gate.clear()
        first = bench.submit(b"a")
        await bench.started()
        group = [bench.submit(body) for body in (b"b", b"poison", b"c")]
        await asyncio.sleep(0)
        bench.disk.gate.set()
        await first
        results = await asyncio.gather(*group, return_exceptions=True)
        assert results[0] == results[2] == STORED
        assert isinstance(results[1], RequestError)
        assert results[1].code == "internal"

    run(main())


def test_a_full_queue_refuses_and_asks_to_come_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer_module, "_MAX_WAITING_REQUESTS", 2)

    async def main() -> None:
        bench.disk.gate.clear()
        tasks = [bench.submit(b"a")]
        await bench.started()
        tasks += [bench.submit(b"b"), bench.submit(b"c")]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError) as caught:
            await bench.submit(b"d")
        assert (caught.value.code, caught.value.retry_after_s) == ("resource_exhausted", 1)
        bench.disk.gate.set()
        await asyncio.gather(*tasks)

    run(main())


def test_a_group_is_bounded_in_number_and_bytes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer_module, "_MAX_REQUESTS", 3)
    monkeypatch.setattr(committer_module, "_MAX_BYTES", 10)

    async def main() -> None:
        bench.disk.gate.clear()
        tasks = [bench.submit(b"a")]
        await bench.started()
        tasks += [bench.submit(body) for body in (b"1", b"2", b"3", b"4", b"5" * 8, b"6" * 20, b"7")]
        await asyncio.sleep(0)
        bench.disk.gate.set()
        await asyncio.gather(*tasks)

    run(main())
    assert [len(group) for group in bench.disk.groups] == [1, 3, 2, 1, 1]


def test_draining_answers_what_was_taken_and_refuses_the_rest(bench: Bench) -> None:
    async def main() -> None:
        bench.disk.gate.clear()
        taken = [bench.submit(b"a"), bench.submit(b"b")]
        await bench.started()
        drained = asyncio.create_task(bench.committer.drain())
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError) as caught:
            await bench.submit(b"c")
        assert caught.value.code == "unavailable"
        bench.disk.gate.set()
        await drained
        assert all(task.done() for task in taken)
        assert [await task for task in taken] == [STORED, STORED]

    run(main())


def test_a_client_that_goes_away_holds_nobody_up(bench: Bench) -> None:
    async def main() -> None:
        bench.disk.gate.clear()
        gone, stays = bench.submit(b"a"), bench.submit(b"b")
        await bench.started()
        gone.cancel()
        bench.disk.gate.set()
        assert await stays == STORED

    run(main())


def test_a_disk_that_hangs_is_a_503_for_those_who_come_and_no_loss_for_those_who_wait(bench: Bench) -> None:
    async def main() -> None:
        bench.disk.gate.clear()
        waiting = bench.submit(b"a")
        await bench.started()
        # A slow disk is a slow answer at first.
        bench.now_s += committer_module._MAX_COMMIT_S
        patient = bench.submit(b"b")
        await asyncio.sleep(0)
        bench.now_s += 1
        with pytest.raises(OverloadedError) as refused:
            await bench.submit(b"c")
        assert (refused.value.code, refused.value.reason) == ("unavailable", "slow_storage")
        assert "not finished" in (bench.committer.failing_because(within_s=1) or "")
        bench.disk.gate.set()
        assert [await waiting, await patient] == [STORED, STORED]
        assert await bench.submit(b"c") == STORED
        assert bench.committer.failing_because(within_s=1) is None

    run(main())
