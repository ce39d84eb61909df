"""The native core: one CPU-clock timer per thread, stacks read in the signal handler; a thread without the
GIL for wall-clock time; pprof encoded in C.

One sampler per process. Functions may be called from any thread; those that wait do so without the GIL.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, Self, TypeVar, final

from typing_extensions import disjoint_base

_F = TypeVar("_F", bound=Callable[..., Any])
_Frame = tuple[str, str, int, int]
_TakenWindow = tuple[bytes, int, int, int]

scope_variable: Final[ContextVar[Scope | None]]
"""Holds the Scope in force; the signal handler reads it. ``scope_variable.set(scope)`` makes one current."""

@final
class Scope:
    """A label set with the ids of a span; immutable but for ``end`` and ``rename``.

    Args:
        labels: tag name -> value; both are turned into text that UTF-8 can carry.
        span_id: local root span, 16 hexadecimal digits (SPN-001).
        child_span_id: innermost span, where it is another one (SPN-002).
        trace_id: 32 hexadecimal digits (SPN-004).
        span_name: name of the local root span (SPN-003).
        root: the Scope of the local root span, where this is another one's: its ``rename`` counts here too.
    """

    def __new__(
        cls,
        labels: dict[str, object] = ...,
        span_id: str | None = None,
        child_span_id: str | None = None,
        trace_id: str | None = None,
        span_name: str | None = None,
        root: Scope | None = None,
    ) -> Self: ...
    @property
    def labels(self) -> dict[str, str]:
        """The tags, outer ones included, without those of the span."""

    @property
    def span(self) -> dict[str, str]:
        """The labels of the span; empty once it has ended."""

    @property
    def ended(self) -> bool:
        """Whether the span has ended."""

    def end(self) -> None:
        """Let the span label no further sample, here and in all scopes entered within this one (SPN-005)."""

    def rename(self, name: str, /) -> None:
        """Give the local root span another name on all samples from now on, in whatever contexts.

        Samples of the last quarter of a second, which have not been read yet, carry it too.
        """

@disjoint_base
class tags:  # noqa: N801 - the public name is a verb's object: ``with tags(...)``
    """Label what runs within; context manager and decorator. See ``flamewire.tags``.

    One object may be entered by many threads and tasks at once, and again while it is entered. Entering and
    leaving never raise.

    Raises:
        TypeError: positional arguments.
    """

    def __new__(cls, **labels: object) -> Self: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> bool: ...
    def __call__(self, function: _F) -> _F: ...
    @property
    def labels(self) -> dict[str, str]:
        """The tags of this object, without outer ones."""

@final
class ThreadHook:
    """Stands in for ``threading.Thread._bootstrap_inner``: samples a thread from start to end.

    Adds no Python frame. Does nothing while no sampler runs.

    Args:
        original: the function that it stands in for.
        own_type: threads of this class are left out of the profile, their CPU is ``own_cpu_ns``.
    """

    def __new__(cls, original: Callable[..., Any], own_type: type | None = None) -> Self: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def __get__(self, instance: object, owner: type | None = None, /) -> Any: ...
    @property
    def original(self) -> Callable[..., Any]:
        """The function that it stands in for."""

@final
class StartHook:
    """Stands in for ``_thread.start_new_thread``: samples what it starts from start to end.

    The thread runs the function in a callable without a Python frame of its own, whose repr is the
    function's. Does nothing while no sampler runs.
    """

    def __new__(cls, original: Callable[..., Any]) -> Self: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    @property
    def original(self) -> Callable[..., Any]:
        """The function that it stands in for."""

def current_labels() -> dict[str, str]:
    """Return the tags in force in this context."""

def follow_span(span: Scope | None, /) -> Scope | None:
    """Make the span of a Scope that of this context, None: none; the tags in force stay.

    Tags that are entered or left later keep it, and leave it in any order.

    Returns:
        The Scope whose span was in force until now, or None.

    Raises:
        TypeError: neither a Scope nor None.
    """

def run_in_scope(scope: Scope | None, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call the function with the Scope in force, and restore the one before. Adds no Python frame."""

def unsupported() -> str | None:
    """Return why this interpreter cannot be sampled, or None."""

def start(
    period_ns: int,
    max_depth: int,
    self_test: Callable[[], object] | None = None,
    wall_period_ns: int = 0,
    max_span_ids: int = 8192,
) -> None:
    """Begin sampling every thread of the process.

    Installs handlers for SIGPROF, SIGSEGV and SIGBUS (the latter two hand on what is not theirs), calls the
    self-test, then makes the timers. When it raises, the process is as it was, but SIGPROF may be ignored.

    Args:
        period_ns: CPU time of a thread between two of its samples; CONFIG_HZ bounds it from below.
        max_depth: frames kept per stack, leaf side; 1 to 1024.
        self_test: called when ``capture`` works; what it raises is passed on.
        wall_period_ns: time between two ticks at which every thread is looked at, idle or not; 0: there are
            no wall-clock profiles. Its thread is named flamewire-wall; ticks that would cost more than 1 % of
            a core come less often, and no time is lost by that.
        max_span_ids: ids of spans in one window. When half are taken, samples of further child spans keep the
            local root's id alone; when all are, those of further roots none.

    Raises:
        RuntimeError: the sampler runs already, SIGPROF is in other hands, or the interpreter is unknown (a
            NotImplementedError where only wall-clock profiles are impossible).
        ValueError: an argument is out of range.
        OSError: the kernel refused a handler.
    """

def poll() -> float:
    """Drain the threads' rings, and once a second look for threads that did not announce themselves.

    Where the time in signal handlers exceeds 1 % of the CPU that the threads burn, each thread is sampled
    less often, down to every 16th time; counted as "overhead_limit".

    Without the GIL; O(samples since the last call + threads).

    Returns:
        How full the fullest ring was, 0 to 1.
    """

def take_window(kind: str = "cpu", /) -> _TakenWindow | None:
    """End the window of a kind, "cpu" or "wall", and begin the next; after stop() return the last of "wall".

    Returns:
        (pprof, start in calendar ns, length in monotonic ns, samples gathered), or None for an empty one. CPU
        that nobody accounts for and is less than a period waits for the next window.
    """

def stop() -> _TakenWindow | None:
    """Disarm all timers, put SIGPROF to SIG_IGN, give SIGSEGV and SIGBUS back; return the CPU's last window.

    Each thread's CPU since its last sample goes to that sample's stack. A second call returns None.
    """

def stats() -> dict[str, Any]:
    """Return the counters since the start.

    Returns:
        samples_due, samples_gathered, accounted_ns, unattributed_ns, own_cpu_ns, handler_ns, syscall_samples,
        threads, code_objects, started, without_child_span and without_span (samples that lost those ids to
        max_span_ids), dropped (reason -> count), and wall: None, or ticks_due, ticks,
        samples_gathered, accounted_ns (in windows), readings (of stacks), ran_meanwhile (readings thrown
        away), lists_changed (ticks that did not meet all threads), without_state, threads, interval_s.
    """

def exclude_thread(tid: int = 0) -> None:
    """Leave a thread (default: the caller) out of the profile; its CPU is counted as own_cpu_ns."""

def capture() -> list[tuple[list[_Frame], dict[str, str]]]:
    """Sample the calling thread by a signal to itself and return what the handler wrote, for tests.

    Returns:
        One entry: frames (qualified name, file name, first line, line), leaf first, and the labels.

    Raises:
        RuntimeError: no sampler runs.
    """

def read_variable(variable: ContextVar[Any], /) -> Any:
    """Return the variable's value in this context as the signal handler finds it, None where it has none."""
