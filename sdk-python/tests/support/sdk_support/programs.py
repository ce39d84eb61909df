"""Runs small programs in processes of their own, for what only a real process shows."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass

DEADLINE_S = 900.0

PATIENT = {"FLAMEWIRE_SHUTDOWN_TIMEOUT_S": "60"}
"""For programs that end on a busy machine: users give up the last push after two seconds, tests must not."""

BURN = """
import time

def burn(cpu_s):
    end = time.thread_time() + cpu_s
    while time.thread_time() < end:
        for _ in range(20000):
            pass
"""


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str
    wall_s: float


def run_program(
    source: str,
    *,
    server_url: str,
    engine: str,
    sigterm_at: str | None = None,
    deadline_s: float = DEADLINE_S,
    **environment: str,
) -> Ended:
    """Run the source after ``BURN``, with the SDK's options in the environment; its exit has a deadline.

    Args:
        sigterm_at: send SIGTERM when the program prints this line. ``wall_s`` then counts from the signal.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", BURN + textwrap.dedent(source)],
        env={
            **os.environ,
            "FLAMEWIRE_SERVER_URL": server_url,
            "FLAMEWIRE_ENGINE": engine,
            "FLAMEWIRE_SERVICE_NAME": "program",
            **PATIENT,
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        begun_s = time.monotonic()
        seen = ""
        if sigterm_at is not None:
            assert process.stdout is not None
            while sigterm_at not in seen:
                line = process.stdout.readline()
                assert line, f"the program ended before it printed {sigterm_at!r}: {process.communicate()[1]}"
                seen += line
            begun_s = time.monotonic()
            process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=deadline_s)
        return Ended(process.returncode, seen + out, err, time.monotonic() - begun_s)
    finally:
        # Fork children that hang would hold the pipes open.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
