"""What requests of every kind say: times, steps, numbers of frames."""

from __future__ import annotations

import time

from flamewire_server.config import Config
from flamewire_server.errors import RequestError
from flamewire_server.ingest.attime import parse_attime_ns
from flamewire_server.model.time_range import NS_PER_MS, TimeRange

__all__ = ["check_range", "frame_limit", "last_hour_or", "parse_range", "parse_time_ms", "read_step_ms"]

_LAST_HOUR_MS = 3600 * 1000
# Some 95 years: in nanoseconds it fits 64 bits with room for any start.
_LONGEST_STEP_S = 3e9


def last_hour_or(start_ms: int, end_ms: int) -> TimeRange:
    """Read a range of a message; both ends 0 are the last hour, as clients of old mean it (QRY-004)."""
    if not start_ms and not end_ms:
        end_ms = time.time_ns() // NS_PER_MS
        start_ms = end_ms - _LAST_HOUR_MS
    return TimeRange.from_ms(start_ms, end_ms)


def check_range(config: Config, time_range: TimeRange) -> TimeRange:
    """Give the range back.

    Raises:
        RequestError: it is longer than a query may be.
    """
    longest_ns = config.max_query_length_s * 1e9
    # The millisecond of the end belongs to the range whole.
    if longest_ns and time_range.end_ns - time_range.start_ns > longest_ns + NS_PER_MS:
        raise RequestError(
            "invalid_argument",
            f"the time range exceeds limits.max_query_length ({config.max_query_length_s:g} s); ask for less",
            reason="range_too_long",
        )
    return time_range


def read_step_ms(step_s: float) -> int:
    """Read a step in seconds.

    Raises:
        RequestError: it is none.
    """
    step_ms = round(step_s * 1000) if 0.001 <= step_s <= _LONGEST_STEP_S else 0
    if step_ms < 1:
        raise RequestError(
            "invalid_argument",
            f"step is {step_s}; give seconds, from 0.001 to {_LONGEST_STEP_S:g}",
            reason="bad_step",
        )
    return step_ms


def frame_limit(config: Config, asked: int, default: int = 0) -> int:
    """Tell how many frames an answer may have, where `asked` did; 0 and less take the default.

    Raises:
        RequestError: that is more than the operator allows.
    """
    if asked > config.max_flamegraph_nodes:
        raise RequestError(
            "invalid_argument",
            f"max_nodes is {asked}; at most {config.max_flamegraph_nodes} are given"
            " (limits.max_flamegraph_nodes_max)",
            reason="too_many_nodes",
        )
    return asked if asked > 0 else default or config.max_flamegraph_nodes_default


def parse_range(start: str, end: str) -> TimeRange:
    """Read both times of a URL.

    Raises:
        RequestError: one is none, or the range ends before it starts.
    """
    now_ms = time.time_ns() // NS_PER_MS
    return TimeRange.from_ms(parse_time_ms(start, now_ms), parse_time_ms(end, now_ms))


def parse_time_ms(text: str, now_ms: int) -> int:
    """Read a time of a URL as milliseconds since 1970.

    Raises:
        RequestError: it is none of `now`, `now-1h`, `20261123`, or a number of s (10 digits), ms, us or ns.
    """
    try:
        return parse_attime_ns(text, now_ns=now_ms * NS_PER_MS) // NS_PER_MS
    except ValueError as error:
        raise RequestError(
            "invalid_argument", f"{text[:40]!r} is no time: {error}", reason="bad_time_range"
        ) from error
