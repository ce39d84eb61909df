"""Samples enough for a statement, and how far chance alone may put a share of them from the truth.

How many samples a second of CPU gives is the machine's affair: the kernel looks at its timers when it ticks,
and where others want the cores, or a hypervisor takes them, a period of 5 ms has been seen to give one sample
in 20 ms. So tests burn until they have their samples, and compute their bounds from the number that they got.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

SIGMAS = 4.5
"""Six in a million, two-sided: several interpreters run each test, in each run of the suite."""
UNEVEN = 1.25
"""What the period's jitter and the kernel's ticks add to the variance: not all samples weigh the same."""
CHECK_CPU_S = 0.02
MOST_CPU_S = 60.0


def margin(share: float, samples: int) -> float:
    """Return how far the share that is found among so many samples may be from the true one by chance.

    A share of almost nothing is taken for that of a single sample, which one unlucky sample can make of it.
    """
    share = min(max(share, 1 / samples), 1 - 1 / samples)
    return SIGMAS * math.sqrt(UNEVEN * share * (1 - share) / samples)


def until_sampled(count: int, *, most_cpu_s: float = MOST_CPU_S) -> Iterator[None]:
    """Yield for one more step of a loop that burns CPU, until the native core has gathered so many samples.

    Looks after every 20 ms of the process's CPU, since looking is work too.
    """
    enough = Enough(count, most_cpu_s=most_cpu_s)
    while not enough():
        yield


class Enough:
    """True when the native core has gathered so many samples; to be asked often, by any thread."""

    def __init__(self, count: int, *, most_cpu_s: float = MOST_CPU_S) -> None:
        self._count = count
        self._most_cpu_s = most_cpu_s
        self._begun_s = self._checked_s = time.process_time()
        self._reached = False

    def __call__(self) -> bool:
        now_s = time.process_time()
        if not self._reached and now_s - self._checked_s >= CHECK_CPU_S:
            self._checked_s = now_s
            self._reached = self._gathered() >= self._count
            assert self._reached or now_s - self._begun_s < self._most_cpu_s, "the sampler gathers nothing"
        return self._reached

    @staticmethod
    def _gathered() -> int:
        from flamewire import _native

        _native.poll()
        return int(_native.stats()["samples_gathered"])
