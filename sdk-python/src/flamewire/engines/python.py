"""The fallback engine: a Python thread over ``sys._current_frames()``, for interpreters without the native
core.

The weight of a sample is the thread's CPU clock delta since its last sample, so idle threads cost and count
nothing. What that cannot do is said in ``PythonEngine.missing``.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import CodeType, FrameType
from typing import TYPE_CHECKING, ClassVar, Final

from flamewire.engines.base import EngineStats, Window, WindowClock
from flamewire.engines.thread_clocks import ThreadClocks
from flamewire.errors import EngineError
from flamewire.pprof import Frame, ValueType, encode
from flamewire.threads import SdkThread

if TYPE_CHECKING:
    from flamewire.config import Options

__all__ = ["PythonEngine"]

_MAX_SHARE: Final = 0.01
"""Sampling may cost this share of one core; a tick that costs more is taken less often."""
_MAX_INTERVAL_S: Final = 1.0
_COST_SMOOTHING: Final = 0.1

_UNATTRIBUTED: Final = (Frame("(unattributed)", "", 0, 0),)
_TRUNCATED: Final = Frame("(truncated)", "", 0, 0)
_CPU: Final = ValueType("cpu", "nanoseconds")

_Position = tuple[CodeType, int]
_Stack = tuple[_Position | Frame, ...]


class PythonEngine:
    """Samples from a thread of its own that takes the GIL at each tick."""

    name: ClassVar[str] = "python"
    # Not a ClassVar: an instance adds what its platform lacks.
    missing: Mapping[str, str] = {
        "labels": "a thread cannot read the context of another, so samples carry no tags",
        "placement": "CPU is charged to the stack at the next tick; a burst before a wait goes to the wait",
        "short threads": "CPU of a thread that ends between two ticks is in (unattributed)",
        "wall": "there are no wall-clock profiles",
    }

    def __init__(self) -> None:
        self._options: Options | None = None
        self._thread: SdkThread | None = None
        self._charged: dict[_Stack, int] = {}
        self._charged_ns = 0
        self._rest_ns = 0
        self._window_samples = 0
        self._ticks = 0
        self._own_cpu_ns = 0
        self._tick_cost_s = 0.0

    def start(self, options: Options) -> None:
        """Begin sampling every thread of the process."""
        if not hasattr(sys, "_current_frames"):
            raise EngineError(f"{sys.implementation.name} has no sys._current_frames()")
        if "cpu" not in options.profile_types:
            raise EngineError("it profiles the CPU only")
        self._options = options
        self._begin()

    def poll(self) -> float:
        """Do nothing, seldom: the engine has a thread of its own."""
        return 60.0

    def take_windows(self) -> list[Window]:
        """End the window with a last tick and return it unless it is empty."""
        return self._end_window(is_last=False)

    def _end_window(self, is_last: bool) -> list[Window]:
        if self._options is None:
            return []
        with self._lock:
            self._sample_threads()
            self._account_for_the_rest(is_last)
            charged, self._charged = self._charged, {}
            count, self._window_samples = self._window_samples, 0
            start_unix_ns, duration_ns = self._window_clock.turn()
        if not charged:
            return []
        period_ns = self._options.period_ns
        pprof = encode(
            _resolved(charged),
            value_type=_CPU,
            period_type=_CPU,
            period=period_ns,
            time_unix_ns=start_unix_ns,
            duration_ns=duration_ns,
        )
        return [Window("cpu", pprof, start_unix_ns, duration_ns, count)]

    def stop(self) -> list[Window]:
        """End the thread and return the last window."""
        if self._options is None or self._thread is None:
            return []
        # Before its thread ends, whose CPU clock goes with it.
        windows = self._end_window(is_last=True)
        self._stopping.release()
        self._thread.join(_MAX_INTERVAL_S)
        self._options = self._thread = None
        return windows

    def stats(self) -> EngineStats:
        """Return the ticks due and done; those left out to keep the cost down are the dropped ones."""
        due = max(self._ticks, int(self._elapsed_s() * self._rate_hz))
        return EngineStats(
            samples_due=due,
            samples_gathered=self._ticks,
            dropped={"overhead_limit": due - self._ticks} if due > self._ticks else {},
            own_cpu_ns=self._clocks.sdk_cpu_ns() if self._clocks.per_thread else self._own_cpu_ns,
            threads=self._clocks.thread_count,
        )

    def after_fork_in_child(self) -> None:
        """Start again with nothing of the parent's."""
        if self._options is not None:
            self._begin()

    def _begin(self) -> None:
        assert self._options is not None
        self._rate_hz = self._options.sample_rate_hz
        self._depth = self._options.max_stack_depth
        self._lock = threading.Lock()
        self._stopping = threading.Lock()
        self._stopping.acquire()
        self._charged = {}
        self._charged_ns = self._rest_ns = self._window_samples = self._ticks = self._own_cpu_ns = 0
        self._tick_cost_s = 0.0
        self._begun_s = time.monotonic()
        self._clocks = ThreadClocks()
        if not self._clocks.per_thread:
            self.missing = {
                **type(self).missing,
                "thread clocks": "this platform shows no thread's CPU clock to another; the process's CPU is"
                " shared out evenly among the threads that moved since the last tick, the SDK's own included",
            }
        self._clocks.baseline(sys._current_frames())
        self._process_ns = time.process_time_ns()
        self._window_clock = WindowClock()
        self._thread = SdkThread("sampler", self._run)
        self._thread.start()

    def _run(self) -> None:
        jitter: Callable[[float, float], float] = random.Random().uniform  # noqa: S311 - no secret
        before_ns = time.thread_time_ns()
        while not self._stopping.acquire(timeout=self._interval_s() * jitter(0.75, 1.25)):
            with self._lock:
                self._sample_threads()
            self._ticks += 1
            now_ns = time.thread_time_ns()
            cost_s = (now_ns - before_ns) / 1e9
            self._tick_cost_s += (cost_s - self._tick_cost_s) * _COST_SMOOTHING
            self._own_cpu_ns, before_ns = now_ns, now_ns

    def _interval_s(self) -> float:
        return min(_MAX_INTERVAL_S, max(1.0 / self._rate_hz, self._tick_cost_s / _MAX_SHARE))

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._begun_s

    def _sample_threads(self) -> None:
        """Charge each thread's CPU since its last sample to the stack that it has now. The lock is held."""
        frames = sys._current_frames()
        for ident, delta_ns in self._clocks.deltas(frames):
            stack = self._walk(frames[ident])
            self._charged[stack] = self._charged.get(stack, 0) + delta_ns
            self._charged_ns += delta_ns
            self._window_samples += 1

    def _walk(self, frame: FrameType | None) -> _Stack:
        stack: list[_Position | Frame] = []
        while frame is not None:
            if len(stack) == self._depth:
                stack.append(_TRUNCATED)
                break
            stack.append((frame.f_code, frame.f_lineno or frame.f_code.co_firstlineno))
            frame = frame.f_back
        return tuple(stack)

    def _account_for_the_rest(self, is_last: bool) -> None:
        """Put the CPU that no sample stands for under a name (PPR-029), without the SDK's own (PPR-031).

        Less than a sample's worth waits for more, so that an idle process has empty windows.
        """
        assert self._options is not None
        now_ns = time.process_time_ns()
        spent_ns, self._process_ns = now_ns - self._process_ns, now_ns
        self._rest_ns += spent_ns - self._charged_ns - self._clocks.sdk_delta()
        self._charged_ns = 0
        # A rest below 0 is the skew of clocks that are read one after the other; it evens out.
        if self._rest_ns >= (1 if is_last and self._charged else self._options.period_ns):
            self._charged[_UNATTRIBUTED] = self._rest_ns
            self._rest_ns = 0


def _resolved(charged: Mapping[_Stack, int]) -> dict[tuple[Frame, ...], int]:
    """Name the positions; code objects that differ only in identity fall together."""
    names: dict[_Position | Frame, Frame] = {}
    samples: dict[tuple[Frame, ...], int] = {}
    for positions, value_ns in charged.items():
        for position in positions:
            if position not in names:
                names[position] = position if isinstance(position, Frame) else _frame(*position)
        stack = tuple([names[position] for position in positions])
        samples[stack] = samples.get(stack, 0) + value_ns
    return samples


def _frame(code: CodeType, line: int) -> Frame:
    return Frame(code.co_qualname, code.co_filename, code.co_firstlineno, line)
