"""The fuzzer of the Rust core: damaged pushes and blocks, followed to the end with overflow checks on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[2] / "native"
SECONDS = 120
CHECKED = {"CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS": "true", "CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS": "true"}


@pytest.mark.deep
def test_damaged_pushes_and_blocks_never_panic() -> None:
    command = ["cargo", "run", "--quiet", "--release", "--locked", "--package", "flamewire-core"]
    command += ["--target-dir", str(NATIVE / "target" / "fuzz"), "--example", "fuzz", "--", str(SECONDS)]
    done = subprocess.run(
        command, cwd=NATIVE, env=os.environ | CHECKED, capture_output=True, text=True, timeout=SECONDS + 1200
    )
    assert done.returncode == 0, done.stdout + done.stderr
