"""Roll-ups answer what the samples answer, to the unit, whatever the range."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from stored_profiles import EVER, START_S, TENANT, Question, Sample, StoredProfiles, expected

from flamewire_server.compaction.plan import merge_all
from flamewire_server.storage.compaction_queue import StoredBlock

DAY = "2026-11-23"
DAY_START_NS = START_S // 86_400 * 86_400 * 10**9
HOUR_NS = 3600 * 10**9
ALWAYS = Question("", EVER.start_ns, EVER.end_ns)


def push_hours(stored: StoredProfiles, draw: random.Random, hours: range, each: int = 12) -> list[Sample]:
    """Push profiles of few stacks, some at the very edges of an hour."""
    samples = []
    for hour in hours:
        for number in range(each):
            offset_ns = {0: 0, 1: HOUR_NS - 1}.get(number, draw.randrange(HOUR_NS))
            service, pod = draw.choice(["cart", "search"]), draw.choice(["a", "b"])
            profile = [
                Sample(
                    service,
                    pod,
                    DAY_START_NS + hour * HOUR_NS + offset_ns,
                    draw.choice([0, 0, 7]),
                    (f"leaf_{stack}", "main"),
                    draw.randrange(1, 1 << 40),
                )
                for stack in range(3)
            ]
            stored.push(profile)
            samples += profile
    return samples


def compact_day(stored: StoredProfiles) -> StoredBlock:
    (merge,) = merge_all(stored.queue.blocks(TENANT, DAY))
    stored.compactor.merge(TENANT, DAY, merge)
    (block,) = stored.queue.blocks(TENANT, DAY)
    return block


def draw_range(draw: random.Random) -> tuple[int, int]:
    ends = sorted(
        DAY_START_NS
        + draw.randrange(-1, 8) * HOUR_NS
        + draw.choice([0, 0, 0, -1, 1, draw.randrange(HOUR_NS)])
        for _ in range(2)
    )
    return ends[0], ends[1] - draw.choice([0, 1])


@pytest.mark.parametrize("seed", range(4))
def test_every_range_is_answered_as_from_the_samples(stored: StoredProfiles, seed: int) -> None:
    draw = random.Random(seed)
    samples = push_hours(stored, draw, range(5))
    block = compact_day(stored)
    assert block.name_of("hours")
    assert block.name_of("days")
    # Blocks with and without roll-ups are read together.
    samples += push_hours(stored, draw, range(4, 7), each=2)
    for _ in range(150):
        start_ns, end_ns = draw_range(draw)
        spans = draw.choice([None, None, None, (7,)])
        question = Question(draw.choice(["", "cart"]), start_ns, end_ns, spans)
        assert stored.answer(question)[:2] == expected(samples, question), question


def test_whole_days_and_hours_are_read_from_roll_ups(stored: StoredProfiles) -> None:
    """Where the samples are gone, whole ranges are answered still: nothing else was read."""
    samples = push_hours(stored, random.Random(1), range(5))
    block = compact_day(stored)
    of_samples = [Path(stored.store.path_of(block.name_of(kind) or "")) for kind in ("samples", "totals")]
    hours = Question("", DAY_START_NS + HOUR_NS, DAY_START_NS + 3 * HOUR_NS - 1)
    assert stored.answer(hours)[:2] == expected(samples, hours)
    # The footer of the samples is known by now; their rows are not asked for.
    for path in of_samples:
        path.unlink()
    assert stored.answer(hours)[:2] == expected(samples, hours)
    assert stored.answer(ALWAYS)[:2] == expected(samples, ALWAYS)
    ragged = Question("", hours.start_ns + 1, hours.end_ns)
    with pytest.raises(FileNotFoundError):
        stored.answer(ragged)


def test_roll_ups_go_with_their_block(stored: StoredProfiles) -> None:
    push_hours(stored, random.Random(1), range(3))
    old = compact_day(stored)
    push_hours(stored, random.Random(2), range(3))
    new = compact_day(stored)
    removed = set(stored.catalog.removed_files(int(stored.now_s) + 1))
    assert {file.name for file in old.files} <= removed
    assert not {file.name for file in new.files} & removed


def test_sums_that_are_no_fewer_than_the_rows_are_not_written(stored: StoredProfiles) -> None:
    stored.push([Sample("cart", "a", DAY_START_NS, 0, ("main",), 1)])
    stored.push([Sample("cart", "b", DAY_START_NS, 0, ("main",), 1)])
    block = compact_day(stored)
    assert block.name_of("days") is None
    assert block.name_of("hours") is None
