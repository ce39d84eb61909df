"""Expectations that hold profiles against what the testee really did: CPU time, shares, labels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flamewire_conformance.evidence import Evidence
from flamewire_conformance.margins import share_margin
from flamewire_conformance.pprof import Sample

__all__ = ["absent", "cpu", "label", "label_absent", "labels_once", "shares", "tags", "total_at_most_pct"]

_EDGE_PERIODS = 3
"""Samples that begin and end of a step may cost or bring."""


def cpu(evidence: Evidence, want: Mapping[str, Any]) -> Iterator[str]:
    """{functions, within_pct}: each function's CPU time in the profiles is what its threads' clocks say."""
    truth = evidence.true_cpu_ns()
    for name in want["functions"]:
        real, claimed = truth[name], evidence.cpu_of(name)
        margin = real * want["within_pct"] / 100 + _EDGE_PERIODS * evidence.period_ns
        if not real:
            yield f"{name} did not run in this testee"
        elif abs(claimed - real) > margin:
            yield (
                f"{name} used {real / 1e6:.0f} ms of CPU and the profiles say {claimed / 1e6:.0f} ms"
                f" ({claimed / real:.0%}; +-{margin / 1e6:.0f} ms allowed)"
            )


def total_at_most_pct(evidence: Evidence, want: int) -> Iterator[str]:
    """All CPU time in the profiles is at most so many percent of what the processes used."""
    if not evidence.delivered:
        yield "no profile was delivered"
    real = evidence.story.process_cpu_ns
    claimed = sum(value for _, value in evidence.cpu_samples())
    if claimed > real * want / 100 + _EDGE_PERIODS * evidence.period_ns:
        yield f"the process used {real / 1e6:.0f} ms of CPU and the profiles say {claimed / 1e6:.0f} ms"


def shares(evidence: Evidence, want: Sequence[str]) -> Iterator[str]:
    """[functions]: their shares of the CPU time among themselves are the true ones, within three sigma."""
    truth = evidence.true_cpu_ns()
    real_total = sum(truth[name] for name in want)
    claimed = {name: evidence.cpu_of(name) for name in want}
    total = sum(claimed.values())
    for name in want:
        if not total:
            yield "none of the functions is in the profiles"
            return
        share, seen = truth[name] / real_total, claimed[name] / total
        margin = share_margin(share, total / evidence.period_ns)
        if abs(share - seen) > margin:
            yield f"{name} has {seen:.1%} of the CPU time, really {share:.1%} (+-{margin:.1%} allowed)"


def absent(evidence: Evidence, want: Sequence[str]) -> Iterator[str]:
    """[functions]: they do not appear in the profiles, but for the samples at their edges."""
    for name in want:
        if (claimed := evidence.cpu_of(name)) > evidence.period_ns:
            yield f"{name} has {claimed / 1e6:.0f} ms of CPU, it should have none"


def tags(evidence: Evidence, want: Mapping[str, Any]) -> Iterator[str]:
    """{keys}: of each function's CPU time, each tag's values have their true shares, within three sigma.

    Samples without the tag count as one more value, and so do samples that carry it twice.
    """
    for key in want["keys"]:
        for name in dict.fromkeys(step.function for step in evidence.story.steps):
            yield from _tag_shares(evidence, key, name)


def _tag_shares(evidence: Evidence, key: str, name: str) -> Iterator[str]:
    truth: Counter[str] = Counter()
    for step in evidence.story.steps:
        if step.function == name:
            truth[step.tags.get(key, "(none)")] += step.cpu_ns
    seen: Counter[str] = Counter()
    for sample, value in evidence.cpu_samples():
        if sample.has(evidence.function(name)):
            seen[_value_of(sample, key)] += value
    if not seen.total():
        yield f"{name} is not in the profiles"
        return
    for text in truth.keys() | seen.keys():
        share, found = truth[text] / truth.total(), seen[text] / seen.total()
        margin = share_margin(share, seen.total() / evidence.period_ns)
        if abs(share - found) > margin:
            yield f"{found:.1%} of {name} has {key}={text}, really {share:.1%} (+-{margin:.1%} allowed)"


def _value_of(sample: Sample, key: str) -> str:
    return " and ".join(sample.values_of(key)) or "(none)"


def labels_once(evidence: Evidence, _: object) -> Iterator[str]:
    """true: no sample carries a label's key twice."""
    if not evidence.delivered:
        yield "no profile was delivered"
    for upload in evidence.delivered:
        for sample in upload.profile.samples:
            keys = [key for key, _ in sample.labels]
            if len(set(keys)) != len(keys):
                yield f"a sample carries the labels {sorted(sample.labels)}"


def label_absent(evidence: Evidence, want: Mapping[str, Any]) -> Iterator[str]:
    """{function, keys}: its CPU time carries none of these labels, but for the samples at its edges."""
    function = evidence.function(want["function"])
    if not (total := evidence.cpu_of(want["function"])):
        yield f"{function} is not in the profiles"
    for key in want["keys"]:
        labelled = sum(
            value
            for sample, value in evidence.cpu_samples()
            if sample.has(function) and sample.values_of(key)
        )
        if labelled > 2 * evidence.period_ns:
            yield f"{labelled / 1e6:.0f} of {total / 1e6:.0f} ms of {function} have {key}"


def label(evidence: Evidence, want: Mapping[str, Any]) -> Iterator[str]:
    """{function, key, pattern, min_pct}: so much of its CPU time has a label that matches as a whole."""
    total = evidence.cpu_of(want["function"])
    function = evidence.function(want["function"])
    matching = sum(
        value
        for sample, value in evidence.cpu_samples()
        if sample.has(function)
        and any(re.fullmatch(want["pattern"], one) for one in sample.values_of(want["key"]))
    )
    if not total or matching < total * want["min_pct"] / 100:
        found = f"{matching / 1e6:.0f} of {total / 1e6:.0f} ms of {function}"
        yield f"{found} have {want['key']} like {want['pattern']}"
