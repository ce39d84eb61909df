"""Every endpoint with every kind of key."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from server_process import CPU, JSON, PUSH, ServerProcess, make_profile, make_push, recent

QUERIER = "/querier.v1.QuerierService/"
ADHOC = "/adhocprofiles.v1.AdHocProfileService/"
METHODS = (
    "ProfileTypes LabelNames LabelValues Series SelectMergeStacktraces SelectMergeSpanProfile"
    " SelectMergeProfile SelectSeries SelectHeatmap Diff GetProfileStats AnalyzeQuery NoSuchMethod"
)
# Method, path, the scope that it needs.
ENDPOINTS: list[tuple[str, str, str | None]] = [
    ("POST", PUSH, "push"),
    ("POST", "/ingest?name=app", "push"),
    ("POST", "/pyroscope/ingest?name=app", "push"),
    ("POST", "/v1development/profiles", "push"),
    ("POST", "/api/v1/import?format=groups&name=app", "push"),
    ("POST", "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export", "push"),
    *(("POST", QUERIER + method, "read") for method in METHODS.split()),
    *(("GET", f"/pyroscope/{name}", "read") for name in ("render", "render-diff", "label-values")),
    *(("GET", f"/api/v1/{name}", "read") for name in ("export", "flamegraph")),
    *(("GET", f"/api/v1/compare/{name}", "read") for name in ("functions", "values")),
    ("POST", "/settings.v1.SettingsService/Get", "read"),
    *(("POST", f"/settings.v1.SettingsService/{method}", "push") for method in ("Set", "Delete")),
    *(("POST", f"{ADHOC}{method}", "read") for method in ("Get", "List", "Diff", "NoSuchMethod")),
    ("POST", ADHOC + "Upload", "push"),
    ("POST", "/capabilities.v1.FeatureFlagsService/GetFeatureFlags", "read"),
    ("POST", "/vcs.v1.VCSService/GetFile", "read"),
    ("POST", "/settings.v1.RecordingRulesService/ListRecordingRules", "read"),
    ("POST", "/debuginfo.v1alpha1.DebuginfoService/ListDebuginfo", "read"),
    ("GET", "/", "read"),
    ("GET", "/assets/none.js", "read"),
    ("GET", "/metrics", "admin"),
    ("GET", "/ready", None),
    # What nobody serves is the admin's.
    ("POST", "/no/such/path", "admin"),
    ("DELETE", "/", "admin"),
]
TENANTS, SCOPES = ("a", "b"), ("push", "read", "admin")


def run_keys(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flamewire_server", "--data", str(data), "keys", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def make_key(data: Path, *arguments: str) -> str:
    done = run_keys(data, "add", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "data"


@pytest.fixture(scope="module")
def keys(folder: Path) -> dict[tuple[str, str], str]:
    return {
        (tenant, scope): make_key(folder, "--tenant", tenant, "--scope", scope)
        for tenant in TENANTS
        for scope in SCOPES
    }


@pytest.fixture(scope="module")
def guarded(folder: Path, keys: dict[tuple[str, str], str]) -> Iterator[ServerProcess]:
    server = ServerProcess(folder)
    yield server
    assert server.stop() == 0


def bearer(key: str, **headers: str) -> dict[str, str]:
    return {"Content-Type": JSON, "Authorization": f"Bearer {key}", **headers}


@pytest.mark.parametrize(("method", "path", "scope"), ENDPOINTS)
def test_every_endpoint_with_every_key(
    guarded: ServerProcess, keys: dict[tuple[str, str], str], method: str, path: str, scope: str | None
) -> None:
    def status(headers: dict[str, str]) -> int:
        return guarded.ask(method, path, None if method == "GET" else b"{}", headers).status

    assert (status({"Content-Type": JSON}) == 401) == (scope is not None)
    for (_, held), key in keys.items():
        answer = status(bearer(key))
        assert answer != 401
        assert (answer == 403) == (scope not in (None, held)), (held, answer)
    if scope is None:
        return
    key = keys["a", scope]
    assert status(bearer(key, **{"X-Scope-OrgID": "a"})) not in (401, 403)
    for other in ("b", "a|b", "", "anonymous"):
        assert status(bearer(key, **{"X-Scope-OrgID": other})) == 403
    assert status(bearer(key[:-2] + ("AA" if key[-2:] != "AA" else "BB"))) == 401
    basic = base64.b64encode(f"anybody:{key}".encode()).decode()
    assert status({"Content-Type": JSON, "Authorization": "Basic " + basic}) not in (401, 403)


def test_the_key_names_the_tenant(guarded: ServerProcess, keys: dict[tuple[str, str], str]) -> None:
    for tenant, value in (("a", 1), ("b", 2)):
        push = make_push("same", make_profile({"main": value}))
        assert guarded.push(push, Authorization="Bearer " + keys[tenant, "push"]).status == 200
    body = json.dumps({"profileTypeID": CPU, "labelSelector": "{}", **recent()}).encode()
    for tenant, value in (("a", 1), ("b", 2)):
        reply = guarded.query_raw(
            "SelectMergeStacktraces", body, JSON, Authorization="Bearer " + keys[tenant, "read"]
        )
        assert reply.json()["flamegraph"]["total"] == str(value)


def test_a_browser_is_asked_for_a_password(guarded: ServerProcess) -> None:
    reply = guarded.ask("GET", "/")
    assert (reply.status, reply.json()["code"]) == (401, "unauthenticated")
    assert reply.headers["www-authenticate"].startswith("Basic ")


def test_with_keys_others_may_reach_the_server(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    key = make_key(tmp_path / "data", "--scope", "read")
    server = start_server("--listen", "0.0.0.0:0")
    assert server.ask("GET", "/pyroscope/label-values?label=a", None, bearer(key)).status == 200
    assert server.ask("GET", "/pyroscope/label-values?label=a").status == 401


def test_keys_are_listed_without_secrets_and_removed(tmp_path: Path) -> None:
    key = make_key(tmp_path, "--tenant", "shop", "--scope", "read", "--scope", "push", "--name", "grafana")
    (line,) = run_keys(tmp_path, "list").stdout.splitlines()
    identity, tenant, scopes, name = line.split()
    assert (tenant, scopes, name) == ("shop", "push,read", "grafana")
    assert key.startswith(f"fw_{identity}_")
    assert key[-43:] not in line
    assert run_keys(tmp_path, "remove", identity).returncode == 0
    assert run_keys(tmp_path, "remove", identity).returncode == 1
    assert run_keys(tmp_path, "list").stdout == ""
    assert run_keys(tmp_path, "add", "--tenant", "../x", "--scope", "read").returncode == 2
