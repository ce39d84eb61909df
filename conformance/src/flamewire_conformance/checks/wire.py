"""Expectations about requests: paths, headers, labels of the series, ids."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from flamewire_conformance.evidence import Evidence
from flamewire_conformance.wire import Upload

__all__ = [
    "elsewhere",
    "gap_ms",
    "headers",
    "ids",
    "not_again",
    "query",
    "query_times",
    "requests",
    "retried",
    "series",
    "series_labels_once",
]

_CLOCK_SLACK_NS = 2_000_000_000
"""/ingest may tell whole seconds."""


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


def query(evidence: Evidence, want: Mapping[str, str]) -> Iterator[str]:
    """{name: pattern}: each request to /ingest has the field in its query, matching as a whole."""
    for given in _queries(evidence):
        for name, pattern in want.items():
            if not re.fullmatch(pattern, given.get(name, "")):
                yield f"{name} of the query is {given.get(name)!r}, not {pattern}"
    if not evidence.requests:
        yield "no request came"


def _queries(evidence: Evidence) -> Iterator[Mapping[str, str]]:
    for request in evidence.requests:
        url = urlsplit(request.path)
        if url.path.endswith("/ingest"):
            yield dict(parse_qsl(url.query))


def query_times(evidence: Evidence, _: object) -> Iterator[str]:
    """true: from and until of each request to /ingest lie within the run, in a unit told by their digits."""
    first_ns = evidence.story.ready["started_unix_ns"] - _CLOCK_SLACK_NS
    for number, given in enumerate(_queries(evidence)):
        try:
            begin_ns, end_ns = (
                int(given[name]) * 10 ** (19 - len(given[name])) for name in ("from", "until")
            )
        except (KeyError, ValueError):
            yield f"from and until are {given.get('from')!r} and {given.get('until')!r}"
            continue
        last_ns = evidence.requests[number].received_unix_ns + _CLOCK_SLACK_NS
        if not first_ns <= begin_ns <= end_ns <= last_ns:
            yield f"from {given['from']} until {given['until']} is no part of the run"
    if not evidence.requests:
        yield "no request came"


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
    for upload in [one for one in evidence.attempts if one.request is evidence.requests[0]]:
        again = [
            other
            for other in evidence.attempts
            if other.request is not upload.request and _identity(other) == _identity(upload)
        ]
        if not upload.profile_id:
            yield "the first profile has no id to come again under"
        if len(again) < want["times"]:
            yield f"the first profile came again {len(again)} times, not {want['times']}"
        if any(other.profile != upload.profile for other in again):
            yield "what came again under the first profile's id is another profile"


def _identity(upload: Upload) -> object:
    """Return what makes two uploads one profile: the id, or all of it where it has none."""
    return upload.profile_id or upload.profile


def not_again(evidence: Evidence, _: object) -> Iterator[str]:
    """true: no profile came twice."""
    if not evidence.attempts:
        yield "no profile came"
    seen = [_identity(upload) for upload in evidence.attempts]
    for upload in evidence.attempts:
        if (count := seen.count(_identity(upload))) > 1:
            yield f"the profile {upload.profile_id or '(without id)'} came {count} times"


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
