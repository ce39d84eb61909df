"""What a vector is, and how it is written to and sent from a folder."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flamewire_conformance.protowrite import varint

__all__ = ["CPU", "SERVICE", "TIME_NS", "Meaning", "Vector"]

SERVICE = "golden-service-0"
"""Stands for the service in every vector; a sender puts another name of the same length in its place."""

TIME_NS = 1_700_000_000_000_000_000
"""Stands for the time in every vector; a sender puts the present there, which has as many digits."""

CPU = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a server holds of a profile type afterwards.

    Attributes:
        stacks: folded stack, root first -> its own value; the empty stack is ``""``.
        labels: labels that single out the series, beside the service.
    """

    profile_type: str
    stacks: Mapping[str, int]
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Vector:
    """One request.

    Attributes:
        name: format/what.
        about: what it is there for, in one sentence.
        spec: sentences that say what becomes of it.
        path: with the query in `query`.
        status: answers that keep the specification.
        code: of a Connect error; empty where there is none, or any will do.
        meaning: what is stored; empty with a 200 means that nothing is.
    """

    name: str
    about: str
    spec: tuple[str, ...]
    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    status: Sequence[int] = (200,)
    code: str = ""
    meaning: Sequence[Meaning] = ()
    hostile: bool = False

    def description(self) -> str:
        """Return the JSON that stands beside the body."""
        values: dict[str, Any] = {
            "about": self.about,
            "spec": list(self.spec),
            "request": {
                "method": "POST",
                "path": self.path,
                "query": dict(self.query),
                "headers": dict(self.headers),
            },
            "answer": {"status": list(self.status), **({"code": self.code} if self.code else {})},
            "hostile": self.hostile,
            "meaning": [
                {"profile_type": one.profile_type, "labels": dict(one.labels), "stacks": dict(one.stacks)}
                for one in self.meaning
            ],
        }
        return json.dumps(values, indent=1, ensure_ascii=True) + "\n"

    def body_for(self, service: str, time_ns: int) -> bytes:
        """Return the body with another service and time.

        Args:
            service: of SERVICE's length.
            time_ns: of TIME_NS's number of digits.
        """
        assert len(service) == len(SERVICE)
        assert len(varint(time_ns)) == len(varint(TIME_NS))
        if self.headers.get("Content-Encoding") == "gzip" and not self.hostile:
            plain = replace(self, body=gzip.decompress(self.body), headers={})
            return gzip.compress(plain.body_for(service, time_ns), mtime=0)
        body = self.body.replace(SERVICE.encode(), service.encode())
        body = body.replace(TIME_NS.to_bytes(8, "little"), time_ns.to_bytes(8, "little"))
        return body.replace(varint(TIME_NS), varint(time_ns)).replace(
            str(TIME_NS).encode(), str(time_ns).encode()
        )

    def query_for(self, service: str, time_ns: int) -> dict[str, str]:
        """Return the query with another service and time."""
        return {
            key: text.replace(SERVICE, service).replace(str(TIME_NS), str(time_ns))
            for key, text in self.query.items()
        }
