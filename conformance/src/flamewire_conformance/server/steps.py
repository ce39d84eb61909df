"""The steps of a case on a server: push, send a vector, send anything, ask; and how each is judged."""

from __future__ import annotations

import base64
import gzip
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from flamewire_conformance.errors import SuiteError
from flamewire_conformance.golden.files import vectors
from flamewire_conformance.golden.vector import CPU, SERVICE, Vector
from flamewire_conformance.protowrite import PprofSample, PprofWriter, bytes_field, integer_field
from flamewire_conformance.schema import Fields
from flamewire_conformance.server.client import Answered, Client
from flamewire_conformance.server.expect import EXPECTATIONS, Context, judge
from flamewire_conformance.wire import PUSH_PATH

__all__ = ["check_steps", "perform"]

_NAMESPACE = uuid.UUID("6f1e7f0a-2b60-4c11-9d52-f8a0f2c6a3d1")
_PUSH_KEYS = frozenset(
    {
        "stacks",
        "at_s",
        "labels",
        "sample_labels",
        "numbers",
        "id",
        "types",
        "period_type",
        "codec",
        "gzip",
        "times",
        "family",
        "headers",
        "tenant",
    }
)
_PROTO_FIELDS = {"profileTypeID": 1, "labelSelector": 2, "start": 3, "end": 4, "maxNodes": 5}
_CPU_TYPES = ("cpu:nanoseconds",)
_RANGE_S = (-3600.0, 60.0)


def check_steps(where: str, steps: Sequence[object]) -> None:
    """Complain about steps that cannot be performed.

    Raises:
        SuiteError: there is one; the message says where.
    """
    for index, step in enumerate(steps):
        fields = Fields(f"{where}: steps[{index}]", step)
        assert isinstance(step, Mapping)
        if "push" in step:
            if unknown := fields.take("push", dict).keys() - _PUSH_KEYS:
                raise SuiteError(f"{fields.where}: push knows no {', '.join(sorted(unknown))}")
        elif "vector" in step:
            if (name := fields.take("vector", str)) not in vectors():
                raise SuiteError(f"{fields.where}: there is no vector {name}")
        elif "send" in step:
            fields.take("send", dict)
        else:
            fields.take("ask", str)
            fields.take("with", dict, {})
            fields.take("headers", dict, {})
            fields.choice("codec", ("json", "proto"), "json")
        expect = fields.take("expect", dict, {})
        if unknown := expect.keys() - EXPECTATIONS.keys():
            raise SuiteError(f"{fields.where}: expect knows no {', '.join(sorted(unknown))}")
        fields.done()


def perform(name: str, steps: Sequence[Mapping[str, Any]], client: Client) -> list[str]:
    """Do the steps of a case, and return what the server does not keep, in words."""
    # As long as the vectors' placeholder, so that it can stand in its place.
    service = f"conf-{uuid.uuid4().hex[:11]}"
    # A whole second, so that times in answers are whole numbers; not the present one, which has not ended.
    context = Context(service, (int(time.time()) - 2) * 1000)
    faults: list[str] = []
    for number, step in enumerate(steps):
        found = _one(f"{name}/{service}", step, client, context)
        faults += [f"step {number + 1}: {fault}" for fault in found]
    return faults


def _one(case: str, step: Mapping[str, Any], client: Client, context: Context) -> list[str]:
    expect = step.get("expect", {})
    if "push" in step:
        faults: list[str] = []
        for _ in range(step["push"].get("times", 1)):
            faults += judge(_push(case, context.fill(step["push"]), client, context), expect, context)
        return faults
    if "vector" in step:
        return _vector(vectors()[step["vector"]], client, context)
    if "send" in step:
        send = context.fill(step["send"])
        body = send.get("body", "").encode() * send.get("repeat", 1)
        return judge(
            client.ask(
                send.get("method", "POST"), send["path"], body, send.get("headers"), send.get("query")
            ),
            expect,
            context,
        )
    return judge(_ask(step, client, context), expect, context)


def _push(case: str, push: Mapping[str, Any], client: Client, context: Context) -> Answered:
    types = [(kind, unit) for kind, _, unit in (one.partition(":") for one in push.get("types", _CPU_TYPES))]
    period = push.get("period_type", "cpu:nanoseconds")
    writer = PprofWriter(
        types,
        time_ns=round((context.base_ms + push.get("at_s", -30) * 1000) * 1_000_000),
        period_type=(period.partition(":")[0], period.partition(":")[2]) if period else None,
    )
    for folded, value in push["stacks"].items():
        stack = folded.split(";") if folded else []
        values = value if isinstance(value, list) else [value] * len(types)
        pairs = list(push.get("sample_labels", {}).get(folded, {}).items())
        writer.add(PprofSample(stack, values, pairs, push.get("numbers", {}).get(folded, {})))
    labels = {"__name__": push.get("family", "process_cpu"), "service_name": context.service}
    labels = {key: text for key, text in (labels | push.get("labels", {})).items() if text is not None}
    profile_id = str(uuid.uuid5(_NAMESPACE, f"{case}/{push['id']}")) if "id" in push else str(uuid.uuid4())
    if str(push.get("id", "")).startswith("="):
        profile_id = f"{push['id'][1:]}-{context.service}" if push["id"] != "=" else ""
    is_json = push.get("codec", "proto") == "json"
    body = _json(labels, writer.done(), profile_id) if is_json else _proto(labels, writer.done(), profile_id)
    headers = {
        "Content-Type": "application/json" if is_json else "application/proto",
        **push.get("headers", {}),
    }
    if push.get("gzip"):
        body, headers["Content-Encoding"] = gzip.compress(body, 1), "gzip"
    return client.ask("POST", PUSH_PATH, body, headers)


def _proto(labels: Mapping[str, str], profile: bytes, profile_id: str) -> bytes:
    pairs = b"".join(
        bytes_field(1, bytes_field(1, key) + bytes_field(2, text)) for key, text in labels.items()
    )
    sample = bytes_field(1, profile) + (bytes_field(2, profile_id) if profile_id else b"")
    return bytes_field(1, pairs + bytes_field(2, sample))


def _json(labels: Mapping[str, str], profile: bytes, profile_id: str) -> bytes:
    pairs = [{"name": key, "value": text} for key, text in labels.items()]
    sample = {"rawProfile": base64.b64encode(profile).decode(), **({"ID": profile_id} if profile_id else {})}
    return json.dumps({"series": [{"labels": pairs, "samples": [sample]}]}).encode()


def _vector(vector: Vector, client: Client, context: Context) -> list[str]:
    time_ns = (context.base_ms - 30_000) * 1_000_000
    assert len(context.service) == len(SERVICE)
    answered = client.ask(
        "POST",
        vector.path,
        vector.body_for(context.service, time_ns),
        vector.headers,
        vector.query_for(context.service, time_ns),
    )
    expect: dict[str, Any] = {"status": list(vector.status)}
    if vector.code:
        expect["code"] = vector.code
    faults = judge(answered, expect, context)
    for meaning in vector.meaning:
        pairs = "".join(f', "{key}"="{text}"' for key, text in meaning.labels.items())
        asked = {
            "ask": "SelectMergeStacktraces",
            "with": {
                "profileTypeID": meaning.profile_type,
                "labelSelector": f'{{service_name="{{service}}"{pairs}}}',
            },
        }
        found = judge(_ask(asked, client, context), {"stacks": dict(meaning.stacks)}, context)
        faults += [f"{meaning.profile_type}: {fault}" for fault in found]
    if not vector.meaning:
        # Nothing is stored, and the server still answers.
        asked = {
            "ask": "Series",
            "with": {"matchers": ['{service_name="{service}"}'], "labelNames": ["service_name"]},
        }
        wanted: dict[str, Any] = {} if 200 in vector.status and vector.hostile else {"label_sets": []}
        faults += judge(_ask(asked, client, context), wanted, context)
    return faults


def _ask(step: Mapping[str, Any], client: Client, context: Context) -> Answered:
    method = step["ask"]
    start, end = (context.base_ms + round(second * 1000) for second in _RANGE_S)
    fields: dict[str, Any] = {"start": start, "end": end}
    if method.startswith("Select"):
        fields |= {"profileTypeID": CPU, "labelSelector": '{service_name="{service}"}', "maxNodes": 0}
    asked = {key: value for key, value in (fields | step.get("with", {})).items() if value is not None}
    if method == "Diff":
        sides = {
            side: fields | {"profileTypeID": CPU, "labelSelector": '{service_name="{service}"}'} | one
            for side, one in step["with"].items()
        }
        asked = sides
    asked = context.fill(asked)
    path = f"/querier.v1.QuerierService/{method}"
    if step.get("codec", "json") == "json":
        headers = {"Content-Type": "application/json", **step.get("headers", {})}
        return client.ask("POST", path, json.dumps(asked).encode(), headers)
    body = b"".join(
        integer_field(_PROTO_FIELDS[key], value)
        if isinstance(value, int)
        else bytes_field(_PROTO_FIELDS[key], str(value))
        for key, value in asked.items()
    )
    return client.ask("POST", path, body, {"Content-Type": "application/proto", **step.get("headers", {})})
