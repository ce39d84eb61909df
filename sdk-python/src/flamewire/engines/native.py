"""The native engine: each thread is sampled by a timer on its own CPU clock, in its own signal handler; for
wall-clock profiles by a thread without the GIL.
"""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

from flamewire import _native
from flamewire.engines.base import EngineStats, WallStats, Window
from flamewire.engines.native_selftest import check_stacks
from flamewire.errors import EngineError
from flamewire.threads import SdkThread

if TYPE_CHECKING:
    from flamewire.config import Options

__all__ = ["NativeEngine"]

_HOOKED = "_bootstrap_inner"

_FIRST_POLL_S: Final = 0.1
"""Waking up costs more than the poll itself, so it comes less often while the rings stay nearly empty."""
_POLL_RANGE_S: Final = (0.05, 0.25)
_NEARLY_EMPTY: Final = 1 / 16
_TOO_FULL: Final = 1 / 4


class NativeEngine:
    """Samples with the native core. At most one runs in a process; a second one is refused at start."""

    name: ClassVar[str] = "native"
    missing: Mapping[str, str] = {}

    def __init__(self) -> None:
        self._running = False
        self._profile_types: tuple[str, ...] = ()
        self._poll_in_s = _FIRST_POLL_S

    def start(self, options: Options) -> None:
        """Begin sampling every thread of the process.

        Raises:
            EngineError: this interpreter or process cannot be sampled natively; the message says why.
        """
        why = _native.unsupported()
        if why is not None:
            raise EngineError(why)
        _announce_signal()
        try:
            self._start_core(options)
        except (RuntimeError, OSError, ValueError) as error:
            raise EngineError(str(error)) from error
        self._running = True
        self._profile_types = options.profile_types
        for thread in threading.enumerate():
            if isinstance(thread, SdkThread) and thread.native_id is not None:
                _native.exclude_thread(thread.native_id)
        _hook_threads()

    def _start_core(self, options: Options) -> None:
        # Wall-clock profiles need CPU samples too: they are the stacks of the threads that run.
        wall_period_ns = options.period_ns if "wall" in options.profile_types else 0
        try:
            _native.start(options.period_ns, options.max_stack_depth, check_stacks, wall_period_ns)
        except NotImplementedError as error:
            if "cpu" not in options.profile_types:
                raise
            _native.start(options.period_ns, options.max_stack_depth, check_stacks)
            self.missing = {"wall": str(error)}

    def poll(self) -> float:
        """Drain the rings; return when to come again, sooner where one was filling up."""
        fullness = _native.poll()
        if fullness > _TOO_FULL:
            self._poll_in_s = max(_POLL_RANGE_S[0], self._poll_in_s / 2)
        elif fullness < _NEARLY_EMPTY:
            self._poll_in_s = min(_POLL_RANGE_S[1], self._poll_in_s * 2)
        return self._poll_in_s

    def take_windows(self) -> list[Window]:
        """End the window of each profile type and begin the next."""
        if not self._running:
            return []
        return _as_windows({name: _native.take_window(name) for name in self._profile_types})

    def stop(self) -> list[Window]:
        """Disarm every timer and return the last windows."""
        if not self._running:
            return []
        self._running = False
        _unhook_threads()
        last = {"cpu": _native.stop(), "wall": _native.take_window("wall")}
        return _as_windows({name: last[name] for name in self._profile_types})

    def stats(self) -> EngineStats:
        """Return the counters; the handler's time counts as the SDK's own CPU."""
        counters = _native.stats()
        return EngineStats(
            samples_due=counters["samples_due"],
            samples_gathered=counters["samples_gathered"],
            dropped=counters["dropped"],
            own_cpu_ns=counters["own_cpu_ns"] + counters["handler_ns"],
            threads=counters["threads"],
            without_span={
                label: count
                for label, count in (
                    ("child_span_id", counters["without_child_span"]),
                    ("span_id", counters["without_span"]),
                )
                if count
            },
            wall=_wall_stats(counters["wall"]),
        )

    def after_fork_in_child(self) -> None:
        """Come soon again; the core has armed the child's thread already, before Python ran in it."""
        self._poll_in_s = _FIRST_POLL_S


def _announce_signal() -> None:
    """Let Python believe that SIGPROF is ignored, as the core leaves it at the end.

    Python does not see handlers that are set in C. Whoever takes over the signals that would end a process,
    as billiard does in the workers of Celery, would take this one too, and end the process at the next
    sample. Only the main thread can tell Python.
    """
    on_main_thread = threading.current_thread() is threading.main_thread()
    if on_main_thread and signal.getsignal(signal.SIGPROF) is signal.SIG_DFL and not _has_handler():
        signal.signal(signal.SIGPROF, signal.SIG_IGN)


def _has_handler() -> bool:
    """Tell whether somebody has set a handler of SIGPROF, be it in C; True where the kernel does not say."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            caught = next(line for line in status if line.startswith("SigCgt:")).split()[1]
        return bool(int(caught, 16) >> (signal.SIGPROF - 1) & 1)
    except (OSError, StopIteration, ValueError):
        return True


def _as_windows(taken: Mapping[str, tuple[bytes, int, int, int] | None]) -> list[Window]:
    return [Window(name, *window) for name, window in taken.items() if window is not None]


def _wall_stats(counters: Mapping[str, Any] | None) -> WallStats | None:
    if counters is None:
        return None
    return WallStats(
        ticks_due=counters["ticks_due"],
        ticks=counters["ticks"],
        threads=counters["threads"],
        without_state=counters["without_state"],
    )


def _hook_threads() -> None:
    """Let new threads announce themselves; those that are started another way the core's listing finds."""
    original = threading.Thread.__dict__.get(_HOOKED)
    if original is not None and not isinstance(original, _native.ThreadHook):
        setattr(threading.Thread, _HOOKED, _native.ThreadHook(original, SdkThread))
    start = _thread.start_new_thread
    if not isinstance(start, _native.StartHook):
        _thread.start_new_thread = _native.StartHook(start)


def _unhook_threads() -> None:
    """Take the hooks back, unless somebody wrapped them meanwhile: then they stay and do nothing."""
    hook = threading.Thread.__dict__.get(_HOOKED)
    if isinstance(hook, _native.ThreadHook):
        setattr(threading.Thread, _HOOKED, hook.original)
    start = _thread.start_new_thread
    if isinstance(start, _native.StartHook):
        _thread.start_new_thread = start.original
