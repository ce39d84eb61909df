"""Compaction changes no answer, whatever is asked, and leaves fewer blocks."""

from __future__ import annotations

import random
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

from flamewire_server._native import BlockError, compact_blocks
from flamewire_server.compaction.plan import merge_all
from flamewire_server.storage.compaction_queue import FIRST_DELAY_S, SwapError
from flamewire_server.storage.retention import FILE_GRACE_S, apply_retention

START_NS = START_S * 10**9
ALWAYS = Question("", EVER.start_ns, EVER.end_ns)
HOUR_NS = 3600 * 10**9


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
    rows = duckdb.sql(f"SELECT function FROM '{stored.store.path_of(block.symbols_name)}'").fetchall()
    assert rows == [("root",), ("leaf",)]


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


@pytest.mark.parametrize("kind", ["samples", "symbols"])
def test_a_damaged_block_stays_as_it_is_and_is_told(stored: StoredProfiles, kind: str) -> None:
    stored.push(draw_profile(random.Random(1), START_NS))
    (block,) = stored.queue.blocks(TENANT, "2026-11-23")
    path = Path(stored.store.path_of(block.samples_name.replace("samples", kind)))
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    stored.now_s += FIRST_DELAY_S
    assert stored.compactor.run_once()
    assert not stored.compactor.run_once()
    assert stored.levels() == [0]
    assert b"flamewire_compaction_failures_total 1.0" in stored.metrics.render()


def test_files_damaged_in_any_way_are_refused_or_read(
    stored: StoredProfiles, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No damage may bring the reader down: old files have no checksum."""
    draw = random.Random(3)
    stored.push(*(draw_profile(draw, START_NS) for _ in range(6)))
    (block,) = stored.queue.blocks(TENANT, "2026-11-23")
    assert block.symbols_name
    paths = [Path(stored.store.path_of(name)) for name in (block.samples_name, block.symbols_name)]
    series = stored.queue.series(TENANT, "2026-11-23")
    refused = 0
    for _ in range(600):
        kind = draw.randrange(2)
        content = bytearray(paths[kind].read_bytes())
        for _ in range(draw.choice([1, 1, 8])):
            # Mostly near the end, where the footer is.
            content[-1 - draw.randrange(draw.choice([len(content), min(len(content), 3000)]))] = (
                draw.randrange(256)
            )
        if draw.random() < 0.1:
            del content[draw.randrange(len(content)) :]
        damaged = tmp_path_factory.getbasetemp() / "damaged.parquet"
        damaged.write_bytes(content)
        files = [str(damaged if number == kind else path) for number, path in enumerate(paths)]
        try:
            compact_blocks(files[:1], files[1:], series=series)
        except BlockError:
            refused += 1
    assert refused > 100
