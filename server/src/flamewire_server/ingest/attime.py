"""Times as the `from` and `until` of `/ingest` write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

__all__ = ["parse_attime_ns"]

_NS_PER_S = 10**9
# By the number of digits; any other number is seconds.
_UNIT_NS = {13: 10**6, 16: 10**3, 19: 1}
_OFFSET = re.compile(r"(\d{1,9})([A-Za-z]+)")
# The first that an offset's unit begins with counts, so months stand before minutes.
_OFFSET_UNIT_S = (
    ("mon", 30 * 86400), ("M", 30 * 86400), ("min", 60), ("m", 60), ("s", 1), ("h", 3600), ("d", 86400),
    ("w", 7 * 86400), ("y", 365 * 86400),
)  # fmt: skip


def parse_attime_ns(text: str, *, now_ns: int) -> int:
    """Read a time: Unix seconds, 13 digits of ms, 16 of us, 19 of ns, `YYYYMMDD`, or `now-1h30m`.

    Returns:
        Nanoseconds since 1970, UTC.

    Raises:
        ValueError: it is none of these; the message says what it may be.
    """
    words = re.sub(r"[_, ]", "", text.strip())
    if re.fullmatch(r"[0-9]{1,19}", words):
        day_ns = _parse_day_ns(words)
        return int(words) * _UNIT_NS.get(len(words), _NS_PER_S) if day_ns is None else day_ns
    relative = re.fullmatch(r"(?:now)?(?:([+-])((?:\d{1,9}[A-Za-z]+)+))?", words)
    if relative is None or not words:
        raise ValueError("a Unix time (s, ms, us or ns), YYYYMMDD, or a time such as now-1h")
    sign = -1 if relative[1] == "-" else 1
    return now_ns + sign * sum(
        int(number) * _offset_unit_s(unit) * _NS_PER_S for number, unit in _OFFSET.findall(relative[2] or "")
    )


def _parse_day_ns(digits: str) -> int | None:
    if len(digits) != 8:
        return None
    try:
        day = datetime.strptime(digits, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(day.timestamp()) * _NS_PER_S if day.year > 1900 else None


def _offset_unit_s(unit: str) -> int:
    for prefix, seconds in _OFFSET_UNIT_S:
        if unit.startswith(prefix):
            return seconds
    raise ValueError(f"an offset in s, min, h, d, w, mon or y, not {unit!r}")
