"""A program with a known 70/20/10 split over three threads, profiled by flamewire.

Usage: python split_program.py SERVER_URL SERVICE_NAME split|native CPU_SECONDS

The three functions have the same body, so the split of CPU is that of their step counts, whatever the
machine does. Prints what it burnt between start() and stop() as one JSON line.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
import zlib

import flamewire

STEPS = {"work_a": 70_000, "work_b": 20_000, "work_c": 10_000}
BUFFER = bytes(range(256)) * 16_384  # 4 MiB: hashlib and zlib release the GIL on it


def work_a(steps: int) -> int:
    total = 0
    for step in range(steps):
        total += step & 3
    return total


def work_b(steps: int) -> int:
    total = 0
    for step in range(steps):
        total += step & 3
    return total


def work_c(steps: int) -> int:
    total = 0
    for step in range(steps):
        total += step & 3
    return total


def split_worker(stop_at_cpu_s: float) -> None:
    while time.process_time() < stop_at_cpu_s:  # a syscall draws preemption, so it is rare
        for _ in range(20):
            work_a(STEPS["work_a"])
            work_b(STEPS["work_b"])
            work_c(STEPS["work_c"])


def hash_without_gil(cpu_s: float, used: dict[str, float]) -> None:
    while time.thread_time() < cpu_s:
        hashlib.sha256(BUFFER).digest()
    used["hash_without_gil"] = time.thread_time()


def compress_without_gil(cpu_s: float, used: dict[str, float]) -> None:
    while time.thread_time() < cpu_s:
        zlib.compress(BUFFER, 6)
    used["compress_without_gil"] = time.thread_time()


def run_threads(targets: list[threading.Thread]) -> None:
    for thread in targets:
        thread.start()
    for thread in targets:
        thread.join()


def main(server_url: str, service: str, kind: str, cpu_s: float) -> None:
    session = flamewire.start(
        service_name=service, server_url=server_url, upload_interval_s=5, shutdown_timeout_s=20
    )
    engine = session.status().engine
    by_function: dict[str, float] = {}
    began = time.process_time()
    if kind == "split":
        run_threads([threading.Thread(target=split_worker, args=(began + cpu_s,)) for _ in range(3)])
    else:
        run_threads(
            [
                threading.Thread(target=hash_without_gil, args=(cpu_s / 2, by_function)),
                threading.Thread(target=compress_without_gil, args=(cpu_s / 2, by_function)),
            ]
        )
    burnt = time.process_time() - began
    session.stop()
    status = session.status()
    said = {"cpu_s": burnt, "samples": status.samples_gathered, "engine": engine, "by_function": by_function}
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
