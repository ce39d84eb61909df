"""Limits of single tenants hold in a running server, and follow their file."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_process import DEADLINE_S, ServerProcess, make_profile, make_push


@pytest.fixture
def overrides(tmp_path: Path) -> Path:
    path = tmp_path / "overrides.yaml"
    path.write_text("overrides: {few: {max_global_series_per_tenant: 1}, slow: {ingestion_rate_mb: 0.00001}}")
    return path


@pytest.fixture
def server(tmp_path: Path, overrides: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(
        tmp_path / "data",
        environ={
            "FLAMEWIRE_SERVER_MULTITENANCY_ENABLED": "true",
            "FLAMEWIRE_SERVER_RUNTIME_CONFIG_FILE": str(overrides),
        },
    )
    yield server
    server.kill()


def push(server: ServerProcess, tenant: str, service: str) -> tuple[int, int]:
    """Push a profile; returns the status and what Retry-After says."""
    reply = server.push(make_push(service, make_profile({"main": 1})), X_Scope_OrgID=tenant)
    return reply.status, int(reply.headers.get("retry-after", 0))


def test_a_tenant_over_its_rate_is_told_when_to_come_again(server: ServerProcess) -> None:
    assert push(server, "slow", "shop") == (200, 0)
    status, retry_after_s = push(server, "slow", "shop")
    assert status == 429
    assert retry_after_s >= 1
    assert push(server, "other", "shop") == (200, 0)
    assert server.metric('flamewire_rejected_total{reason="rate_limit"}') == 1


def test_limits_follow_the_file(server: ServerProcess, overrides: Path) -> None:
    assert push(server, "few", "shop")[0] == 200
    assert push(server, "few", "cart")[0] == 429
    overrides.write_text("overrides: {few: {max_global_series_per_tenant: 20}}")
    os.kill(server.process.pid, signal.SIGHUP)
    deadline_s = time.monotonic() + DEADLINE_S
    while push(server, "few", "cart")[0] != 200:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    overrides.write_text("overrides: {few: {max_series: 20}}")
    os.kill(server.process.pid, signal.SIGHUP)
    while server.metric("flamewire_overrides_current") != 0:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    assert push(server, "few", "third")[0] == 200
