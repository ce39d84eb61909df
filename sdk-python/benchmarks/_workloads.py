"""Programs whose sampling is measured; each burns CPU for a given wall time and names its own threads.

A workload is a function `(seconds, own_threads) -> None`: it adds the native id of every thread that it
starts to `own_threads`, so that whatever else runs in the process is the sampler's.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

Workload = Callable[[float, set[int]], None]


def spin(deadline: float) -> int:
    """Burn CPU until the monotonic clock reads `deadline`, looking at it every few thousand steps."""
    total = 0
    while time.monotonic() < deadline:
        for step in range(5_000):
            total += step & 3
    return total


def nested(depth: int, deadline: float) -> int:
    """Burn CPU under `depth` frames."""
    return spin(deadline) if depth == 0 else nested(depth - 1, deadline)


def recursion(seconds: float, own_threads: set[int]) -> None:
    """One thread, 20 frames."""
    nested(20, time.monotonic() + seconds)


def deep(seconds: float, own_threads: set[int]) -> None:
    """One thread, 200 frames."""
    nested(200, time.monotonic() + seconds)


def _with_parked_threads(seconds: float, own_threads: set[int], parked: int, busy: int) -> None:
    deadline, leave = time.monotonic() + seconds, threading.Event()

    def enter(run: Callable[[], object]) -> None:
        own_threads.add(threading.get_native_id())
        run()

    targets = [leave.wait] * parked + [lambda: nested(20, deadline)] * busy
    threads = [threading.Thread(target=enter, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads[parked:]:
        thread.join()
    leave.set()
    for thread in threads[:parked]:
        thread.join()


def eight_threads(seconds: float, own_threads: set[int]) -> None:
    """Eight threads, two of them busy."""
    _with_parked_threads(seconds, own_threads, parked=6, busy=2)


def many_idle(seconds: float, own_threads: set[int]) -> None:
    """64 parked threads and one busy."""
    _with_parked_threads(seconds, own_threads, parked=64, busy=1)


def asyncio_500(seconds: float, own_threads: set[int]) -> None:
    """500 asyncio tasks that take turns."""
    deadline = time.monotonic() + seconds

    async def task() -> int:
        total = 0
        while time.monotonic() < deadline:
            for step in range(200):
                total += step & 3
            await asyncio.sleep(0)
        return total

    async def run() -> None:
        await asyncio.gather(*(task() for _ in range(500)))

    asyncio.run(run())


def burst_work() -> int:
    """About 0.6 ms of CPU."""
    return sum(step & 3 for step in range(9_000))


def burst_sleep() -> None:
    """6 ms without CPU, but for the call itself."""
    time.sleep(0.006)


def burst(seconds: float, own_threads: set[int]) -> None:
    """Short work between sleeps: where does a sampler put the CPU?"""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        burst_work()
        burst_sleep()


COST: dict[str, Workload] = {
    "recursion": recursion,
    "8 threads": eight_threads,
    "64 idle + 1": many_idle,
    "asyncio 500": asyncio_500,
    "200 frames": deep,
}
ALL: dict[str, Workload] = {**COST, "burst": burst}
WALL = ("8 threads", "64 idle + 1")
