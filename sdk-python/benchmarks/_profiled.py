"""Run one workload under one sampler in this process and print what it cost as one JSON line.

Usage: python _profiled.py SAMPLER WORKLOAD SECONDS SERVER_URL SERVICE_NAME
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable

import _workloads as workloads

Stop = Callable[[], object]


def start_none(server_url: str, service: str) -> Stop:
    """The bare program: what the machine's noise alone looks like."""
    return lambda: None


def start_flamewire(server_url: str, service: str) -> Stop:
    import flamewire

    session = flamewire.start(service_name=service, server_url=server_url, sample_rate_hz=100)
    return session.stop


def _start_pyroscope(server_url: str, service: str, implementation: str) -> Stop:
    import pyroscope

    if implementation == "Stack":
        pyroscope.configure_experimental_stack_profiler(max_threads=1_000, adaptive_sampling=False)
    pyroscope.configure(
        application_name=service,
        server_address=server_url,
        sample_rate=100,
        cpu_implementation=getattr(pyroscope.ProfilerImplementation, implementation),
    )
    return pyroscope.shutdown


def start_pyroscope_default(server_url: str, service: str) -> Stop:
    return _start_pyroscope(server_url, service, "PySpy")


def start_pyroscope_stack(server_url: str, service: str) -> Stop:
    return _start_pyroscope(server_url, service, "Stack")


SAMPLERS = {
    "none": start_none,
    "flamewire": start_flamewire,
    "pyroscope-io PySpy": start_pyroscope_default,
    "pyroscope-io Stack": start_pyroscope_stack,
}


def thread_cpu_s(leave_out: set[int]) -> float:
    """CPU seconds so far of this process's threads but those in `leave_out`, from schedstat."""
    total_ns = 0
    for tid in os.listdir("/proc/self/task"):
        if int(tid) not in leave_out:
            try:
                with open(f"/proc/self/task/{tid}/schedstat") as stat:
                    total_ns += int(stat.read().split()[0])
            except OSError:  # it ended meanwhile
                continue
    return total_ns / 1e9


def handler_cpu_s(sampler: str) -> float | None:
    """CPU seconds that the sampler spent inside the program's own threads, where it can be told."""
    if sampler != "flamewire":
        return None
    from flamewire import _native

    return int(_native.stats()["handler_ns"]) / 1e9


def main(sampler: str, workload: str, seconds: float, server_url: str, service: str) -> None:
    own_threads = {threading.get_native_id()}
    stop = SAMPLERS[sampler](server_url, service)
    cpu_before, sampler_before = time.process_time(), thread_cpu_s(own_threads)
    began = time.monotonic()
    workloads.ALL[workload](seconds, own_threads)
    wall_s = time.monotonic() - began
    sampler_s = thread_cpu_s(own_threads) - sampler_before
    process_s = time.process_time() - cpu_before
    in_handler_s = handler_cpu_s(sampler)
    stop()
    print(
        json.dumps(
            {
                "wall_s": wall_s,
                "process_cpu_s": process_s,
                "sampler_cpu_s": sampler_s,
                "handler_cpu_s": in_handler_s,
                "total_cpu_s": time.process_time(),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4], sys.argv[5])
