"""Several tenants read as one, where the operator lets them be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from server_process import CPU, JSON, Reply, ServerProcess, make_profile, make_push, read_flamegraph, recent

MULTITENANT = {"FLAMEWIRE_SERVER_MULTITENANCY_ENABLED": "true"}
FEDERATED = {**MULTITENANT, "FLAMEWIRE_SERVER_TENANT_FEDERATION_ENABLED": "true"}
STACKS = {"a": {"main;only_a": 1, "main;both": 10}, "b": {"main;both": 20, "main;only_b": 2}}


def fill(server: ServerProcess) -> None:
    for tenant, stacks in STACKS.items():
        push = make_push("shop", make_profile(stacks), region=tenant)
        assert server.push(push, X_Scope_OrgID=tenant).status == 200


@pytest.fixture(scope="module")
def federated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("federated") / "data", environ=FEDERATED)
    fill(server)
    yield server
    assert server.stop() == 0


def ask(server: ServerProcess, method: str, tenants: str, **fields: Any) -> Reply:
    whole = {"profileTypeID": CPU, "labelSelector": "{}", **recent(), **fields}
    if "step" in fields:
        # One point, which reaches back over everything.
        whole["start"] = whole["end"]
    return server.query_raw(method, json.dumps(whole).encode(), JSON, X_Scope_OrgID=tenants)


def test_stacks_of_tenants_are_added_up(federated: ServerProcess) -> None:
    def stacks(tenants: str) -> dict[str, int]:
        graph = ask(federated, "SelectMergeStacktraces", tenants).json()["flamegraph"]
        return {path: own for path, (_, own) in read_flamegraph(graph).items() if own}

    assert stacks("a|b") == stacks("b|a|b") == {"main;only_a": 1, "main;both": 30, "main;only_b": 2}
    assert stacks("a") == STACKS["a"]
    assert stacks("a|nobody") == STACKS["a"]


def test_series_labels_and_heatmaps_are_those_of_all(federated: ServerProcess) -> None:
    reply = ask(federated, "SelectSeries", "a|b", step=7200, groupBy=["region"]).json()["series"]
    groups = {one["labels"][0]["value"]: sum(point["value"] for point in one["points"]) for one in reply}
    assert groups == {"a": 11, "b": 22}
    (whole,) = ask(federated, "SelectSeries", "a|b", step=7200).json()["series"]
    assert sum(point["value"] for point in whole["points"]) == 33
    (mean,) = ask(
        federated, "SelectSeries", "a|b", step=7200, aggregation="TIME_SERIES_AGGREGATION_TYPE_AVERAGE"
    ).json()["series"]
    assert {point["value"] for point in mean["points"]} == {16.5}
    assert ask(federated, "LabelValues", "a|b", name="region").json()["names"] == ["a", "b"]
    (heat,) = ask(federated, "SelectHeatmap", "a|b", step=7200).json()["series"]
    assert sum(count for slot in heat["slots"] for count in slot["counts"]) == 2


def test_a_pprof_of_several_is_unimplemented_and_of_one_is_not(federated: ServerProcess) -> None:
    assert ask(federated, "SelectMergeProfile", "a|b").status == 501
    assert ask(federated, "SelectMergeProfile", "a|nobody").status == 200


def test_nothing_is_written_to_several(federated: ServerProcess) -> None:
    push = make_push("shop", make_profile({"main": 1}))
    assert federated.push(push, X_Scope_OrgID="a|b").status == 400
    body = json.dumps({"setting": {"name": "x", "value": "y"}}).encode()
    headers = {"Content-Type": JSON, "X-Scope-OrgID": "a|b"}
    assert federated.ask("POST", "/settings.v1.SettingsService/Set", body, headers).status == 400


@pytest.mark.parametrize(
    "tenants", ["a|", "|", "a|..", "a|b/c", "a||b", "a|" + "x" * 151, "|".join(map(str, range(33)))]
)
def test_what_is_no_list_of_tenants_is_refused(federated: ServerProcess, tenants: str) -> None:
    assert ask(federated, "SelectMergeStacktraces", tenants).status in (400, 401)


def test_it_is_off_unless_the_operator_wants_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = ServerProcess(tmp_path_factory.mktemp("separate") / "data", environ=MULTITENANT)
    try:
        reply = ask(server, "SelectMergeStacktraces", "a|b")
        assert (reply.status, reply.json()["code"]) == (400, "invalid_argument")
    finally:
        server.kill()
