"""Time ranges: milliseconds on the wire, nanoseconds inside, both ends inclusive."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from flamewire_server.errors import RequestError

__all__ = ["NS_PER_MS", "TimeRange"]

NS_PER_MS = 1_000_000
# 9999-12-31: what a calendar day can be written for.
_LATEST_MS = 253_402_300_799_000
# What 64 bits hold: the year 2262. No profile is later, so that a range may be cut there.
_LATEST_NS = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From start_ns to end_ns, both inclusive."""

    start_ns: int
    end_ns: int

    @classmethod
    def from_ms(cls, start_ms: int, end_ms: int) -> TimeRange:
        """Read a range of the wire. The millisecond `end_ms` belongs to it whole.

        Raises:
            RequestError: it ends before it starts, or is no time.
        """
        if start_ms > end_ms:
            raise RequestError(
                "invalid_argument",
                f"the time range ends ({end_ms}) before it starts ({start_ms}); both are milliseconds"
                " since 1970",
                reason="bad_time_range",
            )
        if start_ms < 0 or end_ms > _LATEST_MS:
            raise RequestError(
                "invalid_argument",
                f"the time range {start_ms} to {end_ms} is not in milliseconds since 1970; give start"
                " and end so",
                reason="bad_time_range",
            )
        return cls(min(start_ms * NS_PER_MS, _LATEST_NS), min(end_ms * NS_PER_MS + NS_PER_MS - 1, _LATEST_NS))

    @property
    def days(self) -> tuple[str, str]:
        """The first and the last UTC day, as blocks name them: "2026-11-23"."""
        return _day(self.start_ns), _day(self.end_ns)


def _day(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d")
