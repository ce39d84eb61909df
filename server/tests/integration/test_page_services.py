"""Settings, uploads, feature flags, and what is not served: the services beside the querier."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from server_process import CPU, JSON, Reply, ServerProcess, make_profile


def call(server: ServerProcess, service: str, method: str, tenant: str = "", **fields: Any) -> Reply:
    headers = {"Content-Type": JSON, **({"X-Scope-OrgID": tenant} if tenant else {})}
    return server.ask("POST", f"/{service}/{method}", json.dumps(fields).encode(), headers)


def settings(server: ServerProcess, tenant: str) -> dict[str, str]:
    reply = call(server, "settings.v1.SettingsService", "Get", tenant)
    assert reply.status == 200, reply.body
    return {one["name"]: one["value"] for one in reply.json().get("settings", [])}


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of several tenants."""
    server = ServerProcess(
        tmp_path_factory.mktemp("tenants") / "data",
        environ={"FLAMEWIRE_SERVER_MULTITENANCY_ENABLED": "true"},
    )
    yield server
    assert server.stop() == 0


def test_settings_are_kept_per_tenant_and_over_a_restart(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    environ = {"FLAMEWIRE_SERVER_MULTITENANCY_ENABLED": "true"}
    server = start_server(environ=environ)
    service = "settings.v1.SettingsService"
    for tenant in ("a", "b"):
        reply = call(server, service, "Set", tenant, setting={"name": "colour", "value": tenant})
        assert int(reply.json()["setting"]["modifiedAt"]) > 0
    assert call(server, service, "Set", "a", setting={"name": "gone", "value": "x"}).status == 200
    assert call(server, service, "Delete", "a", name="gone").status == 200
    assert call(server, service, "Delete", "a", name="gone").status == 404
    server.kill()
    again = start_server(environ=environ)
    assert (settings(again, "a"), settings(again, "b")) == ({"colour": "a"}, {"colour": "b"})


def test_an_older_setting_does_not_replace_a_newer_one(tenants: ServerProcess) -> None:
    service = "settings.v1.SettingsService"
    for value, at_ms, status in (("new", 100, 200), ("old", 99, 400), ("newer", 101, 200)):
        reply = call(
            tenants, service, "Set", "old", setting={"name": "a", "value": value, "modifiedAt": str(at_ms)}
        )
        assert reply.status == status, reply.body
    assert settings(tenants, "old") == {"a": "newer"}
    assert call(tenants, service, "Set", "old", setting={"name": "", "value": "x"}).status == 400
    assert call(tenants, service, "Set", "old", setting={"name": "x", "value": "x" * 100_000}).status == 400


def upload(server: ServerProcess, tenant: str, name: str, body: bytes, **fields: Any) -> Reply:
    return call(
        server,
        "adhocprofiles.v1.AdHocProfileService",
        "Upload",
        tenant,
        name=name,
        profile=base64.b64encode(body).decode(),
        **fields,
    )


SPEEDSCOPE = json.dumps(
    {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "shared": {"frames": [{"name": "main"}, {"name": "work"}]},
        "profiles": [
            {"type": "sampled", "unit": "nanoseconds", "samples": [[0, 1], [0]], "weights": [70, 30],
             "startValue": 0, "endValue": 100, "name": "x"}
        ],
    }
).encode()  # fmt: skip


@pytest.mark.parametrize(
    ("name", "body", "total"),
    [
        ("a.pb.gz", gzip.compress(make_profile({"main;work": 70, "main": 30}).SerializeToString()), 100),
        ("old.pprof", make_profile({"main;work": 70, "main": 30}, time_ns=1).SerializeToString(), 100),
        ("a.speedscope.json", SPEEDSCOPE, 100),
        ("folded.txt", b"main;work 7\nmain 3\n", 100_000_000),
    ],
)
def test_an_upload_of_any_format_is_rendered(
    tenants: ServerProcess, name: str, body: bytes, total: int
) -> None:
    reply = upload(tenants, "uploads", name, body)
    assert reply.status == 200, reply.body
    answer = reply.json()
    document = json.loads(answer["flamebearerProfile"])
    assert document["flamebearer"]["numTicks"] == total
    assert {"main", "work"} <= set(document["flamebearer"]["names"])
    assert answer["profileType"] in answer["profileTypes"]
    again = call(tenants, "adhocprofiles.v1.AdHocProfileService", "Get", "uploads", id=answer["id"]).json()
    assert again == answer
    listed = call(tenants, "adhocprofiles.v1.AdHocProfileService", "List", "uploads").json()["profiles"]
    assert listed[0]["id"] == answer["id"]
    assert listed[0]["name"] == name


def test_two_uploads_are_laid_over_one_another(tenants: ServerProcess) -> None:
    ids = [
        upload(tenants, "diff", f"{value}", make_profile({"main;a": value}).SerializeToString()).json()["id"]
        for value in (10, 30)
    ]
    service = "adhocprofiles.v1.AdHocProfileService"
    reply = call(tenants, service, "Diff", "diff", leftId=ids[0], rightId=ids[1])
    document = json.loads(reply.json()["flamebearerProfile"])
    assert (document["leftTicks"], document["rightTicks"]) == (10, 30)
    assert reply.json()["profileTypes"] == [CPU]
    assert call(tenants, service, "Diff", "diff", leftId=ids[0], rightId="none").status == 404
    wrong = call(tenants, service, "Diff", "diff", leftId=ids[0], rightId=ids[1], profileType="a:b:c:d:e")
    assert wrong.status == 400


def test_uploads_are_a_tenants_own_and_no_part_of_queries(tenants: ServerProcess) -> None:
    identity = upload(tenants, "mine", "x", make_profile({"main": 1}).SerializeToString()).json()["id"]
    service = "adhocprofiles.v1.AdHocProfileService"
    assert call(tenants, service, "Get", "yours", id=identity).status == 404
    assert call(tenants, service, "List", "yours").json() == {}
    assert call(tenants, "querier.v1.QuerierService", "LabelNames", "mine").json() == {}


@pytest.mark.parametrize("body", [b"", b"\x1f\x8b\x08", b"{}", b"\x0a\xff\xff\xff", b"no number\n"])
def test_what_is_no_profile_is_refused(tenants: ServerProcess, body: bytes) -> None:
    reply = upload(tenants, "refused", "x", body)
    assert (reply.status, reply.json()["code"]) == (400, "invalid_argument")
    listed = call(tenants, "adhocprofiles.v1.AdHocProfileService", "List", "refused")
    assert listed.json() == {}


def test_feature_flags_say_what_the_server_can(tenants: ServerProcess) -> None:
    reply = call(tenants, "capabilities.v1.FeatureFlagsService", "GetFeatureFlags", "any")
    flags = {one["name"]: one.get("enabled", False) for one in reply.json()["featureFlags"]}
    assert flags == {"pyroscopeRuler": False, "utf8LabelNames": True, "v2StorageLayer": True}


@pytest.mark.parametrize(
    ("service", "method"),
    [
        ("vcs.v1.VCSService", "GithubApp"),
        ("vcs.v1.VCSService", "GetFile"),
        ("settings.v1.RecordingRulesService", "ListRecordingRules"),
        ("settings.v1.RecordingRulesService", "UpsertRecordingRule"),
        ("debuginfo.v1alpha1.DebuginfoService", "ShouldInitiateUpload"),
    ],
)
def test_what_is_not_served_is_unimplemented(tenants: ServerProcess, service: str, method: str) -> None:
    reply = call(tenants, service, method, "any")
    assert (reply.status, reply.json()["code"]) == (501, "unimplemented")
