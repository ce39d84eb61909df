"""What a file holds, and that no file does harm."""

from __future__ import annotations

import gzip
import random

import pytest

from flamewire.errors import ProfileFileError
from flamewire.pprof import Frame, ValueType, encode
from flamewire.protowire import delimited, integer, packed
from flamewire.view import read

STACKS = {
    (Frame("leaf", "a.py", 1, 2), Frame("main", "a.py", 5, 6)): 70,
    (Frame("main", "a.py", 5, 7),): 30,
}
CPU = ValueType("cpu", "nanoseconds")
PPROF = encode(STACKS, value_type=CPU, period_type=CPU, period=1, time_unix_ns=1, duration_ns=2)


@pytest.mark.parametrize("content", [PPROF, gzip.compress(PPROF)], ids=["plain", "gzip"])
def test_a_pprof_file_is_read_root_first(content: bytes) -> None:
    capture = read(content)
    assert (capture.sample_type, capture.unit, capture.root.total) == ("cpu", "nanoseconds", 100)
    assert dict(capture.stacks) == {("main", "leaf"): 70, ("main",): 30}
    (main,) = capture.root.children
    assert (main.total, main.self_value, [child.name for child in main.children]) == (100, 30, ["leaf"])


def test_folded_stacks_are_read_with_spaces_and_comments() -> None:
    capture = read(b"# py-spy\nmain;a b;c 30\n\nmain 12\n")
    assert dict(capture.stacks) == {("main", "a b", "c"): 30, ("main",): 12}
    assert capture.unit == ""


def value_type(kind: int, unit: int) -> bytes:
    return integer(1, kind) + integer(2, unit)


def two_types(default: int = 0) -> bytes:
    """Heap as other tools write it: two sample types, inlined functions, a location without a name."""
    strings = ["", "objects", "count", "space", "bytes", "outer", "inlined"]
    lines = delimited(4, integer(1, 2)) + delimited(4, integer(1, 1))
    parts = [
        delimited(1, value_type(1, 2)),
        delimited(1, value_type(3, 4)),
        delimited(2, packed(1, [2, 1]) + packed(2, [3, 4096])),
        delimited(4, integer(1, 1) + lines),
        delimited(4, integer(1, 2) + integer(3, 0xABC)),
        delimited(5, integer(1, 1) + integer(2, 5)),
        delimited(5, integer(1, 2) + integer(2, 6)),
        *[delimited(6, text.encode()) for text in strings],
        integer(14, default),
    ]
    return b"".join(parts)


def test_of_several_sample_types_the_default_one_or_the_last_is_shown() -> None:
    assert read(two_types()).sample_type == "space"
    assert read(two_types(default=1)).sample_type == "objects"
    chosen = read(two_types(), "objects")
    assert (chosen.unit, chosen.root.total, chosen.sample_types) == ("count", 3, ("objects", "space"))
    with pytest.raises(ProfileFileError, match="has no sample type 'cpu'; it has objects, space"):
        read(two_types(), "cpu")


def test_inlined_functions_and_addresses_stand_in_their_order() -> None:
    assert [stack for stack, _ in read(two_types()).stacks] == [("outer", "inlined", "0xabc")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"hello", "neither a pprof file nor folded"),
        (b"<html>no</html>\n", "neither"),
        (PPROF[:-3], "neither"),
        (gzip.compress(PPROF)[:-9], "ends too early"),
        (b"\x1f\x8bnot gzip", "gzip is broken"),
    ],
)
def test_what_is_no_profile_is_refused_in_words(content: bytes, words: str) -> None:
    with pytest.raises(ProfileFileError, match=words):
        read(content)


def test_no_broken_file_does_more_than_to_be_refused() -> None:
    chance = random.Random(7)
    for source in (PPROF, two_types()):
        for _ in range(3000):
            broken = bytearray(source)
            for _ in range(chance.randint(1, 4)):
                broken[chance.randrange(len(broken))] = chance.randrange(256)
            cut = bytes(broken[: chance.randint(0, len(broken))])
            try:
                read(cut)
            except ProfileFileError:
                continue


def test_values_are_shown_for_people() -> None:
    capture = read(PPROF)
    assert [capture.shown(value) for value in (1_500_000_000, 2_500_000)] == ["1.50 s", "2.5 ms"]
    assert read(two_types()).shown(3 << 20) == "3.0 MiB"
    assert read(b"a 1\n").shown(1234) == "1,234"
