"""Expectations about requests: paths, headers, labels of the series, ids."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from flamewire_conformance.evidence import Evidence

__all__ = [
    "elsewhere",
    "gap_ms",
    "headers",
    "ids",
    "not_again",
    "requests",
    "retried",
    "series",
    "series_labels_once",
]


def requests(evidence: Evidence, want: Mapping[str, Any]) -> Iterator[str]:
    """{min, max, method, path}: how many requests came, and how each was addressed."""
    count = len(evidence.requests)
    if count < want.get("min", 0):
        yield f"{count} requests came, at least {want['min']} should have"
    if count > want.get("max", count):
        yield f"{count} requests came, at most {want['max']} should have"
    for request in evidence.requests:
        path = urlsplit(request.path).path
        if request.method != want.get("method", request.method):
            yield f"the method is {request.method}, not {want['method']}"
        if path != want.get("path", path):
            yield f"the path is {path}, not {want['path']}"
    yield from evidence.unreadable


def headers(evidence: Evidence, want: Mapping[str, str | None]) -> Iterator[str]:
    """{name: pattern or null}: each request has the header, matching as a whole; null: does not have it."""
    if not evidence.requests:
        yield "no request came"
    for request in evidence.requests:
        for name, pattern in want.items():
            value = request.headers.get(name.lower())
            if pattern is None and value is not None:
                yield f"{name} is there: {value}"
            elif pattern is not None and (value is None or not re.fullmatch(pattern, value)):
                yield f"{name} is {value!r}, not {pattern}"


def series(evidence: Evidence, want: Mapping[str, str]) -> Iterator[str]:
    """{label: pattern}: each profile's series has the label, matching as a whole."""
    if not evidence.delivered:
        yield "no profile was delivered"
    for upload in evidence.delivered:
        for name, pattern in want.items():
            if not re.fullmatch(pattern, upload.label(name)):
                yield f"the series' label {name} is {upload.label(name)!r}, not {pattern}"


def series_labels_once(evidence: Evidence, _: object) -> Iterator[str]:
    """true: no label name stands twice in a series, none is empty."""
    if not evidence.delivered:
        yield "no profile was delivered"
    for upload in evidence.delivered:
        names = [name for name, _ in upload.labels]
        if len(set(names)) != len(names) or "" in names:
            yield f"the series' label names are {sorted(names)}"


def ids(evidence: Evidence, _: object) -> Iterator[str]:
    """true: each profile has a UUID of its own."""
    seen: dict[str, object] = {}
    if not evidence.attempts:
        yield "no profile came"
    for upload in evidence.attempts:
        try:
            uuid.UUID(upload.profile_id)
        except ValueError:
            yield f"the profile's id is {upload.profile_id!r}, which is no UUID"
            continue
        if seen.setdefault(upload.profile_id, upload.profile) != upload.profile:
            yield f"two profiles have the id {upload.profile_id}"


def retried(evidence: Evidence, want: Mapping[str, Any]) -> Iterator[str]:
    """{times}: the profiles of the first request came at least `times` times again, under the same ids."""
    if not evidence.requests:
        yield "no request came"
        return
    first = [upload for upload in evidence.attempts if upload.request is evidence.requests[0]]
    for upload in first:
        again = [
            other
            for other in evidence.attempts
            if other.request is not upload.request and other.profile_id == upload.profile_id
        ]
        if not upload.profile_id or len(again) < want["times"]:
            yield f"the first profile came again {len(again)} times under its id, not {want['times']}"
        if any(other.profile != upload.profile for other in again):
            yield "what came again under the first profile's id is another profile"


def not_again(evidence: Evidence, _: object) -> Iterator[str]:
    """true: no profile came twice."""
    if not evidence.attempts:
        yield "no profile came"
    ids = [upload.profile_id for upload in evidence.attempts]
    for profile_id in sorted({one for one in ids if ids.count(one) > 1}):
        yield f"the profile {profile_id} came {ids.count(profile_id)} times"


def gap_ms(evidence: Evidence, want: Mapping[str, Any]) -> Iterator[str]:
    """{after, at_least}: milliseconds between the request of that index and the next one."""
    at = want["after"]
    if len(evidence.requests) < at + 2:
        yield f"{len(evidence.requests)} requests came, too few to see a gap after number {at}"
        return
    before, then = evidence.requests[at : at + 2]
    gap = (then.received_unix_ns - before.received_unix_ns) // 1_000_000
    if gap < want["at_least"]:
        yield f"the next request came {gap} ms later, at least {want['at_least']} ms were asked for"


def elsewhere(evidence: Evidence, _: object) -> Iterator[str]:
    """true: no request to another host than the one that was configured carries credentials."""
    if not evidence.requests:
        yield "no request came"
    for request in evidence.requests:
        host = request.headers.get("host", "")
        if host != f"127.0.0.1:{evidence.sink_port}" and "authorization" in request.headers:
            yield f"the credentials went to {host.partition(':')[0]}, where a redirect pointed"
