"""Labels of greenlets: each has a Context of its own, and the handler reads that of the one that runs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

pytest.importorskip("gevent", reason="runs where the SDK's frameworks are installed")

Run = Callable[..., "subprocess.CompletedProcess[str]"]

PATCHED_FIRST = "from gevent import monkey\nmonkey.patch_all()\nfrom flamewire import _native\n"
PATCHED_AFTER = "from flamewire import _native\nfrom gevent import monkey\nmonkey.patch_all()\n"

BODY = """
import json, threading, time
import gevent
import gevent.pool
from gevent.hub import get_hub

_native.start(5_000_000, 128)

def now():
    return _native.capture()[0]

def labels():
    return now()[1]
"""


def result_of(run_python: Run, script: str, imports: str = PATCHED_FIRST) -> object:
    done = run_python(imports + BODY + script)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("imports", [PATCHED_FIRST, PATCHED_AFTER], ids=["patched_first", "patched_after"])
def test_each_greenlet_keeps_its_tags_over_every_switch(run_python: Run, imports: str) -> None:
    script = """
wrong = []
def serve(number):
    with _native.tags(request=str(number)):
        for step in range(50):
            with _native.tags(step=str(step)):
                gevent.sleep(0)
                if labels() != {"request": str(number), "step": str(step)}:
                    wrong.append(labels())
            gevent.sleep(0)
            if labels() != {"request": str(number)}:
                wrong.append(labels())
    return labels()
greenlets = [gevent.spawn(serve, number) for number in range(20)]
gevent.joinall(greenlets, raise_error=True)
print(json.dumps([wrong, [greenlet.value for greenlet in greenlets] == [{}] * 20, labels()]))
"""
    assert result_of(run_python, script, imports) == [[], True, {}]


def test_a_greenlet_that_runs_never_has_the_tags_of_one_that_waits(run_python: Run) -> None:
    script = """
from gevent.event import Event
entered, leave = Event(), Event()
def waits():
    with _native.tags(request="waits"):
        entered.set()
        leave.wait()
        return labels()
waiting = gevent.spawn(waits)
entered.wait()
seen = [labels(), gevent.spawn(labels).get()]
leave.set()
print(json.dumps([seen, waiting.get()]))
"""
    assert result_of(run_python, script) == [[{}, {}], {"request": "waits"}]


def test_a_greenlet_has_the_stack_of_its_own(run_python: Run) -> None:
    script = """
def outer():
    gevent.sleep(0)
    return inner()
def inner():
    gevent.sleep(0)
    return now()[0]
stacks = [[frame[0] for frame in stack.get()] for stack in [gevent.spawn(outer) for _ in range(5)]]
names = [stack[stack.index("inner"):stack.index("outer") + 1] for stack in stacks]
print(json.dumps(["<module>" in sum(stacks, []), names]))
"""
    assert result_of(run_python, script) == [False, [["inner", "outer"]] * 5]


def test_a_pool_of_greenlets_keeps_no_request_s_tags(run_python: Run) -> None:
    script = """
def serve(number):
    before = labels()
    with _native.tags(request=str(number)):
        gevent.sleep(0)
        return [before, labels()]
print(json.dumps(gevent.pool.Pool(3).map(serve, range(12))))
"""
    assert result_of(run_python, script) == [[{}, {"request": str(number)}] for number in range(12)]


def test_a_killed_greenlet_leaves_its_tags_to_nobody(run_python: Run) -> None:
    script = """
from gevent.event import Event
entered = Event()
def serve():
    with _native.tags(request="killed"):
        entered.set()
        gevent.sleep(3600)
greenlet = gevent.spawn(serve)
entered.wait()
greenlet.kill()
print(json.dumps([labels(), gevent.spawn(labels).get()]))
"""
    assert result_of(run_python, script) == [{}, {}]


def test_samples_of_the_timer_carry_the_greenlet_s_tags(run_python: Run) -> None:
    """Every sample inside a greenlet's own function has that greenlet's tag and no other."""
    script = """
from sdk_support.pprof_reader import read_profile
deadline = time.monotonic() + 240
def burn_a():
    return sum(range(2000))
def burn_b():
    return sum(range(2000))
over = False
def serve(name, burn):
    with _native.tags(greenlet=name):
        while not over:
            burn()
            gevent.sleep(0)
greenlets = [gevent.spawn(serve, "a", burn_a), gevent.spawn(serve, "b", burn_b)]
while _native.stats()["samples_gathered"] < 200 and time.monotonic() < deadline:
    gevent.sleep(0)
    _native.poll()
over = True
gevent.joinall(greenlets, raise_error=True)
pprof = _native.stop()[0]
found = {"burn_a": {}, "burn_b": {}}
for sample in read_profile(pprof).samples:
    for frame in sample.stack:
        if frame[0] in found:
            labelled = sample.labels.get("greenlet")
            found[frame[0]][labelled] = found[frame[0]].get(labelled, 0) + 1
print(json.dumps({name: sorted(map(str, labelled)) for name, labelled in found.items()}))
"""
    assert result_of(run_python, script) == {"burn_a": ["a"], "burn_b": ["b"]}
