"""CPU clocks of other threads, read safely: a thread may end at any moment."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping
from types import FrameType

from flamewire.threads import SdkThread

__all__ = ["ThreadClocks"]


class ThreadClocks:
    """Hands out the CPU that each thread spent since it was last asked.

    On Linux a thread's clock is named by its kernel id, and the kernel refuses the id of a thread that has
    ended. ``time.pthread_getcpuclockid`` would take the pthread address and read freed memory then. Threads
    that the ``threading`` module has never seen have no known kernel id; they are left out.

    Elsewhere the process's CPU is shared out among the threads that moved.
    """

    def __init__(self) -> None:
        self.per_thread = sys.platform == "linux"
        self._kernel_ids: dict[int, int] = {}
        self._last_ns: dict[int, int] = {}
        self._sdk_ids: set[int] = set()
        self._sdk_seen_ns: dict[int, int] = {}
        self._sdk_charged_ns = 0
        self._positions: dict[int, tuple[int, int]] = {}
        self._process_ns = time.process_time_ns()

    @property
    def thread_count(self) -> int:
        """Threads of the host that are known now."""
        return len(self._last_ns)

    def baseline(self, frames: Mapping[int, FrameType]) -> None:
        """Take the present state as the start: what a thread spent before is not counted."""
        # In a fork child the main Thread object of some versions still has its parent's kernel id.
        self._kernel_ids[threading.get_ident()] = threading.get_native_id()
        for _ in self.deltas(frames):
            pass
        self.sdk_delta()

    def deltas(self, frames: Mapping[int, FrameType]) -> Iterator[tuple[int, int]]:
        """Yield (ident, CPU nanoseconds) of each of the host's threads that spent any since the last call."""
        if not self.per_thread:
            yield from self._shares(frames)
            return
        if not frames.keys() <= self._kernel_ids.keys():
            self._learn()
        for ident in frames:
            kernel_id = self._kernel_ids.get(ident)
            if kernel_id is None:
                continue
            if kernel_id in self._sdk_ids:
                self._read_sdk_clock(kernel_id)
                continue
            now_ns = _thread_cpu_ns(kernel_id)
            if now_ns is None:
                # The thread ended; its ident may belong to another one from now on.
                del self._kernel_ids[ident]
                self._last_ns.pop(kernel_id, None)
                continue
            delta_ns = now_ns - self._last_ns.get(kernel_id, 0)
            if delta_ns > 0:
                self._last_ns[kernel_id] = now_ns
                yield ident, delta_ns
        if len(self._kernel_ids) > len(frames):
            self._forget(frames)

    def sdk_delta(self) -> int:
        """Return the CPU that the SDK's own threads spent since the last call."""
        total_ns = self.sdk_cpu_ns()
        delta_ns, self._sdk_charged_ns = total_ns - self._sdk_charged_ns, total_ns
        # The kernel may give the id of a thread that ended to one of the host's.
        self._sdk_ids = {kernel_id for kernel_id in self._sdk_ids if _thread_cpu_ns(kernel_id) is not None}
        return delta_ns

    def sdk_cpu_ns(self) -> int:
        """Return the CPU that the SDK's own threads spent; of one that ended, what was seen of it."""
        for kernel_id in tuple(self._sdk_ids):
            self._read_sdk_clock(kernel_id)
        return sum(self._sdk_seen_ns.copy().values())

    def _read_sdk_clock(self, kernel_id: int) -> None:
        now_ns = _thread_cpu_ns(kernel_id)
        if now_ns is not None:
            self._sdk_seen_ns[kernel_id] = max(now_ns, self._sdk_seen_ns.get(kernel_id, 0))

    def _learn(self) -> None:
        for thread in threading.enumerate():
            if thread.ident is None or thread.native_id is None:
                continue
            self._kernel_ids.setdefault(thread.ident, thread.native_id)
            if isinstance(thread, SdkThread):
                self._sdk_ids.add(thread.native_id)

    def _forget(self, frames: Mapping[int, FrameType]) -> None:
        for ident in self._kernel_ids.keys() - frames.keys():
            self._last_ns.pop(self._kernel_ids.pop(ident), None)

    def _shares(self, frames: Mapping[int, FrameType]) -> Iterator[tuple[int, int]]:
        now_ns = time.process_time_ns()
        spent_ns, self._process_ns = now_ns - self._process_ns, now_ns
        own = {thread.ident for thread in threading.enumerate() if isinstance(thread, SdkThread)}
        positions = {ident: (id(frame), frame.f_lasti) for ident, frame in frames.items() if ident not in own}
        moved = [ident for ident, position in positions.items() if self._positions.get(ident) != position]
        self._positions = positions
        self._last_ns = dict.fromkeys(positions, 0)
        charged = moved or list(positions)
        if spent_ns > 0 and charged:
            for ident in charged:
                yield ident, spent_ns // len(charged)


def _thread_cpu_ns(kernel_id: int) -> int | None:
    """Return a thread's CPU clock, None where the thread has ended.

    Source: MAKE_THREAD_CPUCLOCK(tid, CPUCLOCK_SCHED) in Linux include/linux/posix-timers_types.h, which is
    what glibc and musl compute from the thread's kernel id in pthread_getcpuclockid().
    """
    try:
        return time.clock_gettime_ns(~kernel_id << 3 | 6)
    except OSError:
        return None
