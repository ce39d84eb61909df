"""Runs queries on threads: so many at a time, for so long, and only while somebody waits for the answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from flamewire_server._native import QueryGuard, QueryStoppedError
from flamewire_server.config import Config
from flamewire_server.errors import OverloadedError, RequestError
from flamewire_server.metrics import Metrics

__all__ = ["QueryRunner"]

# How often a running query looks whether its client is still there.
_LOOK_INTERVAL_S = 0.2
_T = TypeVar("_T")


class QueryRunner:
    """Runs what a request asks on an executor's thread. Belongs to the event loop.

    Args:
        config: how many queries of a tenant may run or wait, and for how long.
        executor: its number of threads is how many queries run.
        metrics: counts those that are stopped.
    """

    def __init__(self, config: Config, executor: Executor, metrics: Metrics) -> None:
        self._max_queries = config.max_concurrent_queries
        self._timeout_s = config.query_timeout_s
        self._executor = executor
        self._metrics = metrics
        self._running: Counter[str] = Counter()

    async def run(
        self, tenants: tuple[str, ...], work: Callable[[QueryGuard], _T], *, is_gone: Callable[[], bool]
    ) -> _T:
        """Run `work` and give its result.

        Args:
            tenants: whose profiles it reads; each one's limit of queries must allow one more.
            work: looks at the guard now and then.
            is_gone: tells whether nobody waits for the answer any more.

        Raises:
            OverloadedError: 429; too many queries of the tenant run or wait.
            RequestError: 504; the query took too long, or its client has gone.
        """
        for tenant in tenants:
            if self._max_queries and self._running[tenant] >= self._max_queries:
                raise OverloadedError(
                    "resource_exhausted",
                    f"{self._running[tenant]} queries run or wait, as many as"
                    " limits.max_concurrent_queries allows; ask again in a second",
                    reason="too_many_queries",
                )
        self._running.update(tenants)
        try:
            return await self._run(work, is_gone)
        finally:
            self._running.subtract(tenants)
            # Names come from clients: none may stay.
            self._running = +self._running

    async def _run(self, work: Callable[[QueryGuard], _T], is_gone: Callable[[], bool]) -> _T:
        # Waiting for a thread counts: it is the client's time.
        guard = QueryGuard(self._timeout_s or None)
        running = asyncio.get_running_loop().run_in_executor(self._executor, work, guard)
        gone = False
        try:
            while not (await asyncio.wait([running], timeout=_LOOK_INTERVAL_S))[0]:
                gone = is_gone()
                if gone:
                    # What waits for a thread never starts, and what runs ends when it looks at the guard.
                    guard.cancel()
                    running.cancel()
            return running.result()
        except QueryStoppedError as error:
            self._metrics.queries_stopped.labels("client_gone" if gone else "timeout").inc()
            raise RequestError(
                "deadline_exceeded",
                f"the query took longer than limits.query_timeout ({self._timeout_s:g} s); ask for a shorter"
                " range or a narrower selector",
                reason="query_timeout",
            ) from error
        except asyncio.CancelledError:
            guard.cancel()
            if not gone:
                raise
            self._metrics.queries_stopped.labels("client_gone").inc()
            raise RequestError(
                "deadline_exceeded", "the client did not wait for the answer", reason="client_gone"
            ) from None
