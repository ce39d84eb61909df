"""Starts, stops, forks, churns threads, code objects and scopes for a while, and reports what the memory did.

Usage: python soak_workload.py SECONDS [RATE_HZ]

Prints one JSON line: rounds, samples, resident memory after a warm-up and at the end, code objects kept.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
import warnings

from flamewire import _native


def resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def churn_code(number: int) -> None:
    number %= 500  # CPython 3.12 keeps every name that it ever compiled
    source = f"def made_{number}():\n    return sum(range(2000))\nmade_{number}()\nmade_{number}()"
    exec(compile(source, f"<made {number}>", "exec"), {})


def churn_scopes(number: int) -> None:
    with _native.tags(number=number):
        span = _native.Scope({"n": number}, span_id=f"{number:016x}")
        token = _native.scope_variable.set(span)
        sum(range(3000))
        span.end()
        _native.scope_variable.reset(token)


def in_thread(number: int) -> None:
    churn_code(number)
    churn_scopes(number)


def fork_once() -> None:
    child = os.fork()
    if child == 0:
        churn_code(0)
        _native.poll()
        _native.stop()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, f"a child ended with {status}"


def one_round(number: int, period_ns: int) -> int:
    """One session: threads, code, scopes, windows, a fork. Returns the samples gathered."""
    _native.start(period_ns, 64, None, period_ns if number % 2 else 0)
    for step in range(20):
        threads = [threading.Thread(target=in_thread, args=(number * 100 + step * 4 + i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        _native.poll()
        if step % 5 == 0:
            _native.take_window()
            _native.take_window("wall")
    if number % 10 == 0:
        fork_once()
    _native.stop()
    _native.take_window("wall")
    return int(_native.stats()["samples_gathered"])


def main() -> None:
    seconds = float(sys.argv[1])
    rate_hz = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    # A thread that was joined may still be leaving the kernel when we fork.
    warnings.simplefilter("ignore", DeprecationWarning)
    threading.Thread._bootstrap_inner = _native.ThreadHook(threading.Thread._bootstrap_inner)
    end, warm_end = time.monotonic() + seconds, time.monotonic() + seconds / 4
    rounds = samples = warm_bytes = 0
    while time.monotonic() < end:
        rounds += 1
        samples += one_round(rounds, 1_000_000_000 // rate_hz)
        if not warm_bytes and time.monotonic() > warm_end:
            gc.collect()
            warm_bytes = resident_bytes()
    gc.collect()
    stats = _native.stats()
    print(
        json.dumps(
            {
                "rounds": rounds,
                "samples": samples,
                "warm_bytes": warm_bytes,
                "end_bytes": resident_bytes(),
                "code_objects": stats["code_objects"],
                "dropped": stats["dropped"],
            }
        )
    )


if __name__ == "__main__":
    main()
