"""The memory of labels: it is given back, also where nothing samples."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

PROGRAM = """
import gc, sys
import flamewire
from flamewire import _native

def rss_kib():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4

def use(count):
    for number in range(count):
        with flamewire.tags(number=number):
            pass
        span = _native.Scope({}, span_id=f"{number:016x}", span_name="before")
        span.rename("after")
        span.rename("at last")

if sys.argv[1] == "stopped":
    _native.start(5_000_000, 64)
    use(1000)
    _native.stop()
use(5000)
gc.collect()
before = rss_kib()
use(150_000)
gc.collect()
print(rss_kib() - before)
"""


@pytest.mark.parametrize("state", ["never started", "stopped"])
def test_labels_do_not_pile_up_where_nothing_samples(
    run_python: Callable[..., subprocess.CompletedProcess[str]], state: str
) -> None:
    """Each round makes two sets of labels and two names, of 200 bytes and more: 100 MB in all."""
    done = run_python(PROGRAM, state)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 10_000
