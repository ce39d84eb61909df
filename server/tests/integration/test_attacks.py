"""What an attacker would try first: tried, and refused."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from server_process import CPU, JSON, ServerProcess, make_profile, make_push, recent

MULTITENANT = {"FLAMEWIRE_SERVER_MULTITENANCY_ENABLED": "true"}


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("attacked") / "data", environ=MULTITENANT)
    yield server
    assert server.stop() == 0


def raw(server: ServerProcess, request: bytes) -> bytes:
    """Send bytes as they are, and read until the server closes."""
    with socket.create_connection((server.host, server.port), timeout=60) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/assets/../../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/assets/..%2f..%2f..%2fetc/passwd",
        "/assets/%252e%252e/etc/passwd",
        "//etc/passwd",
        "/assets/\\..\\..\\etc\\passwd",
        "/catalog.sqlite",
        "/keys.json",
        "/blocks/",
    ],
)
def test_no_path_leads_out_of_the_page(server: ServerProcess, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    answer = raw(server, request)
    assert answer.split(b" ", 2)[1] in (b"404", b"400"), answer[:200]
    assert b"root:" not in answer


@pytest.mark.parametrize("tenant", ["../a", "a/b", "..", ".", "a\\b", "a%2fb", "a b", "", "x" * 151, "ä"])
def test_no_tenant_is_a_path(tenants: ServerProcess, tenant: str) -> None:
    headers = {"Content-Type": JSON, "X-Scope-OrgID": tenant}
    try:
        encoded = {name: value.encode() for name, value in headers.items()}
        reply = tenants.ask("POST", "/querier.v1.QuerierService/LabelNames", b"{}", encoded)  # type: ignore[arg-type]
    except http.client.HTTPException:
        return
    assert reply.status in (400, 401)
    assert {path.name for path in (tenants.data / "blocks").iterdir()} <= {"victim", "attacker"}


def test_no_tenant_reads_another(tenants: ServerProcess) -> None:
    push = make_push(
        "secret", make_profile({"main;secret_function": 1}), ids=["0" * 8 + "-0000-4000-8000-" + "0" * 12]
    )
    assert tenants.push(push, X_Scope_OrgID="victim").status == 200
    span = recent()
    selection = {"profileTypeID": CPU, "labelSelector": "{}", **span}
    for method, fields in (
        ("ProfileTypes", span),
        ("LabelNames", {**span, "matchers": ['{__tenant__="victim"}', '{service_name="secret"}']}),
        ("LabelValues", {**span, "name": "service_name"}),
        ("Series", span),
        ("SelectMergeStacktraces", selection),
        ("SelectMergeStacktraces", {**selection, "format": "PROFILE_FORMAT_FUNCTIONS"}),
        (
            "SelectMergeStacktraces",
            {**selection, "stackTraceSelector": {"frameFilter": {"includeFunctionNameRegexes": [".*"]}}},
        ),
        ("SelectMergeProfile", selection),
        ("SelectSeries", {**selection, "step": 15, "exemplarType": "EXEMPLAR_TYPE_INDIVIDUAL"}),
        ("SelectHeatmap", {**selection, "step": 15}),
        ("Diff", {"left": selection, "right": selection}),
        ("GetProfileStats", {}),
        ("AnalyzeQuery", {**span, "query": CPU + "{}"}),
    ):
        body = json.dumps(fields).encode()
        reply = tenants.query_raw(method, body, JSON, X_Scope_OrgID="attacker")
        assert reply.status == 200
        assert b"secret" not in reply.body, method
        assert b"dataIngested" not in reply.body


def test_no_header_is_injected(tenants: ServerProcess) -> None:
    evil = "x\r\nSet-Cookie: a=b\r\n\r\n<html>"
    for path in ("/api/v1/export?format=", "/pyroscope/label-values?label=", "/pyroscope/render?query="):
        quoted = "".join(f"%{byte:02x}" for byte in evil.encode())
        reply = tenants.ask("GET", path + quoted, None, {"X-Scope-OrgID": "attacker"})
        assert "set-cookie" not in reply.headers
        assert reply.headers["content-type"].startswith("application/json")
    smuggled = (
        b"POST /querier.v1.QuerierService/LabelNames HTTP/1.1\r\nHost: localhost\r\n"
        b"X-Scope-OrgID: attacker\r\n"
        b"Content-Type: application/json\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: close\r\n\r\n0\r\n\r\n"
    )
    assert raw(tenants, smuggled).split(b" ", 2)[1] == b"400"


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(a|aa)*$",
        "((a{99}){99}){99}",
        "(?:a?){50}a{50}",
        "(.*)*x",
        "a" * 20_000,
        "(" * 5000 + ")" * 5000,
    ],
)
def test_no_expression_stalls_the_server(server: ServerProcess, pattern: str) -> None:
    service = "a" * 1000 + "!"
    assert server.push(make_push(service, make_profile({"a" * 1000: 1}))).status == 200
    escaped = json.dumps(pattern)
    before_s = cpu_s(server)
    for fields in (
        {"labelSelector": "{service_name=~" + escaped + "}"},
        {
            "labelSelector": "{}",
            "stackTraceSelector": {"frameFilter": {"includeFunctionNameRegexes": [pattern]}},
        },
    ):
        body = json.dumps({"profileTypeID": CPU, **recent(), **fields}).encode()
        assert server.query_raw("SelectMergeStacktraces", body, JSON).status in (200, 400)
    # What backtracks would burn minutes; what does not, milliseconds.
    assert cpu_s(server) - before_s < 20


def cpu_s(server: ServerProcess) -> float:
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:4040", "localhost.evil.example", "[::1].evil"]
)
def test_a_name_that_was_pointed_here_is_not_served(server: ServerProcess, host: str) -> None:
    for method, path in (
        ("GET", "/"),
        ("GET", "/pyroscope/render?query=x"),
        ("POST", "/querier.v1.QuerierService/Series"),
    ):
        reply = server.ask(
            method, path, b"{}" if method == "POST" else None, {"Host": host, "Content-Type": JSON}
        )
        assert (reply.status, reply.json()["code"]) == (403, "permission_denied")


def test_another_sites_page_is_no_client(server: ServerProcess) -> None:
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    for path in ("/pyroscope/label-values?label=a", "/api/v1/export?query=x", "/ready"):
        assert server.ask("GET", path, None, foreign).status == 403
    # What a form or a page can send without being asked for it first.
    for content_type in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
    ):
        headers = {"Origin": "https://evil.example", "Content-Type": content_type}
        for path in ("/querier.v1.QuerierService/Series", "/settings.v1.SettingsService/Set"):
            assert server.ask("POST", path, b"{}", headers).status == 415
    preflight = server.ask(
        "OPTIONS",
        "/querier.v1.QuerierService/Series",
        None,
        {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"},
    )
    assert preflight.status in (403, 404, 405)
    answer = server.ask("GET", "/pyroscope/label-values?label=a", None, {"Origin": "https://evil.example"})
    for reply in (preflight, answer):
        assert not [name for name in reply.headers if name.startswith("access-control-")]
    # A link that somebody follows is no such thing.
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert server.ask("GET", "/ready", None, followed).status == 200


def test_the_page_runs_nothing_that_is_written_into_it(server: ServerProcess) -> None:
    policy = server.ask("GET", "/").headers["content-security-policy"]
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    assert rules["default-src"] == rules["script-src"] == "'self'"
    assert rules["object-src"] == rules["base-uri"] == "'none'"
    assert "unsafe" not in policy
    for path in ("/pyroscope/label-values?label=a", "/ready"):
        assert "text/html" not in server.ask("GET", path).headers["content-type"]


def test_operators_deeds_are_written_down(start_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    from test_keys import run_keys

    data = tmp_path / "data"
    added = run_keys(data, "add", "--tenant", "shop", "--scope", "read", "--name", "grafana")
    identity = added.stderr.split()[1]
    assert run_keys(data, "remove", identity).returncode == 0
    lines = [json.loads(line) for line in (data / "audit.log").read_text().splitlines()]
    assert [line["verb"] for line in lines] == ["keys add", "keys remove"]
    assert (lines[0]["key"], lines[0]["tenant"], lines[1]["key"]) == (identity, "shop", identity)
    assert all(line["user"] and line["time"].endswith("+00:00") for line in lines)
    assert added.stdout.strip()[-43:] not in (data / "audit.log").read_text()
    assert (data / "audit.log").stat().st_mode & 0o077 == 0
