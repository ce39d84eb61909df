"""Runs code of every kind in threads under a storm of SIGPROF and checks each sampled caller-callee pair.

Usage: python storm_workload.py SECONDS SIGNALS_PER_SECOND [faulthandler]

With `faulthandler`, that module takes SIGSEGV after the sampler did, so that all reads go by system call.

The legal pairs are learned with sys.setprofile() before. A second process sends the signals, so that the GIL
does not pace them. After SECONDS it goes on until it has 500 samples for each of them. Prints one JSON line.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from sdk_support.pprof_reader import read_profile

from flamewire import _native

Key = tuple[str, str, int]

_SENDER = """
import ctypes, os, sys, time
pid, rate = int(sys.argv[1]), int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
own = int(sys.argv[3])
period = 1 / rate
due = time.monotonic()
sent = 0
while True:
    for tid in list(map(int, os.listdir(f"/proc/{pid}/task"))):
        if tid != own:
            libc.syscall(234, pid, tid, 27)
            sent += 1
    due += period
    pause = due - time.monotonic()
    if pause > 0:
        time.sleep(pause)
    else:
        due = time.monotonic()
"""


def recurse(depth: int) -> int:
    return 1 + recurse(depth - 1) if depth else leaf(3)


def leaf(count: int) -> int:
    return sum(i * i for i in range(count))


def numbers(count: int) -> Iterator[int]:
    for number in range(count):
        yield leaf(number % 3)


def delegated(count: int) -> Iterator[int]:
    got = yield from numbers(count)
    return got


def abandoned() -> Iterator[int]:
    try:
        yield leaf(1)
        yield leaf(2)
    finally:
        leaf(3)


class Shape:
    def __init__(self, size: int) -> None:
        self.size = leaf(size)

    @property
    def area(self) -> int:
        return self.size * leaf(2)

    def __lt__(self, other: Shape) -> bool:
        return self.area < other.area

    def __getattr__(self, name: str) -> int:
        return leaf(len(name))

    def __del__(self) -> None:
        leaf(1)


class Manager:
    def __enter__(self) -> Manager:
        leaf(1)
        return self

    def __exit__(self, *_: object) -> bool:
        return bool(leaf(1))


def key_of(value: int) -> int:
    return -leaf(value % 4)


def constructs(round_: int) -> None:
    recurse(round_ % 30)
    list(delegated(4))
    next(abandoned())
    sorted([Shape(2), Shape(1), Shape(3)])
    sorted(range(5), key=key_of)
    list(map(key_of, range(3)))
    re.sub("a", lambda match: str(leaf(2)), "banana")
    Shape(1).missing  # noqa: B018
    with Manager():
        [leaf(i) for i in range(3)]
    with _native.tags(round=str(round_ % 3)):
        {i: leaf(i) for i in range(3)}
    try:
        raise_deep(5)
    except ValueError:
        leaf(1)


def raise_deep(depth: int) -> None:
    if depth == 0:
        raise ValueError
    raise_deep(depth - 1)


def exec_modules(round_: int) -> None:
    """Code objects that die and leave their addresses, names and tables to the next ones."""
    for number in range(4):
        name = f"made_{(round_ + number) % 7}"
        source = f"\n\n\ndef {name}(count):\n    return leaf(count)\n{name}(3)\n"
        exec(compile(source, f"<{name}>", "exec"), {"leaf": leaf})


async def step(name: str, count: int) -> int:
    with _native.tags(task=name):
        for _ in range(count):
            leaf(20)
            await asyncio.sleep(0)
    return count


async def gathered() -> None:
    await asyncio.gather(*(step(str(number), 3) for number in range(6)))


def run_async(round_: int) -> None:
    asyncio.run(gathered())


def short_threads(round_: int) -> None:
    threads = [threading.Thread(target=recurse, args=(5,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


WORKERS: list[Callable[[int], None]] = [constructs, exec_modules, run_async, short_threads]


def worker(work: Callable[[int], None], until: Callable[[], bool]) -> None:
    round_ = 0
    while not until():
        work(round_)
        round_ += 1


def key(code: CodeType) -> Key:
    return code.co_qualname, code.co_filename, code.co_firstlineno


class Rounds:
    """True after so many calls."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


class Over:
    """True when it was set so; no Event, whose frames would be pairs to learn."""

    def __init__(self) -> None:
        self.now = False

    def __call__(self) -> bool:
        return self.now


def learn() -> set[tuple[Key, Key]]:
    # Creating a coroutine is no call to sys.setprofile, but its frame runs for a moment.
    created_in = next(code for code in gathered.__code__.co_consts if isinstance(code, CodeType))
    known = {
        (key(worker.__code__), key(Over.__call__.__code__)),
        (key(run_async.__code__), key(gathered.__code__)),
    }
    pairs: set[tuple[Key, Key]] = known | {(key(created_in), key(step.__code__))}

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event in ("call", "return") and frame.f_back is not None:
            pairs.add((key(frame.f_back.f_code), key(frame.f_code)))

    threading.setprofile(note)
    threads = [threading.Thread(target=worker, args=(work, Rounds(40))) for work in WORKERS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    threading.setprofile(None)
    return pairs


def main() -> None:
    seconds, rate = float(sys.argv[1]), int(sys.argv[2])
    legal = learn()
    _native.start(4_000_000, 256)
    if "faulthandler" in sys.argv[3:]:
        faulthandler.enable()
    hooked = threading.Thread._bootstrap_inner
    threading.Thread._bootstrap_inner = _native.ThreadHook(hooked)
    over, end = Over(), time.monotonic() + seconds
    threads = [threading.Thread(target=worker, args=(work, over)) for work in WORKERS]
    for thread in threads:
        thread.start()
    own = threading.get_native_id()
    sender = subprocess.Popen([sys.executable, "-c", _SENDER, str(os.getpid()), str(rate), str(own)])
    windows = []
    while time.monotonic() < end or _native.stats()["samples_gathered"] < 500 * seconds:
        time.sleep(0.01)
        _native.poll()
        if len(windows) < seconds / 2 and time.monotonic() > end - seconds + 2 * len(windows):
            windows.append(_native.take_window())
    over.now = True
    for thread in threads:
        thread.join()
    sender.terminate()
    sender.wait()
    windows.append(_native.stop())
    threading.Thread._bootstrap_inner = hooked
    report(legal, [window for window in windows if window is not None])


def report(legal: set[tuple[Key, Key]], windows: list[tuple[bytes, int, int, int]]) -> None:
    here, flagged, stacks, native = __file__, [], 0, 0
    for pprof, *_ in windows:
        for sample in read_profile(pprof).samples:
            stacks += 1
            keys = [(name, file, first) for name, file, first, _ in sample.stack]
            native += keys[0][0].startswith("(native")
            for callee, caller in pairwise(keys):
                own = {callee[1], caller[1]} & {here} or callee[1].startswith("<made")
                unknown = {callee[0], caller[0]} & {"main", "(truncated)"}
                if own and not unknown and (caller, callee) not in legal:
                    flagged.append([caller, callee, len(keys)])
    print(
        json.dumps(
            {
                "version": sys.version.split()[0],
                "samples": sum(window[3] for window in windows),
                "stacks": stacks,
                "native_stacks": native,
                "legal": len(legal),
                "flagged": flagged[:20],
                "flagged_count": len(flagged),
                "stats": _native.stats(),
            }
        )
    )


if __name__ == "__main__":
    main()
