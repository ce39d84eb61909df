"""The engine ``yappi``: every call is measured. Exact and slow, for short captures (extra ``[yappi]``).

yappi knows what each function spent and who called whom, but no stacks. They are built from the call graph:
what a function and its callees spent is shared out among its callers as the calls from each have cost. What a
function itself spent is exact; the way it was reached is, where a function has several callers, an estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Final

from flamewire.engines.base import EngineStats, Window, WindowClock
from flamewire.errors import EngineError
from flamewire.pprof import Frame, ValueType, encode

if TYPE_CHECKING:
    from flamewire.config import Options

__all__ = ["Function", "YappiEngine", "stacks_of"]

_CPU: Final = ValueType("cpu", "nanoseconds")
_LEAST_SHARE: Final = 1e-5
_MOST_STACKS: Final = 50_000


@dataclass(slots=True)
class Function:
    """What yappi measured of one function, in nanoseconds.

    Attributes:
        frame: the function, at its first line.
        self_ns: spent in it without what it called.
        total_ns: spent in it with all that it called.
        calls: callee's key -> spent in calls of it from here.
    """

    frame: Frame
    self_ns: int
    total_ns: int
    calls: dict[int, int] = field(default_factory=dict)


class YappiEngine:
    """Measures each call of each thread on the thread's CPU clock."""

    name: ClassVar[str] = "yappi"
    missing: ClassVar[Mapping[str, str]] = {
        "labels": "calls are added up per function, whatever tags and spans were in force",
        "lines": "a function is measured as a whole; its frame stands at its first line",
        "stacks": "built from the call graph: with several callers the way to a function is an estimate",
        "C code": "what C code spends is its Python caller's",
    }

    def __init__(self) -> None:
        self._yappi: Any = None
        self._options: Options | None = None

    def start(self, options: Options) -> None:
        """Begin measuring every thread of the process.

        Raises:
            EngineError: yappi is not installed, or runs already.
        """
        try:
            yappi: Any = import_module("yappi")  # it has no type hints
        except ImportError as error:
            raise EngineError("yappi is not installed; pip install 'flamewire[yappi]'") from error
        if yappi.is_running():
            raise EngineError("yappi runs already in this process; stop it first")
        self._yappi, self._options = yappi, options
        yappi.clear_stats()
        yappi.set_clock_type("cpu")
        self._window_clock = WindowClock()
        yappi.start(builtins=False, profile_threads=True)

    def poll(self) -> float:
        """Do nothing, seldom: calls are measured where they happen."""
        return 60.0

    def take_windows(self) -> list[Window]:
        """End the window; what is being called now counts when it returns."""
        if self._yappi is None:
            return []
        functions = self._functions()
        self._yappi.clear_stats()
        start_unix_ns, duration_ns = self._window_clock.turn()
        stacks = stacks_of(functions)
        if not stacks:
            return []
        pprof = encode(
            stacks,
            value_type=_CPU,
            period_type=_CPU,
            period=1,
            time_unix_ns=start_unix_ns,
            duration_ns=duration_ns,
        )
        return [Window("cpu", pprof, start_unix_ns, duration_ns, len(stacks))]

    def stop(self) -> list[Window]:
        """Stop measuring and return the last window."""
        if self._yappi is None:
            return []
        self._yappi.stop()
        windows = self.take_windows()
        self._yappi = None
        return windows

    def stats(self) -> EngineStats:
        """Return nothing: no samples are taken."""
        return EngineStats()

    def after_fork_in_child(self) -> None:
        """Refuse: what yappi counts in a child began in its parent."""
        self._yappi = None
        raise EngineError("yappi does not measure fork children")

    def _functions(self) -> dict[int, Function]:
        functions = {}
        for stat in self._yappi.get_func_stats(filter_callback=lambda stat: not _is_own(stat)):
            frame = Frame(stat.name, stat.module, stat.lineno, stat.lineno)
            calls = {child.index: round(child.ttot * 1e9) for child in stat.children}
            functions[stat.index] = Function(frame, round(stat.tsub * 1e9), round(stat.ttot * 1e9), calls)
        return functions


def _is_own(stat: Any) -> bool:
    return bool(stat.module.replace("\\", "/").endswith(("/flamewire/engines/yappi.py", "/yappi/yappi.py")))


def stacks_of(functions: Mapping[int, Function]) -> dict[tuple[Frame, ...], int]:
    """Build stacks (leaf first) from a call graph, so that each function's own time is exact.

    A call that closes a circle ends the stack, and what it cost stays with the frames above it.
    """
    walk = _Walk(functions)
    called: dict[int, int] = dict.fromkeys(functions, 0)
    for key, function in functions.items():
        for callee, spent_ns in function.calls.items():
            if callee in called and callee != key:
                called[callee] += spent_ns
    least_ns = _LEAST_SHARE * sum(function.self_ns for function in functions.values())
    for key, function in functions.items():
        own_ns = function.total_ns - called[key]
        if own_ns > least_ns:
            walk.from_root(key, own_ns / function.total_ns, least_ns)
    return walk.exact()


class _Walk:
    """Shares a call graph out among the ways through it."""

    def __init__(self, functions: Mapping[int, Function]) -> None:
        self._functions = functions
        self._shares: dict[tuple[int, ...], float] = {}

    def from_root(self, root: int, share: float, least_ns: float) -> None:
        """Follow the calls from a function, with the share of its time that nobody called it for."""
        waiting: list[tuple[tuple[int, ...], float]] = [((root,), share)]
        while waiting and len(self._shares) < _MOST_STACKS:
            path, share = waiting.pop()
            function = self._functions[path[-1]]
            self._shares[path] = self._shares.get(path, 0.0) + share
            for callee, spent_ns in function.calls.items():
                known = self._functions.get(callee)
                if known is None or callee in path or not known.total_ns or spent_ns * share <= least_ns:
                    continue
                waiting.append(((*path, callee), min(1.0, spent_ns / known.total_ns) * share))

    def exact(self) -> dict[tuple[Frame, ...], int]:
        """Return the stacks, each function's shares stretched to all of its own time."""
        reached: dict[int, float] = dict.fromkeys(self._functions, 0.0)
        for path, share in self._shares.items():
            reached[path[-1]] += share
        for key, share in reached.items():
            if not share:
                self._shares[key,] = reached[key] = 1.0
        stacks: dict[tuple[Frame, ...], int] = {}
        for path, share in self._shares.items():
            value_ns = round(self._functions[path[-1]].self_ns * share / reached[path[-1]])
            if value_ns > 0:
                stack = tuple([self._functions[key].frame for key in reversed(path)])
                stacks[stack] = stacks.get(stack, 0) + value_ns
        return stacks
