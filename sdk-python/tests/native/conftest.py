"""What the tests of the native core share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

native = pytest.importorskip("flamewire._native", reason="built without the native core")

PERIOD_NS = 5_000_000


@pytest.fixture
def sampler() -> Iterator[None]:
    """A running sampler at 200 Hz, stopped whatever happens."""
    native.start(PERIOD_NS, 128)
    yield
    native.stop()


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a script in an interpreter of its own, with a deadline; it may import `sdk_support`."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "support")}

    def run(source: str, *arguments: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        script = tmp_path / "script.py"
        script.write_text(source)
        command = [sys.executable, "-X", "dev", "-W", "ignore", str(script), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=environment)

    return run
