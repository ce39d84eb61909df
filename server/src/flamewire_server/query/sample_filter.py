"""Which samples of the selected profiles a query takes: spans, traces, profiles, stack traces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

__all__ = ["ALL_SAMPLES", "FrameFilter", "NativeStacks", "SampleFilter"]

# As the core takes it: call site; conditions that must hold, each any of these names; excluded names.
NativeStacks = tuple[Sequence[str], Sequence[Sequence[str]], Sequence[str]]


@dataclass(frozen=True, slots=True)
class FrameFilter:
    """Functions that must stand in a stack trace, and that must not. Expressions fit anywhere in a name."""

    include_names: tuple[str, ...] = ()
    exclude_names: tuple[str, ...] = ()
    include_tests: tuple[Callable[[str], bool], ...] = ()
    exclude_tests: tuple[Callable[[str], bool], ...] = ()

    @property
    def has_tests(self) -> bool:
        """Whether names must be known before the filter can be used."""
        return bool(self.include_tests or self.exclude_tests)


@dataclass(frozen=True, slots=True)
class SampleFilter:
    """Conditions on samples, all of which must hold; validated. None and empty take every sample."""

    span_ids: Sequence[int] | None = None
    profile_ids: Sequence[bytes] | None = None
    trace_ids: Sequence[bytes] | None = None
    call_site: tuple[str, ...] = ()
    frames: FrameFilter = field(default_factory=FrameFilter)

    @property
    def has_stacks(self) -> bool:
        """Whether stack traces must be looked at."""
        frames = self.frames
        return bool(
            self.call_site
            or frames.include_names
            or frames.exclude_names
            or frames.include_tests
            or frames.exclude_tests
        )

    def stacks(self, names: Callable[[], Sequence[str]]) -> NativeStacks | None:
        """Give the conditions on stack traces, None where there is none.

        Args:
            names: lists all names of functions; asked only where an expression is to be tested.
        """
        frames = self.frames
        known = names() if frames.has_tests else ()
        include: list[tuple[str, ...]] = [(name,) for name in frames.include_names]
        include += [tuple(name for name in known if test(name)) for test in frames.include_tests]
        exclude = list(frames.exclude_names)
        exclude += [name for name in known if any(test(name) for test in frames.exclude_tests)]
        if not self.has_stacks:
            return None
        return self.call_site, include, exclude


ALL_SAMPLES = SampleFilter()
