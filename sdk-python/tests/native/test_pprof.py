"""The pprof that the core writes, read back with the standard library."""

from __future__ import annotations

import time

from sdk_support.pprof_reader import read_profile
from sdk_support.shares import until_sampled

from flamewire import _native

PERIOD_NS = 5_000_000


def spin_here(samples: int = 10) -> None:
    for _ in until_sampled(samples):
        sum(range(500))


def test_the_profile_says_what_it_holds(sampler: None) -> None:
    with _native.tags(route="/größe", empty=""):
        spin_here(30)
    window = _native.take_window()
    assert window is not None
    pprof, start_unix_ns, duration_ns, samples = window
    profile = read_profile(pprof)
    assert profile.sample_types == (("cpu", "nanoseconds"),)
    assert profile.period_type == ("cpu", "nanoseconds")
    assert profile.period == PERIOD_NS
    assert (profile.time_unix_ns, profile.duration_ns) == (start_unix_ns, duration_ns)
    assert 0 < duration_ns <= time.time_ns() - start_unix_ns
    assert samples >= 30
    ours = [sample for sample in profile.samples if "spin_here" in sample.functions]
    assert ours
    name, filename, start_line, line = next(f for f in ours[0].stack if f[0] == "spin_here")
    assert (name, filename, start_line) == ("spin_here", __file__, spin_here.__code__.co_firstlineno)
    assert start_line < line <= start_line + 3
    assert {sample.labels["route"] for sample in ours} == {"/größe"}


def test_each_stack_and_label_set_stands_once(sampler: None) -> None:
    for turn in range(1, 4):
        with _native.tags(route="/cart"):
            spin_here(10 * turn)
    window = _native.take_window()
    assert window is not None
    keys = [(s.stack, tuple(s.labels.items())) for s in read_profile(window[0]).samples]
    assert len(keys) == len(set(keys))


def test_two_windows_share_nothing(sampler: None) -> None:
    spin_here()
    first = _native.take_window()
    second = _native.take_window()
    assert first is not None
    assert second is None or read_profile(second[0]).cpu_of("spin_here") < 0.02e9
