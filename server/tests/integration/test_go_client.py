"""Grafana's own generated client, from the Go module proxy, against a real server."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from server_process import ServerProcess

CLIENT = Path(__file__).parents[1] / "clients" / "go"
GO = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")


@pytest.mark.deep
@pytest.mark.skipif(GO is None, reason="Go is not installed")
def test_the_client_of_grafanas_data_source_gets_its_answers(server: ServerProcess, tmp_path: Path) -> None:
    assert GO
    program = tmp_path / "client"
    built = subprocess.run(
        [GO, "build", "-o", str(program), "."],
        cwd=CLIENT,
        env={**os.environ, "GOFLAGS": "-mod=readonly"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert built.returncode == 0, built.stderr
    url = f"http://{server.host}:{server.port}"
    done = subprocess.run([program, url, "go-client"], capture_output=True, text=True, timeout=300)
    lines = done.stdout.splitlines()
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert (done.returncode, len(lines)) == (0, 15)
