"""Fixtures of the tests that run a profiled program against the real server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "integration"))

from server_process import ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for the programs of a module: each has a service of its own."""
    server = ServerProcess(tmp_path_factory.mktemp("server") / "data")
    yield server
    assert server.stop() == 0
