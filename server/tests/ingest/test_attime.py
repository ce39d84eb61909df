"""Times as senders of /ingest write them."""

from __future__ import annotations

import pytest

from flamewire_server.ingest.attime import parse_attime_ns

NOW_NS = 1_795_000_000_123_456_789
HOUR_NS = 3600 * 10**9


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("1795000000", 1_795_000_000 * 10**9),
        ("1795000000123", 1_795_000_000_123 * 10**6),
        ("1795000000123456", 1_795_000_000_123_456 * 10**3),
        ("1795000000123456789", 1_795_000_000_123_456_789),
        (" 1_795_000_000 ", 1_795_000_000 * 10**9),
        ("20261118", 1_794_960_000 * 10**9),
        ("20269918", 20_269_918 * 10**9),  # no day, so seconds
        ("now", NOW_NS),
        ("now-1h", NOW_NS - HOUR_NS),
        ("now-1h30min", NOW_NS - HOUR_NS * 3 // 2),
        ("now+90s", NOW_NS + 90 * 10**9),
        ("now-1d", NOW_NS - 24 * HOUR_NS),
        ("now-1mon", NOW_NS - 30 * 24 * HOUR_NS),
        ("-15m", NOW_NS - HOUR_NS // 4),
    ],
)
def test_every_form_is_read(text: str, time_ns: int) -> None:
    assert parse_attime_ns(text, now_ns=NOW_NS) == time_ns


@pytest.mark.parametrize(
    "text", ["", "yesterday", "now-", "now-h", "now-1", "now-1fortnight", "1.5", "1" * 20]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"a Unix time|an offset in"):
        parse_attime_ns(text, now_ns=NOW_NS)
