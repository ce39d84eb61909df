"""What an engine is: it gathers samples and hands out finished windows. It does no I/O and knows no HTTP."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from flamewire.config import Options

__all__ = ["Engine", "EngineStats", "WallStats", "Window", "WindowClock"]


@dataclass(frozen=True, slots=True)
class Window:
    """What one upload interval gathered of one profile type, ready to push.

    Attributes:
        profile_type: an entry of the option ``profile_types``, for example "cpu".
        pprof: a google.v1.Profile, not compressed.
        start_unix_ns: calendar time of the window's start.
        duration_ns: exact length on the monotonic clock.
        sample_count: samples gathered (not the distinct stacks that stand in the pprof).
    """

    profile_type: str
    pprof: bytes
    start_unix_ns: int
    duration_ns: int
    sample_count: int


@dataclass(frozen=True, slots=True)
class WallStats:
    """Counters of wall-clock sampling since the start of the session, or of this fork child.

    Attributes:
        ticks_due: ticks at the configured rate.
        ticks: ticks that came; fewer where they would have cost more than 1 % of a core.
        threads: threads that the last tick met.
        without_state: times that nothing could be learned of what a thread waits for.
    """

    ticks_due: int
    ticks: int
    threads: int
    without_state: int


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Counters of one engine since its start.

    Attributes:
        samples_due: occasions on which a sample had to be taken at the configured rate.
        samples_gathered: occasions on which one was taken and kept.
        dropped: the rest by reason; every loss has one.
        own_cpu_ns: CPU that sampling cost the process.
        threads: threads that are being sampled now.
        without_span: samples that lost their span to the bound of a window, by the label that they lost.
        wall: None where there are no wall-clock profiles.
    """

    samples_due: int = 0
    samples_gathered: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    own_cpu_ns: int = 0
    threads: int = 0
    without_span: Mapping[str, int] = field(default_factory=dict)
    wall: WallStats | None = None


class Engine(Protocol):
    """One way of sampling this process.

    All calls but ``start`` and ``after_fork_in_child`` come from one thread at a time; ``stats`` may come
    from any.
    """

    name: ClassVar[str]

    @property
    def missing(self) -> Mapping[str, str]:
        """What this engine cannot do here, cell -> why; shown by ``status()``. A class attribute will do."""

    def start(self, options: Options) -> None:
        """Begin sampling every thread of the process.

        Raises:
            EngineError: it cannot run here; nothing was changed in the process.
        """

    def poll(self) -> float:
        """Do the periodic work (drain buffers, find threads); return in how many seconds it is due again."""

    def take_windows(self) -> list[Window]:
        """End the current window of each profile type, start the next, return those that hold samples."""

    def stop(self) -> list[Window]:
        """Disarm everything and return the last windows; a second call returns []."""

    def stats(self) -> EngineStats:
        """Return the counters as they are now."""

    def after_fork_in_child(self) -> None:
        """Forget what the parent gathered and sample this process again.

        Called once in a fork child, on its only thread, before user code runs on: no imports, no inherited
        locks.

        Raises:
            EngineError: sampling cannot be resumed here; the child then runs without a profile.
        """


class WindowClock:
    """Start stamp (calendar) and exact length (monotonic) of windows that follow each other."""

    __slots__ = ("_start_monotonic_ns", "_start_unix_ns")

    def __init__(self) -> None:
        self._start_unix_ns = time.time_ns()
        self._start_monotonic_ns = time.monotonic_ns()

    def turn(self) -> tuple[int, int]:
        """Return (start_unix_ns, duration_ns) of the window that ends now, and begin the next one."""
        now_ns = time.monotonic_ns()
        ended = (self._start_unix_ns, now_ns - self._start_monotonic_ns)
        self._start_unix_ns, self._start_monotonic_ns = time.time_ns(), now_ns
        return ended
