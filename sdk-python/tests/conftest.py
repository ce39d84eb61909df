"""Makes tests/support importable and offers the fixtures that several test folders use."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))

from sdk_support.push_server import PushServer


@pytest.fixture
def push_server() -> Iterator[PushServer]:
    """A real HTTP server on a free port that answers 200 until it is told otherwise."""
    with PushServer() as server:
        yield server


def _engines() -> list[object]:
    native = importlib.util.find_spec("flamewire._native") is not None
    return [
        "python",
        pytest.param("native", marks=pytest.mark.skipif(not native, reason="built without the native core")),
    ]


@pytest.fixture
def any_engine() -> str:
    """The best engine that was built here, for what does not depend on it: delivery, options, exit."""
    return "native" if importlib.util.find_spec("flamewire._native") is not None else "python"


@pytest.fixture(params=_engines())
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine by name."""
    return str(request.param)
