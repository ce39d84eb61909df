"""Damaged requests to every endpoint: no answer is a fault of the server, and its memory stays bounded."""

from __future__ import annotations

import base64
import gzip
import json
import random
import time
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode

import pytest
from otlp_messages import LAYOUTS, encode, encode_json
from server_process import CPU, JSON, PROTO, PUSH, ServerProcess, make_profile, make_push, zstd_frame
from test_grpc import frame
from test_ingest import FOLDED, FORM, SAMPLED, TREE, TRIE, form, speedscope
from test_keys import ENDPOINTS
from test_otlp import METHOD, PATH, PROTOBUF, of_service

QUICK, DEEP = 1500, 20_000
# Refused on purpose: what is not served, and what takes too much.
ALLOWED = frozenset((501,))
PIECES = (
    b"\0", b"\xff" * 10, b"{}", b"[]", b"null", b"-1", b"1e999", b'"', b"\\u0000", b"9223372036854775808",
    b"%00", b"..",
    b"\x80" * 9, b"now-1h", b'{service_name="', b"=~", b"((((", b"{" * 70, b"\xed\xa0\x80",
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def post(path: str, body: bytes, content_type: str, /, **query: str) -> Request:
    return Request("POST", path, query, {"Content-Type": content_type}, body)


def seeds() -> list[Request]:
    """Intact requests: pushes in every format, queries of every method, every other path."""
    pprof = make_profile({"main;work": 7, "main": 2}, labels={"main": {"route": "/x", "span_id": "00aa" * 4}})
    push = make_push("fuzz", pprof)
    raw = base64.b64encode(pprof.SerializeToString()).decode()
    labels = [{"name": "__name__", "value": "process_cpu"}, {"name": "service_name", "value": "fuzz"}]
    push_json = json.dumps(
        {"series": [{"labels": labels, "samples": [{"rawProfile": raw, "ID": "x"}]}]}
    ).encode()
    ingest = {
        "name": "fuzz.cpu{a=b}",
        "from": "now-1h",
        "until": "now",
        "sampleRate": "100",
        "spyName": "pyspy",
    }
    now_ms = time.time_ns() // 10**6
    matchers = ['{service_name="fuzz", __profile_type__=~"process.*"}']
    query = json.dumps(
        {
            "profileTypeID": CPU, "labelSelector": matchers[0], "matchers": matchers, "start": now_ms - 10**7,
            "end": str(now_ms), "name": "service_name", "labelNames": ["a"], "groupBy": ["a"],
            "step": 15.0, "maxNodes": 9,
            "limit": 3, "query": matchers[0], "format": "PROFILE_FORMAT_TREE", "spanSelector": ["00aa" * 4],
            "left": {"profileTypeID": CPU, "labelSelector": "{}", "start": 0, "end": now_ms},
            "right": {"profileTypeID": CPU, "labelSelector": "{}", "start": 0, "end": now_ms},
        }
    ).encode()  # fmt: skip
    url = {"query": CPU + '{service_name="fuzz"}', "from": "now-1h", "until": "now", "label": "a",
           "format": "json",
           "leftQuery": CPU + "{}", "rightQuery": CPU + "{}", "groupBy": "a", "max-nodes": "9"}  # fmt: skip
    otlp = of_service("fuzz")
    return [
        post(PUSH, push.SerializeToString(), PROTO),
        post(PUSH, push_json, JSON),
        post(PUSH, frame(push.SerializeToString()), "application/grpc-web+proto"),
        *(post("/ingest", body, kind, **{**ingest, "format": name}) for name, kind, body in (
            ("groups", "", FOLDED), ("lines", "", FOLDED), ("tree", "", TREE), ("trie", "", TRIE),
            ("pprof", "", pprof.SerializeToString()),
            ("speedscope", "", speedscope([SAMPLED])), ("jfr", "", b"FLR\0\0\2\0\1" + bytes(60)),
            ("", FORM, form({"profile": pprof.SerializeToString(), "sample_type_config": b'{"cpu":{}}'})),
        )),
        *(post(path, encode(otlp, layout), PROTOBUF) for path in (PATH, METHOD) for layout in LAYOUTS),
        post(PATH, encode_json(otlp), JSON),
        post("/api/v1/import", pprof.SerializeToString(), "", format="pprof", name="fuzz", id="x"),
        *(
            post(path, query, JSON)
            for method, path, scope in ENDPOINTS
            if scope == "read" and method == "POST"
        ),
        *(Request("GET", path, url) for method, path, _ in ENDPOINTS if method == "GET"),
    ]  # fmt: skip


def damage(bytes_: bytes, chance: random.Random) -> bytes:
    out = bytearray(bytes_)
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        place = chance.randrange(len(out) + 1)
        kind = chance.randrange(4)
        if kind == 0 and out:
            out[place % len(out)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del out[place : place + chance.choice((1, 8, 1 << 16))]
        elif kind == 2:
            out[place:place] = chance.choice(PIECES)
        else:
            out[place:place] = out[place // 2 : place]
    return bytes(out)


def mutate(seed: Request, chance: random.Random) -> Request:
    request = replace(seed, body=damage(seed.body, chance) if seed.body else b"")
    query = {
        key: damage(value.encode(), chance).decode("latin-1") if chance.random() < 0.3 else value
        for key, value in request.query.items()
        if chance.random() < 0.9
    }
    headers = dict(request.headers)
    if chance.random() < 0.2:
        headers["Content-Type"] = chance.choice(
            (JSON, PROTO, PROTOBUF, FORM, "application/grpc", "x", "application/grpc-web-text")
        )
    if chance.random() < 0.2:
        name = chance.choice(("gzip", "zstd", "br", "identity", "gzip, gzip"))
        headers["Content-Encoding"] = name
        if chance.random() < 0.7 and name in ("gzip", "zstd"):
            packed = gzip.compress(request.body, 1) if name == "gzip" else zstd_frame(request.body)
            request = replace(request, body=packed if chance.random() < 0.7 else damage(packed, chance))
    if chance.random() < 0.1:
        name = chance.choice(
            ("X-Scope-OrgID", "grpc-timeout", "grpc-encoding", "Accept", "Origin", "Range", "If-None-Match")
        )
        headers[name] = chance.choice(
            ("", "a|b", "1S", "gzip", "*/*;allow-utf8-labelnames=true", "bytes=0-", "x" * 5000)
        )
    method = (
        chance.choice(("GET", "POST", "PUT", "HEAD", "OPTIONS")) if chance.random() < 0.05 else request.method
    )
    return replace(request, method=method, query=query, headers=headers)


def run(server: ServerProcess, rounds: int, seed: int) -> None:
    chance, intact = random.Random(seed), seeds()
    statuses: dict[int, int] = {}
    for _ in range(rounds):
        request = mutate(chance.choice(intact), chance)
        mark = "&" if "?" in request.path else "?"
        path = f"{request.path}{mark}{urlencode(request.query)}"
        body = None if request.method == "GET" else request.body
        status = server.ask(request.method, path, body, request.headers).status
        statuses[status] = statuses.get(status, 0) + 1
        assert status < 500 or status in ALLOWED, (seed, status, request)
    assert statuses[200] > rounds // 20 < statuses[400], (seed, statuses)
    assert server.ask("GET", "/ready").body == b"ready\n"
    assert server.metric("flamewire_rejected_total") > 0
    assert server.peak_rss_bytes() < 400 << 20


def test_damaged_requests_are_no_fault_of_the_server(server: ServerProcess) -> None:
    run(server, QUICK, 20261124)


@pytest.mark.deep
def test_many_damaged_requests_are_no_fault_of_the_server(server: ServerProcess) -> None:
    run(server, DEEP, random.randrange(1 << 32))
