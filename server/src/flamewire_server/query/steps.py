"""The steps that a range is divided into."""

from __future__ import annotations

from dataclasses import dataclass

from flamewire_server.errors import RequestError
from flamewire_server.model.time_range import NS_PER_MS, TimeRange

__all__ = ["Steps"]

# Points of one series: a year in steps of 15 s is 2.1 million; more is a mistake in the request.
_MAX_STEPS = 4_000_000


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of a range: step k = 1.. ends at start + (k - 1) * step, and reaches one step back."""

    start_ms: int
    step_ms: int
    count: int

    @classmethod
    def of(cls, time_range: TimeRange, step_ms: int) -> Steps:
        """Divide a range; RequestError where the step is too small for it."""
        start_ms, end_ms = time_range.start_ns // NS_PER_MS, time_range.end_ns // NS_PER_MS
        count = (end_ms - start_ms) // step_ms + 1
        if count > _MAX_STEPS:
            raise RequestError(
                "invalid_argument",
                f"the range has {count} steps of {step_ms} ms; at most {_MAX_STEPS} are computed:"
                " take a larger step",
                reason="too_many_steps",
            )
        return cls(start_ms, step_ms, count)

    @property
    def first_ns(self) -> int:
        """Where the first step begins, exclusive."""
        # A stamp inside a millisecond belongs to that millisecond, so every edge lies at the end of one.
        return (self.start_ms - self.step_ms) * NS_PER_MS + NS_PER_MS - 1

    @property
    def step_ns(self) -> int:
        """How wide a step is."""
        return self.step_ms * NS_PER_MS

    @property
    def time_range(self) -> TimeRange:
        """What is read."""
        last_ns = self.edge_ms(self.count) * NS_PER_MS + NS_PER_MS - 1
        return TimeRange(max(self.first_ns + 1, 0), last_ns)

    def edge_ms(self, step: int) -> int:
        """Give the right edge of a step."""
        return self.start_ms + (step - 1) * self.step_ms
