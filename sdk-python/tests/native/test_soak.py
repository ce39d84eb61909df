"""Long runs keep their memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.deep
def test_memory_stays_flat_over_sessions_threads_and_dead_code() -> None:
    script = Path(__file__).with_name("soak_workload.py")
    done = subprocess.run([sys.executable, str(script), "120"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert result["samples"] > 1000
    assert result["end_bytes"] - result["warm_bytes"] < 4 * 1024 * 1024
    # A slot keeps the 1,024 code objects that it saw last; some ten slots are used.
    assert result["code_objects"] < 20_000
