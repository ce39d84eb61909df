"""All checks by the name that cases use; a new one is one function and one line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from flamewire_conformance.checks import lifecycle, profile, truth, wire
from flamewire_conformance.evidence import Evidence

__all__ = ["CHECKS", "judge"]

Check = Callable[[Evidence, Any], Iterator[str]]

CHECKS: Final[Mapping[str, Check]] = {
    check.__name__: check
    for check in (
        wire.requests, wire.headers, wire.query, wire.query_times, wire.series, wire.series_labels_once,
        wire.ids, wire.retried, wire.not_again, wire.gap_ms, wire.elsewhere,
        profile.references, profile.sample_types, profile.period_ns, profile.window_times,
        profile.window_at_most_s, profile.windows_apart,
        profile.locations_once, profile.aggregated, profile.positive, profile.no_empty_window, profile.leaf,
        profile.frames,
        truth.cpu, truth.total_at_most_pct, truth.shares, truth.absent, truth.tags, truth.labels_once,
        truth.label, truth.label_absent,
        lifecycle.error, lifecycle.ends, lifecycle.ends_within_s,
    )
}  # fmt: skip


def judge(evidence: Evidence, expect: Mapping[str, Any]) -> list[str]:
    """Return what a run does not keep of a case's expectations, in words; each fault once."""
    faults: list[str] = []
    unexpected = evidence.story.error
    if unexpected is not None and "error" not in expect:
        faults.append(f"raised at {unexpected.get('stage')}: {unexpected.get('message')}")
    for name, argument in expect.items():
        faults += CHECKS[name](evidence, argument)
    return list(dict.fromkeys(faults))
