"""Blocks are plain Parquet: what docs/reference/block-format.md says holds for a reader that is not ours."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from .test_native import CPU, ID, NOW_NS, Files, cpu_pprof, decode, encode, push_body, store

duckdb = pytest.importorskip("duckdb", reason="DuckDB is the foreign reader")


@pytest.fixture
def blocks(tmp_path: Path) -> Files:
    labelled = cpu_pprof(
        {"main;query": 5},
        labels={
            "span_id": "00000000000000ff",
            "trace_id": "000102030405060708090a0b0c0d0e0f",
            "span_name": "GET /",
        },
    )
    return store(tmp_path, *encode(decode(push_body(labelled, cpu_pprof({"main;query;send": 3, "main": 1})))))


def test_samples_have_the_documented_columns(blocks: Files) -> None:
    described = duckdb.sql(f"DESCRIBE SELECT * FROM '{blocks.samples[0]}'").fetchall()
    # How a nanosecond time with zone is called differs between versions of DuckDB.
    kinds = [(name, "TIME" if kind.startswith("TIMESTAMP") else kind) for name, kind, *_ in described]
    assert kinds == [
        ("service", "VARCHAR"),
        ("profile_type", "VARCHAR"),
        ("series", "BIGINT"),
        ("profile_id", "UUID"),
        ("time_ns", "TIME"),
        ("stack", "BIGINT"),
        ("value", "BIGINT"),
        ("span_id", "BIGINT"),
        ("child_span_id", "BIGINT"),
        ("trace_id", "BLOB"),
        ("span_name", "VARCHAR"),
    ]


def test_samples_say_what_was_pushed(blocks: Files) -> None:
    rows = duckdb.sql(
        "SELECT service, profile_type, series, profile_id, epoch_ns(time_ns), value, span_id, child_span_id,"
        f" trace_id, span_name FROM '{blocks.samples[0]}' ORDER BY value"
    ).fetchall()
    key = ("shop", CPU, blocks.fingerprints[0], uuid.UUID(ID), NOW_NS)
    assert rows == [
        (*key, 1, None, None, None, None),
        (*key, 3, None, None, None, None),
        (*key, 5, 255, None, bytes(range(16)), "GET /"),
    ]


def test_symbols_resolve_every_stack_root_first(blocks: Files) -> None:
    rows = duckdb.sql(
        f"""WITH RECURSIVE symbols AS (FROM '{blocks.symbols[0]}'), frames AS (
              SELECT stack, value, 0 AS depth, s.* FROM '{blocks.samples[0]}' JOIN symbols s ON s.node = stack
              UNION ALL
              SELECT f.stack, f.value, depth + 1, s.* FROM frames f JOIN symbols s ON s.node = f.parent)
            SELECT value, string_agg(function, ';' ORDER BY depth DESC) FROM frames
            GROUP BY stack, value ORDER BY value"""
    ).fetchall()
    assert rows == [(1, "main"), (3, "main;query;send"), (5, "main;query")]
    callers_first = duckdb.sql(f"SELECT parent FROM '{blocks.symbols[0]}'").fetchall()
    assert callers_first[0] == (0,)
