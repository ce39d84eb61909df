"""Expectations about the form of profiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from flamewire_conformance.evidence import Evidence

__all__ = [
    "aggregated", "frames", "leaf", "locations_once", "no_empty_window", "period_ns", "positive",
    "references",
    "sample_types", "window_at_most_s", "window_times",
    "windows_apart",
]  # fmt: skip

_CLOCK_SLACK_NS = 1_000_000_000
_OVERLAP_NS = 5_000_000


def references(evidence: Evidence, _: object) -> Iterator[str]:
    """true: strings, functions, locations and numbers of values are what they have to be."""
    if not evidence.attempts:
        yield "no profile came"
    for upload in evidence.attempts:
        yield from upload.profile.faults


def sample_types(evidence: Evidence, want: Mapping[str, Any]) -> Iterator[str]:
    """{types: [type:unit], period_type}: the profiles' sample types, in this order, and their period type."""
    if not evidence.delivered:
        yield "no profile was delivered"
    for upload in evidence.delivered:
        types = [":".join(pair) for pair in upload.profile.sample_types]
        if types != want["types"]:
            yield f"the sample types are {types}, not {want['types']}"
        if (period := ":".join(upload.profile.period_type)) != want["period_type"]:
            yield f"the period type is {period}, not {want['period_type']}"


def period_ns(evidence: Evidence, want: int) -> Iterator[str]:
    """The period that every profile states."""
    if not evidence.delivered:
        yield "no profile was delivered"
    for upload in evidence.delivered:
        if upload.profile.period != want:
            yield f"the period is {upload.profile.period} ns, not {want}"


def window_times(evidence: Evidence, _: object) -> Iterator[str]:
    """true: each window lies between the start of the program and the arrival of its profile."""
    if not evidence.delivered:
        yield "no profile was delivered"
    started = evidence.story.ready["started_unix_ns"]
    for upload in evidence.delivered:
        profile = upload.profile
        end = profile.time_unix_ns + profile.duration_ns
        if profile.duration_ns <= 0:
            yield f"a window has the duration {profile.duration_ns} ns"
        if profile.time_unix_ns < started - _CLOCK_SLACK_NS:
            yield f"a window begins {(started - profile.time_unix_ns) / 1e9:.1f} s before the program"
        if end > upload.request.received_unix_ns + _CLOCK_SLACK_NS:
            late_s = (end - upload.request.received_unix_ns) / 1e9
            yield f"a window ends {late_s:.1f} s after its profile came"


def windows_apart(evidence: Evidence, want: Mapping[str, Any]) -> Iterator[str]:
    """{min}: there are at least that many windows, and no two of one series overlap."""
    if len(evidence.delivered) < want["min"]:
        yield f"{len(evidence.delivered)} windows came, at least {want['min']} should have"
    ends: dict[object, int] = {}
    for upload in sorted(evidence.delivered, key=lambda one: one.profile.time_unix_ns):
        profile = upload.profile
        key = frozenset(upload.labels)
        overlap = ends.get(key, 0) - profile.time_unix_ns
        if overlap > _OVERLAP_NS:
            yield f"two windows overlap by {overlap / 1e6:.0f} ms"
        ends[key] = profile.time_unix_ns + profile.duration_ns


def window_at_most_s(evidence: Evidence, want: float) -> Iterator[str]:
    """No window is longer than so many seconds."""
    if not evidence.delivered:
        yield "no profile was delivered"
    for upload in evidence.delivered:
        if upload.profile.duration_ns > want * 1e9:
            yield f"a window lasts {upload.profile.duration_ns / 1e9:.1f} s, {want} s at most were expected"


def locations_once(evidence: Evidence, _: object) -> Iterator[str]:
    """true: no two locations stand for the same function and line."""
    if not evidence.delivered:
        yield "no profile was delivered"
    for upload in evidence.delivered:
        if upload.profile.repeated_locations:
            yield f"{upload.profile.repeated_locations} locations stand for what another one stands for"


def aggregated(evidence: Evidence, _: object) -> Iterator[str]:
    """true: each pair of stack trace and labels stands once in a profile."""
    if not evidence.delivered:
        yield "no profile was delivered"
    for upload in evidence.delivered:
        seen = Counter((sample.stack, tuple(sorted(sample.labels))) for sample in upload.profile.samples)
        if twice := sum(count - 1 for count in seen.values()):
            yield f"{twice} of {seen.total()} samples repeat the stack trace and the labels of another"


def positive(evidence: Evidence, _: object) -> Iterator[str]:
    """true: no sample has a negative value, and none has nothing but 0."""
    if not evidence.delivered:
        yield "no profile was delivered"
    for upload in evidence.delivered:
        if any(min(sample.values) < 0 or not any(sample.values) for sample in upload.profile.samples):
            yield "a sample has a negative value, or no value that is not 0"


def no_empty_window(evidence: Evidence, _: object) -> Iterator[str]:
    """true: no profile is without samples."""
    if any(not upload.profile.samples for upload in evidence.attempts):
        yield "a profile without samples was sent"


def leaf(evidence: Evidence, want: Mapping[str, Any]) -> Iterator[str]:
    """{functions, min_pct}: so much of the CPU time below each function has it as the leaf."""
    for name in want["functions"]:
        function = evidence.function(name)
        total = evidence.cpu_of(name)
        own = sum(
            value
            for sample, value in evidence.cpu_samples()
            if sample.stack and sample.stack[0].function == function
        )
        if not total or own < total * want["min_pct"] / 100:
            yield f"{function} is the leaf of {own / 1e6:.0f} ms of its {total / 1e6:.0f} ms"


def frames(evidence: Evidence, want: Mapping[str, Any]) -> Iterator[str]:
    """{function, depth}: the function's stacks hold it at least `depth` times, with file and line."""
    function = evidence.function(want["function"])
    stacks = [sample.stack for sample, _ in evidence.cpu_samples() if sample.has(function)]
    deepest = max((sum(frame.function == function for frame in stack) for stack in stacks), default=0)
    if deepest < want["depth"]:
        yield f"{function} stands at most {deepest} times in a stack, not {want['depth']}"
    if any(f.function == function and (not f.filename or f.line <= 0) for stack in stacks for f in stack):
        yield f"a frame of {function} has no file or no line"
