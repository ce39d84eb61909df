"""The profiles or spans that stand for a point of a series, or for a cell of a heatmap."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flamewire_server.model.labels import Labels
from flamewire_server.model.time_range import NS_PER_MS

__all__ = ["Exemplar", "NativeExemplar", "read_exemplar"]

# As the reader gives it: k, time of the earliest sample in ns, id, trace id, value, its series.
NativeExemplar = tuple[int, int, bytes, bytes, int, list[int]]


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A profile, or a span: exactly one of the two ids is set."""

    time_ms: int
    profile_id: str
    span_id: str
    trace_id: str
    value: int
    # Those that all of its series have and the query does not group by.
    labels: tuple[tuple[str, str], ...]


def read_exemplar(
    found: NativeExemplar, labels_of: Mapping[int, Labels], group_by: Sequence[str], *, by_span: bool
) -> Exemplar:
    """Make an exemplar of what the reader gives."""
    _, time_ns, identity, trace, value, series = found
    common = set(labels_of[series[0]].pairs).intersection(*(labels_of[one].pairs for one in series[1:]))
    return Exemplar(
        time_ns // NS_PER_MS,
        "" if by_span else str(uuid.UUID(bytes=identity)),
        identity[8:].hex() if by_span else "",
        trace.hex() if any(trace) else "",
        value,
        tuple(sorted(pair for pair in common if pair[0] not in group_by)),
    )
