"""Compaction changes no answer, whatever is asked, and leaves fewer blocks."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import duckdb
import pytest
from stored_profiles import (
    EVER,
    START_S,
    TENANT,
    Question,
    Sample,
    StoredProfiles,
    draw_profile,
    expected,
    expected_steps,
)

from flamewire_server._native import BlockError, Selection, compact_blocks
from flamewire_server.compaction.plan import merge_all
from flamewire_server.storage.compaction_queue import FIRST_DELAY_S, StoredBlock, SwapError
from flamewire_server.storage.retention import FILE_GRACE_S, apply_retention

START_NS = START_S * 10**9
ALWAYS = Question("", EVER.start_ns, EVER.end_ns)
HOUR_NS = 3600 * 10**9
DAY = "2026-11-23"


def draw_question(draw: random.Random) -> Question:
    ends = sorted(START_NS - draw.randrange(4 * 3600) * 10**9 - draw.randrange(2) for _ in range(2))
    spans = draw.choice([None, None, (7,), (7, (1 << 62) + 5)])
    return Question(draw.choice(["", "cart", "search", "user"]), ends[0], ends[1], spans)


@pytest.mark.parametrize("seed", range(6))
def test_every_answer_equals_the_model_before_and_after_each_merge(stored: StoredProfiles, seed: int) -> None:
    draw = random.Random(seed)
    samples: list[Sample] = []
    for _ in range(draw.randrange(2, 6)):
        for _ in range(draw.randrange(1, 12)):
            profiles = [draw_profile(draw) for _ in range(draw.randrange(1, 6))]
            stored.push(*profiles)
            samples += [sample for profile in profiles for sample in profile]
        questions = [ALWAYS, *(draw_question(draw) for _ in range(12))]
        before = [stored.answer(question) for question in questions]
        # Now and then no time passes, so that new and merged blocks are asked together.
        stored.now_s += draw.choice([0, FIRST_DELAY_S, 700, 4 * 3600])
        stored.compact_due()
        for question, answer in zip(questions, before, strict=True):
            total, functions = expected(samples, question)
            assert answer[:2] == (total, functions)
            assert stored.answer(question) == answer
            if question.spans is None:
                whole = Question(question.service, question.start_ns, question.start_ns + 24 * HOUR_NS)
                assert stored.steps(whole, HOUR_NS) == expected_steps(samples, whole, HOUR_NS)


def test_new_blocks_are_merged_after_the_delay_and_not_before(stored: StoredProfiles) -> None:
    for _ in range(5):
        stored.push(draw_profile(random.Random(1), START_NS))
    stored.now_s += FIRST_DELAY_S - 1
    assert stored.compact_due() == 0
    assert stored.levels() == [0] * 5
    stored.now_s += 1
    stored.compact_due()
    assert stored.levels() == [1]
    assert stored.compact_due() == 0


def test_levels_rise_with_age_until_a_day_is_few_blocks(stored: StoredProfiles) -> None:
    for _ in range(3):
        for _ in range(4):
            stored.push(draw_profile(random.Random(1), START_NS))
            stored.now_s += FIRST_DELAY_S
            stored.compact_due()
        stored.now_s += 600
        stored.compact_due()
    assert set(stored.levels()) == {2}
    stored.now_s += 4 * 3600
    stored.compact_due()
    assert stored.levels() == [3]


def test_merged_symbols_have_each_frame_once(stored: StoredProfiles) -> None:
    stored.push([Sample("cart", "a", START_NS, 0, ("leaf", "root"), 1)])
    stored.writer = stored.make_writer()
    stored.push([Sample("cart", "a", START_NS + 1, 0, ("leaf", "root"), 1)])
    assert len([name for name in stored.files_on_disk() if "symbols" in name]) == 2
    stored.now_s += FIRST_DELAY_S
    stored.compact_due()
    (block,) = stored.queue.blocks(TENANT, "2026-11-23")
    assert block.symbols_name
    path = stored.store.path_of(block.symbols_name)
    rows = duckdb.sql(f"SELECT function FROM '{path}' WHERE hash IS NOT NULL").fetchall()
    assert sorted(rows) == [("leaf",), ("root",)]
    assert duckdb.sql(f"SELECT back FROM '{path}' WHERE frame IS NOT NULL").fetchall() == [(0,), (1,)]


def test_old_files_stay_for_running_queries_and_then_go(stored: StoredProfiles) -> None:
    stored.push(draw_profile(random.Random(1), START_NS))
    stored.push(draw_profile(random.Random(2), START_NS))
    old = stored.files_on_disk()
    stored.now_s += FIRST_DELAY_S
    stored.compact_due()
    assert old < stored.files_on_disk()
    apply_retention(stored.catalog, stored.store, retention_s=0, now_s=stored.now_s + FILE_GRACE_S + 1)
    assert stored.files_on_disk() == stored.catalog.file_names()
    assert not old & stored.files_on_disk()


def test_a_day_is_claimed_by_one_worker_until_its_lease_ends(stored: StoredProfiles) -> None:
    stored.push(draw_profile(random.Random(1), START_NS))
    now_s = START_S + FIRST_DELAY_S
    assert stored.queue.claim("one", now_s=now_s, lease_s=60)
    assert stored.queue.claim("two", now_s=now_s + 59, lease_s=60) is None
    late = stored.queue.claim("two", now_s=now_s + 60, lease_s=60)
    assert late
    assert late.worker == "two"


def test_a_commit_during_a_merge_is_due_at_its_own_time(stored: StoredProfiles) -> None:
    stored.push(draw_profile(random.Random(1), START_NS))
    job = stored.queue.claim("one", now_s=START_S + FIRST_DELAY_S, lease_s=60)
    assert job
    stored.now_s += 30
    stored.push(draw_profile(random.Random(2), START_NS))
    stored.queue.finish(job, due_at_s=None)
    stored.now_s += FIRST_DELAY_S
    assert stored.compact_due()
    assert stored.levels() == [1]


def test_of_two_workers_that_merged_the_same_blocks_one_wins(stored: StoredProfiles) -> None:
    samples = draw_profile(random.Random(1), START_NS)
    stored.push(samples)
    stored.push(draw_profile(random.Random(2), START_NS))
    answer = stored.answer(ALWAYS)
    (merge,) = merge_all(stored.queue.blocks(TENANT, "2026-11-23"))
    stored.make_compactor().merge(TENANT, "2026-11-23", merge)
    with pytest.raises(SwapError):
        stored.make_compactor().merge(TENANT, "2026-11-23", merge)
    assert stored.answer(ALWAYS) == answer
    assert stored.store.sweep(stored.catalog.file_names()) == 0


def damage(stored: StoredProfiles, block: StoredBlock, kind: str) -> bytes:
    """Flip a bit of a file; returns what it was."""
    path = Path(stored.store.path_of(block.name_of(kind) or ""))
    whole = path.read_bytes()
    content = bytearray(whole)
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    return whole


@pytest.mark.parametrize("kind", ["samples", "symbols"])
def test_a_damaged_block_is_set_aside_and_its_day_is_compacted(stored: StoredProfiles, kind: str) -> None:
    samples = []
    for number in range(4):
        stored.push(profile := draw_profile(random.Random(number), START_NS + number))
        samples.append(profile)
    broken = stored.queue.blocks(TENANT, DAY)[1]
    whole = damage(stored, broken, kind)
    stored.now_s += FIRST_DELAY_S
    stored.compact_due()
    assert sorted(stored.levels()) == [0, 1]
    assert stored.queue.quarantined() == 1
    assert b"flamewire_quarantined_blocks 1.0" in stored.metrics.render()
    # Queries go on, without what the damaged file held.
    total, _ = expected([one for number in range(4) if number != 1 for one in samples[number]], ALWAYS)
    rest, _ = expected(samples[1], ALWAYS)
    assert stored.answer(ALWAYS, may_miss=True)[0] == total + (0 if kind == "samples" else rest)
    # Restored from a backup, the block comes back.
    Path(stored.store.path_of(broken.name_of(kind) or "")).write_bytes(whole)
    stored.queue.quarantine(broken, ())
    assert stored.answer(ALWAYS)[0] == total + rest


def test_a_block_that_lost_a_file_is_set_aside(stored: StoredProfiles) -> None:
    for number in range(3):
        stored.push(draw_profile(random.Random(number), START_NS + number))
    Path(stored.store.path_of(stored.queue.blocks(TENANT, DAY)[0].samples_name)).unlink()
    stored.now_s += FIRST_DELAY_S
    stored.compact_due()
    assert sorted(stored.levels()) == [0, 1]


def test_rows_that_name_no_profile_are_damage(stored: StoredProfiles) -> None:
    """A compacted block's samples are read with its totals only."""
    for number in range(3):
        stored.push(draw_profile(random.Random(number), START_NS + number))
    stored.now_s += FIRST_DELAY_S
    stored.compact_due()
    (block,) = stored.queue.blocks(TENANT, DAY)
    totals = Path(stored.store.path_of(block.name_of("totals") or ""))
    stored.push(draw_profile(random.Random(9), START_NS))
    stored.now_s += FIRST_DELAY_S
    stored.compact_due()
    other = stored.queue.blocks(TENANT, DAY)[-1]
    totals.write_bytes(Path(stored.store.path_of(other.name_of("totals") or "")).read_bytes())
    series = stored.queue.series(TENANT, DAY)
    with pytest.raises(BlockError, match="profile"):
        compact_blocks([stored.store.path_of(block.samples_name)], [], series=series)


@pytest.mark.parametrize("compacted", [False, True], ids=["new", "compacted"])
def test_files_damaged_in_any_way_are_refused_or_read(
    stored: StoredProfiles, tmp_path_factory: pytest.TempPathFactory, compacted: bool
) -> None:
    """No damage may bring the reader down: old files have no checksum."""
    draw = random.Random(3)
    stored.push(*(draw_profile(draw, START_NS) for _ in range(6)))
    if compacted:
        stored.push(draw_profile(draw, START_NS))
        stored.now_s += FIRST_DELAY_S
        stored.compact_due()
    (block,) = stored.queue.blocks(TENANT, DAY)
    kinds = ["samples", "symbols", "totals"] if compacted else ["samples", "symbols"]
    contents = {kind: Path(stored.store.path_of(block.name_of(kind) or "")).read_bytes() for kind in kinds}
    series = stored.queue.series(TENANT, DAY)
    folder = tmp_path_factory.mktemp("damaged")
    refused = 0
    for number in range(600):
        chosen = draw.choice(kinds)
        content = bytearray(contents[chosen])
        for _ in range(draw.choice([1, 1, 8])):
            # Mostly near the end, where the footer is.
            content[-1 - draw.randrange(draw.choice([len(content), min(len(content), 3000)]))] = (
                draw.randrange(256)
            )
        if draw.random() < 0.1:
            del content[draw.randrange(len(content)) :]
        paths = {kind: folder / f"{number}.{kind}.parquet" for kind in kinds}
        for kind, path in paths.items():
            path.write_bytes(content if kind == chosen else contents[kind])
        samples, symbols = str(paths["samples"]), str(paths["symbols"])
        try:
            compact_blocks([samples], [symbols], series=series)
        except BlockError:
            refused += 1
        with suppress(BlockError):
            stored.reader.tree(
                TENANT,
                [samples],
                [symbols],
                Selection(
                    series=[one for one, _, _ in series],
                    start_ns=0,
                    end_ns=START_NS + draw.choice([0, -1, HOUR_NS]),
                    profile_ids=draw.choice([None, [bytes(16)]]),
                ),
            )
        for path in paths.values():
            path.unlink()
    assert refused > 100
