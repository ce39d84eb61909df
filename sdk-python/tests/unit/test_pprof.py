from __future__ import annotations

import pytest
from sdk_support.pprof_reader import read_profile, read_varint

from flamewire.pprof import Frame, ValueType, encode
from flamewire.protowire import varint

CPU = ValueType("cpu", "nanoseconds")


def profile_of(samples: dict[tuple[Frame, ...], int]) -> bytes:
    return encode(
        samples,
        value_type=CPU,
        period_type=CPU,
        period=10_000_000,
        time_unix_ns=1_700_000_000_000_000_000,
        duration_ns=10_000_000_123,
    )


def test_a_profile_reads_back_as_it_was_written() -> None:
    main = Frame("main", "/srv/app.py", 1, 3)
    work = Frame("Shop.work", "/srv/shop.py", 10, 12)
    other_line = Frame("Shop.work", "/srv/shop.py", 10, 14)
    profile = read_profile(profile_of({(work, main): 20_000_000, (other_line, main): 5, (): 7}))
    assert profile.sample_types == (("cpu", "nanoseconds"),)
    assert profile.period_type == ("cpu", "nanoseconds")
    assert profile.period == 10_000_000
    assert profile.time_unix_ns == 1_700_000_000_000_000_000
    assert profile.duration_ns == 10_000_000_123
    assert {sample.stack: sample.values for sample in profile.samples} == {
        (tuple(work), tuple(main)): (20_000_000,),
        (tuple(other_line), tuple(main)): (5,),
        (): (7,),
    }


def test_names_outside_ascii_and_lone_surrogates_are_carried() -> None:
    profile = read_profile(profile_of({(Frame("größe", "caf\udce9.py", 1, 1),): 1}))
    assert profile.samples[0].stack == (("größe", "caf?.py", 1, 1),)


def test_functions_of_one_name_in_two_files_stay_apart() -> None:
    here, there = Frame("run", "a.py", 1, 1), Frame("run", "b.py", 1, 1)
    profile = read_profile(profile_of({(here,): 1, (there,): 2}))
    assert sorted(sample.stack[0][1] for sample in profile.samples) == ["a.py", "b.py"]


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**32, 2**63 - 1])
def test_varints_read_back(value: int) -> None:
    encoded = varint(value)
    assert read_varint(encoded, 0) == (value, len(encoded))


def test_a_negative_varint_is_its_twos_complement() -> None:
    assert read_varint(varint(-1), 0)[0] == 2**64 - 1
