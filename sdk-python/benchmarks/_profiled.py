"""Run one workload under one sampler in this process and print what it cost as one JSON line.

Usage: python _profiled.py SAMPLER WORKLOAD SECONDS SERVER_URL SERVICE_NAME
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import _workloads as workloads

Stop = Callable[[], object]


def start_none(server_url: str, service: str) -> Stop:
    """The bare program: what the machine's noise alone looks like."""
    return lambda: None


def start_flamewire(server_url: str, service: str) -> Stop:
    import flamewire

    session = flamewire.start(service_name=service, server_url=server_url, sample_rate_hz=100)
    return session.stop


def start_flamewire_wall(server_url: str, service: str) -> Stop:
    import flamewire

    session = flamewire.start(
        service_name=service, server_url=server_url, sample_rate_hz=100, profile_types=("cpu", "wall")
    )
    return session.stop


def start_current_frames(server_url: str, service: str) -> Stop:
    """What a sampler in pure Python does at least: all stacks, 100 times a second, counted by stack."""
    stopping = threading.Event()
    counts: dict[tuple[int, ...], int] = {}

    def run() -> None:
        while not stopping.wait(0.01):
            for frame in sys._current_frames().values():
                stack = []
                while frame is not None:
                    stack.append(id(frame.f_code))
                    stack.append(frame.f_lasti)
                    frame = frame.f_back
                key = tuple(stack)
                counts[key] = counts.get(key, 0) + 1

    threading.Thread(target=run, daemon=True).start()
    return stopping.set


def start_py_spy(server_url: str, service: str) -> Stop:
    """From outside, without ever stopping the program; its CPU is that of a child process."""
    command = [
        "py-spy",
        "record",
        "--nonblocking",
        "--idle",
        "--rate",
        "100",
        "--duration",
        "3600",
        "--format",
        "raw",
    ]
    child = subprocess.Popen(
        [*command, "--output", os.devnull, "--pid", str(os.getpid())],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(1)  # it reads the symbols of the interpreter first

    def stop() -> None:
        child.terminate()
        child.wait(60)

    return stop


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
WALL_SAMPLERS = {
    "flamewire cpu+wall": start_flamewire_wall,
    "sys._current_frames": start_current_frames,
    **({"py-spy": start_py_spy} if shutil.which("py-spy") else {}),
}


def thread_cpu_s(leave_out: set[int], name: str | None = None) -> float:
    """CPU seconds so far of this process's threads but those in `leave_out`, from schedstat."""
    total_ns = 0
    for tid in os.listdir("/proc/self/task"):
        if int(tid) not in leave_out:
            try:
                with open(f"/proc/self/task/{tid}/comm") as comm:
                    if name is not None and comm.read().strip() != name:
                        continue
                with open(f"/proc/self/task/{tid}/schedstat") as stat:
                    total_ns += int(stat.read().split()[0])
            except OSError:  # it ended meanwhile
                continue
    return total_ns / 1e9


def children_cpu_s() -> float:
    """CPU seconds so far of the child processes that run now."""
    total_ns = 0
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            for stat in Path("/proc", pid, "task").glob("*/schedstat"):
                total_ns += int(stat.read_text().split()[0])
    return total_ns / 1e9


def handler_cpu_s(sampler: str) -> float | None:
    """CPU seconds that the sampler spent inside the program's own threads, where it can be told."""
    if not sampler.startswith("flamewire"):
        return None
    from flamewire import _native

    return int(_native.stats()["handler_ns"]) / 1e9


def main(sampler: str, workload: str, seconds: float, server_url: str, service: str) -> None:
    own_threads = {threading.get_native_id()}
    stop = {**SAMPLERS, **WALL_SAMPLERS}[sampler](server_url, service)
    cpu_before, sampler_before, children_before = (
        time.process_time(),
        thread_cpu_s(own_threads),
        children_cpu_s(),
    )
    began = time.monotonic()
    workloads.ALL[workload](seconds, own_threads)
    wall_s = time.monotonic() - began
    sampler_s = thread_cpu_s(own_threads) - sampler_before
    wall_thread_s = thread_cpu_s(own_threads, "flamewire-wall")
    process_s = time.process_time() - cpu_before
    children_s = children_cpu_s() - children_before
    in_handler_s = handler_cpu_s(sampler)
    stop()
    print(
        json.dumps(
            {
                "wall_s": wall_s,
                "process_cpu_s": process_s,
                "sampler_cpu_s": sampler_s,
                "handler_cpu_s": in_handler_s,
                "wall_thread_cpu_s": wall_thread_s,
                "children_cpu_s": children_s,
                "total_cpu_s": time.process_time(),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4], sys.argv[5])
