"""Profiles and spans that stand for points and cells."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from server_process import CPU, ServerProcess, make_profile, make_push, now_ms

STEP_S = 60


def fill(server: ServerProcess, service: str) -> tuple[int, list[str]]:
    """Push five profiles of rising value, one each minute; returns the time of the first and the ids."""
    first_ms = (now_ms() - 600_000) // 60_000 * 60_000
    ids = [str(uuid.uuid4()) for _ in range(6)]
    for number in range(6):
        profile = make_profile(
            {"main;a": number + 1, "main;b": 100},
            time_ns=(first_ms + number // 2 * 60_000 + 1000) * 10**6,
            labels={"main;a": {"span_id": f"{number + 1:016x}", "trace_id": f"{number + 1:032x}"}},
        )
        push = make_push(service, profile, ids=[ids[number]], region="eu", pod=f"p{number}")
        assert server.push(push).status == 200
    return first_ms, ids


def ask(server: ServerProcess, method: str, service: str, first_ms: int, **fields: Any) -> Any:
    reply = server.query(
        method,
        profileTypeID=CPU,
        labelSelector=f'{{service_name="{service}"}}',
        start=first_ms + 60_000,
        end=first_ms + 180_000,
        step=STEP_S,
        **fields,
    )
    return reply["series"]


@pytest.mark.parametrize("kind", ["INDIVIDUAL", "SPAN"])
def test_each_point_has_its_largest_profile_or_span(server: ServerProcess, kind: str) -> None:
    service = f"exemplars-{kind.lower()}"
    first_ms, ids = fill(server, service)
    (series,) = ask(
        server, "SelectSeries", service, first_ms, exemplarType=f"EXEMPLAR_TYPE_{kind}", groupBy=["region"]
    )
    assert len(series["points"]) == 3
    for place, point in enumerate(series["points"]):
        largest = 2 * place + 1
        (exemplar,) = point["exemplars"]
        assert int(exemplar["timestamp"]) == first_ms + place * 60_000 + 1000
        labels = {one["name"]: one["value"] for one in exemplar["labels"]}
        assert labels["pod"] == f"p{largest}"
        assert "region" not in labels
        if kind == "INDIVIDUAL":
            assert (exemplar["profileId"], exemplar["value"]) == (ids[largest], str(100 + largest + 1))
            assert "spanId" not in exemplar
        else:
            assert (exemplar["spanId"], exemplar["value"]) == (f"{largest + 1:016x}", str(largest + 1))
            assert exemplar["traceId"] == f"{largest + 1:032x}"
            assert "profileId" not in exemplar


def test_a_profile_of_an_exemplar_can_be_asked_for(server: ServerProcess) -> None:
    first_ms, ids = fill(server, "exemplar-to-profile")
    graph = server.query(
        "SelectMergeStacktraces",
        profileTypeID=CPU,
        labelSelector='{service_name="exemplar-to-profile"}',
        start=first_ms,
        end=first_ms + 300_000,
        profileIdSelector=[ids[3]],
    )["flamegraph"]
    assert graph["total"] == "104"


@pytest.mark.parametrize(("query", "kind"), [("INDIVIDUAL", "INDIVIDUAL"), ("SPAN", "SPAN")])
def test_each_cell_of_a_heatmap_that_counts_has_one(server: ServerProcess, query: str, kind: str) -> None:
    service = f"heat-{query.lower()}"
    first_ms, _ = fill(server, service)
    (series,) = ask(
        server,
        "SelectHeatmap",
        service,
        first_ms,
        queryType=f"HEATMAP_QUERY_TYPE_{query}",
        exemplarType=f"EXEMPLAR_TYPE_{kind}",
    )
    assert len(series["slots"]) == 3
    for slot in series["slots"]:
        cells = [number for number, count in enumerate(slot["counts"]) if count]
        assert sum(slot["counts"]) == 2
        assert len(slot["exemplars"]) == len(cells)


def test_call_sites_narrow_exemplars_too(server: ServerProcess) -> None:
    first_ms, _ = fill(server, "exemplars-narrow")
    (series,) = ask(
        server,
        "SelectSeries",
        "exemplars-narrow",
        first_ms,
        exemplarType="EXEMPLAR_TYPE_INDIVIDUAL",
        stackTraceSelector={"callSite": [{"name": "main"}, {"name": "a"}]},
    )
    assert [point["exemplars"][0]["value"] for point in series["points"]] == ["2", "4", "6"]
