"""Fixtures that start the real server."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from server_process import ServerProcess


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Start servers on the same data folder; whatever runs at the end of the test is killed."""
    started: list[ServerProcess] = []

    def start(*arguments: str, **options: object) -> ServerProcess:
        server = ServerProcess(tmp_path / "data", *arguments, **options)  # type: ignore[arg-type]
        started.append(server)
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for the tests of a module that do not disturb each other: each uses a service of its own."""
    server = ServerProcess(tmp_path_factory.mktemp("server") / "data")
    yield server
    assert server.stop() == 0
