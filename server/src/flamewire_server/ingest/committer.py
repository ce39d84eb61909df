"""Adaptive group commit: an idle server commits a push at once, a loaded one while the previous commit
runs."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from flamewire_server.errors import OverloadedError, RequestError, StorageError
from flamewire_server.ingest.block_writer import Push, Stored
from flamewire_server.ingest.rate import RateGate
from flamewire_server.log import EventLog
from flamewire_server.metrics import Metrics

__all__ = ["Commit", "Committer"]

Commit = Callable[[Sequence[Push]], "list[Stored | RequestError]"]

# Of one commit: bounds its memory and how long the pushes behind it wait.
_MAX_REQUESTS = 256
_MAX_BYTES = 8 << 20
# Of all pushes that wait: bounds the server's memory.
_MAX_WAITING_REQUESTS = 4096
# A commit that takes longer than this is a disk that hangs.
_MAX_COMMIT_S = 10
_log = EventLog(__name__)


class Committer:
    """Collects pushes and commits them in groups, on a thread of the executor, one group at a time.

    All methods belong to the event loop.

    Args:
        commit: commits a group; raises StorageError when nothing of it was stored.
        executor: has a thread free for commits.
        gate: the tenants' rates; None where there are none.
        clock_s: monotonic clock.
    """

    def __init__(
        self,
        commit: Commit,
        *,
        executor: Executor,
        metrics: Metrics,
        gate: RateGate | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._commit = commit
        self._executor = executor
        self._metrics = metrics
        self._gate = gate
        self._clock_s = clock_s
        self._waiting: deque[tuple[Push, asyncio.Future[Stored]]] = deque()
        # When the commit began that runs.
        self._since_s: float | None = None
        metrics.queue_requests.set_function(lambda: len(self._waiting))
        self._worker: asyncio.Task[None] | None = None
        self._closed = False
        self._failure: tuple[float, str] | None = None

    async def submit(self, push: Push) -> Stored:
        """Commit a push; returns when it is durable.

        Raises:
            RequestError: it is refused, or the server cannot take it now (then with a time to retry after).
        """
        if self._closed:
            raise OverloadedError(
                "unavailable", "the server is stopping; send the push again", reason="stopping"
            )
        if len(self._waiting) >= _MAX_WAITING_REQUESTS:
            raise OverloadedError(
                "resource_exhausted",
                f"{_MAX_WAITING_REQUESTS} pushes wait to be stored; send this one again after a"
                " second, with backoff",
                reason="queue_full",
            )
        if self._since_s is not None and self._clock_s() - self._since_s > _MAX_COMMIT_S:
            # Until then a slow disk is a slow answer. What waits still is answered when it is stored.
            raise OverloadedError(
                "unavailable",
                f"the disk has not finished a commit for {_MAX_COMMIT_S} s; send this again, with backoff",
                reason="slow_storage",
                retry_after_s=5,
            )
        if self._gate is not None:
            self._gate.check(push.tenant)
        outcome: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        self._waiting.append((push, outcome))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        stored = await outcome
        if self._gate is not None:
            self._gate.charge(push.tenant, stored.decoded_bytes)
        return stored

    async def drain(self) -> None:
        """Refuse new pushes and wait until those that were taken are answered."""
        self._closed = True
        if self._worker is not None:
            await self._worker

    def failing_because(self, *, within_s: float) -> str | None:
        """Say why the last commit failed, if it did and not longer ago than that."""
        if self._since_s is not None and self._clock_s() - self._since_s > _MAX_COMMIT_S:
            return f"the disk has not finished a commit for {_MAX_COMMIT_S} s"
        if self._failure is None or self._clock_s() - self._failure[0] > within_s:
            return None
        return self._failure[1]

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._commit_group(self._take_group())
        finally:
            self._worker = None

    def _take_group(self) -> list[tuple[Push, asyncio.Future[Stored]]]:
        group = [self._waiting.popleft()]
        size_bytes = len(group[0][0].body)
        while self._waiting and len(group) < _MAX_REQUESTS:
            size_bytes += len(self._waiting[0][0].body)
            if size_bytes > _MAX_BYTES:
                break
            group.append(self._waiting.popleft())
        return group

    async def _commit_group(self, group: list[tuple[Push, asyncio.Future[Stored]]]) -> None:
        started_s = self._since_s = self._clock_s()
        pushes = [push for push, _ in group]
        try:
            outcomes = await asyncio.get_running_loop().run_in_executor(self._executor, self._commit, pushes)
        except StorageError as error:
            self._metrics.commit_failures.inc()
            self._failure = (self._clock_s(), str(error))
            _log.error("commit_failed", requests=len(group), reason=str(error))
            _settle(group, [_unavailable()] * len(group))
            return
        except Exception as error:  # noqa: BLE001 - the root of the commit thread: a defect fails its pushes, not the server
            await self._isolate(group, error)
            return
        finally:
            self._since_s = None
        self._failure = None
        self._metrics.commit_requests.observe(len(group))
        self._metrics.commit_seconds.observe(self._clock_s() - started_s)
        _settle(group, outcomes)

    async def _isolate(self, group: list[tuple[Push, asyncio.Future[Stored]]], error: Exception) -> None:
        """Commit each push alone, so that one that trips a defect does not take others with it."""
        if len(group) > 1:
            for member in group:
                await self._commit_group([member])
            return
        _log.error("commit_defect", exc=error)
        message = "the server has a defect that this push brought up; its log has the traceback"
        _settle(group, [RequestError("internal", message, reason="defect")])


def _unavailable() -> OverloadedError:
    return OverloadedError(
        "unavailable",
        "the server cannot store profiles now (its log and /ready say why); send the push again, with"
        " backoff",
        reason="storage",
    )


def _settle(
    group: Sequence[tuple[Push, asyncio.Future[Stored]]], outcomes: Sequence[Stored | RequestError]
) -> None:
    for (_, future), outcome in zip(group, outcomes, strict=True):
        if future.done():
            continue  # the client went away
        if isinstance(outcome, RequestError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
