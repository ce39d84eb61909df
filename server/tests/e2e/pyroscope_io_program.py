"""A program under the unmodified pyroscope-io SDK: burns CPU in work_a() under a tag, then shuts down.

Usage: python pyroscope_io_program.py SERVER_URL SERVICE_NAME PySpy|Stack
"""

from __future__ import annotations

import sys
import time

import pyroscope


def work_a(cpu_s: float) -> int:
    total, stop_at = 0, time.thread_time() + cpu_s
    while time.thread_time() < stop_at:
        for step in range(50_000):
            total += step & 3
    return total


if __name__ == "__main__":
    pyroscope.configure(
        application_name=sys.argv[2],
        server_address=sys.argv[1],
        tags={"region": "eu"},
        cpu_implementation=getattr(pyroscope.ProfilerImplementation, sys.argv[3]),
    )
    with pyroscope.tag_wrapper({"route": "/cart"}):
        work_a(3.0)
    pyroscope.shutdown()
