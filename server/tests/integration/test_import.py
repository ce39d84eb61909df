"""/api/v1/import: files of every format, at a time that the query gives, once."""

from __future__ import annotations

import time
from urllib.parse import urlencode

import pytest
from otlp_messages import encode, encode_json
from server_process import CPU, Reply, ServerProcess, make_profile, make_push, zstd_frame
from test_ingest import FOLDED, LINES, SAMPLED, STACKS, TREE, TRIE, speedscope
from test_ingest import stacks as own_values
from test_otlp import of_service

WALL = "wall:wall:nanoseconds::"
PPROF = make_profile(STACKS).SerializeToString()


def send(server: ServerProcess, body: bytes, *, encoding: str = "identity", **query: object) -> Reply:
    return server.ask("POST", f"/api/v1/import?{urlencode(query)}", body, {"Content-Encoding": encoding})


def at(server: ServerProcess, service: str, profile_type: str, time_s: int) -> int:
    reply = server.query(
        "SelectMergeStacktraces", profileTypeID=profile_type, labelSelector=f'{{service_name="{service}"}}',
        start=time_s * 1000 - 1, end=time_s * 1000 + 1,
    )  # fmt: skip
    return int(reply["flamegraph"].get("total", 0))


@pytest.mark.parametrize(
    ("form", "body", "profile_type", "total"),
    [
        ("pprof", PPROF, CPU, 10),
        ("pprof", zstd_frame(PPROF), CPU, 10),
        ("groups", FOLDED, CPU, 100_000_000),
        ("lines", LINES, CPU, 100_000_000),
        ("tree", TREE, CPU, 100_000_000),
        ("trie", TRIE, CPU, 100_000_000),
        ("speedscope", speedscope([SAMPLED]), WALL, 10_000_000),
    ],
)
def test_a_file_counts_once_at_the_time_of_the_query(
    server: ServerProcess, form: str, body: bytes, profile_type: str, total: int
) -> None:
    service, time_s = f"file-{form}-{len(body)}", int(time.time()) - 3600
    query = {"format": form, "name": f"{service}{{region=eu}}", "from": time_s, "id": "a file of mine"}
    for _ in range(2):
        reply = send(server, body, **query)
        assert (reply.status, reply.body) == (200, b"{}"), reply.body
    assert at(server, service, profile_type, time_s) == total
    assert send(server, body, **{**query, "id": "another"}).status == 200
    assert at(server, service, profile_type, time_s) == 2 * total


def test_a_compressed_file_is_taken(server: ServerProcess) -> None:
    assert send(server, zstd_frame(FOLDED), encoding="zstd", format="groups", name="file-zstd").status == 200
    assert sum(own_values(server, '{service_name="file-zstd"}', CPU).values()) == 100_000_000


def test_files_that_name_their_service_are_taken(server: ServerProcess) -> None:
    files = {
        "push": make_push("file-push", make_profile(STACKS)).SerializeToString(),
        "otlp": encode(of_service("file-otlp")),
        "otlp-json": encode_json(of_service("file-otlp-json")),
    }
    for form, body in files.items():
        assert send(server, body, format=form).status == 200
        own = own_values(server, f'{{service_name="file-{form}"}}', CPU)
        assert own in (STACKS, {stack: value * 10_000_000 for stack, value in STACKS.items()})


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({}, "format="),
        ({"format": "elf", "name": "a"}, "not known"),
        ({"format": "pprof"}, "name="),
        ({"format": "pprof", "name": "a", "from": "soon"}, "from="),
        ({"format": "pprof", "name": "a", "from": "1000000000"}, "old"),
        ({"format": "pprof", "name": "a", "id": "x" * 201}, "200 characters"),
        ({"format": "otlp", "name": "a"}, "name is of no use"),
        ({"format": "groups", "name": "a"}, "whole number"),
    ],
)
def test_what_cannot_be_imported_is_refused_with_words(
    server: ServerProcess, query: dict[str, str], words: str
) -> None:
    reply = send(server, PPROF, **query)
    assert (reply.status, reply.json()["code"]) == (400, "invalid_argument")
    assert words in reply.json()["message"]
