"""The verbs of `flamewire-server admin`, on a real data folder."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from stored_profiles import EVER, START_S, TENANT, Question, Sample, StoredProfiles, draw_profile, expected

from flamewire_server.cli import main
from flamewire_server.storage.compaction_queue import FIRST_DELAY_S
from flamewire_server.storage.retention import FILE_GRACE_S, apply_retention

DAY = "2026-11-23"
ALWAYS = Question("", EVER.start_ns, EVER.end_ns)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a merged block and three new ones."""
    stored = StoredProfiles(tmp_path)
    for number in range(5):
        if number == 2:
            stored.now_s += FIRST_DELAY_S
            stored.compact_due()
        stored.push(draw_profile(random.Random(number), START_S * 10**9 + number))
    for name in stored.files_on_disk() - stored.catalog.file_names():
        Path(stored.store.path_of(name)).unlink()
    stored.close()
    return tmp_path


def run(verb: str, data: Path, *arguments: str) -> int:
    return main(["admin", verb, "--data", str(data), *arguments])


def block_file(data: Path, kind: str) -> Path:
    stored = StoredProfiles(data)
    blocks = stored.queue.blocks(TENANT, DAY)
    names = (block.name_of(kind) for block in blocks)
    path = Path(stored.store.path_of(next(name for name in names if name)))
    stored.close()
    return path


def test_inspect_shows_days_and_levels(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", data) == 0
    _, line = capsys.readouterr().out.splitlines()
    assert line.split()[:2] == [TENANT, DAY]
    assert line.endswith("0:3 1:1")


def test_verify_finds_nothing_wrong_with_what_the_server_wrote(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("verify", data) == 0
    assert "4 blocks: 0 faults" in capsys.readouterr().out


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["samples", "symbols", "totals"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [(cut, "the catalog says"), (flip_a_bit, "checksum"), (Path.unlink, "No such file")],
)
def test_verify_names_every_damaged_file(
    data: Path, kind: str, damage: Callable[[Path], object], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = block_file(data, kind)
    damage(path)
    assert run("verify", data) == 1
    fault = next(line for line in capsys.readouterr().out.splitlines() if path.name in line)
    assert words in fault


def test_verify_notices_rows_that_the_catalog_counts_otherwise(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = StoredProfiles(data)
    stored.catalog.database.connection().execute("UPDATE blocks SET row_count = row_count + 1")
    stored.close()
    assert run("verify", data) == 1
    assert "4 blocks: 4 faults" in capsys.readouterr().out


def test_verify_lists_files_of_no_block(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = block_file(data, "samples")
    shutil.copy(path, path.with_name("lost.samples.parquet"))
    assert run("verify", data) == 0
    assert "lost.samples.parquet: not in the catalog" in capsys.readouterr().out


def test_compact_leaves_one_block_a_day_and_the_same_answers(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = StoredProfiles(data)
    answer = stored.answer(ALWAYS)
    stored.close()
    assert run("compact", data, "--dry-run") == 0
    assert "4 blocks" in capsys.readouterr().out
    assert run("compact", data) == 0
    stored = StoredProfiles(data)
    assert stored.levels() == [3]
    assert stored.answer(ALWAYS) == answer
    stored.close()
    assert run("verify", data) == 0


def test_a_folder_in_use_or_of_something_else_is_refused(
    data: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = StoredProfiles(data)
    assert run("verify", data) == 1
    stored.close()
    assert "another flamewire-server uses" in capsys.readouterr().err
    other = tmp_path_factory.mktemp("other")
    assert run("inspect", other) == 2
    assert list(other.iterdir()) == []


def stored_samples(folder: Path, services: int = 5) -> list[Sample]:
    """Commit and compact in turns; returns all samples."""
    stored = StoredProfiles(folder)
    samples = []
    for number in range(services * 3):
        if number % 6 == 4:
            stored.now_s += FIRST_DELAY_S
            stored.compact_due()
        stored.push(profile := draw_profile(random.Random(number), START_S * 10**9 + number * 10**9))
        samples += profile
    stored.close()
    return samples


def answers(folder: Path) -> tuple[tuple[int, dict[str, tuple[int, int]]], list[str]]:
    stored = StoredProfiles(folder)
    answer = stored.answer(ALWAYS)[:2]
    services = sorted({one.service for one in stored.catalog.series(TENANT, EVER)})
    stored.close()
    return answer, services


def test_delete_removes_a_service_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = stored_samples(tmp_path)
    arguments = ['{service_name="cart"}', "--dry-run"]
    assert run("delete", tmp_path, *arguments) == 0
    assert "would be deleted" in capsys.readouterr().out
    assert answers(tmp_path)[0] == expected(samples, ALWAYS)
    assert run("delete", tmp_path, *arguments[:1]) == 0
    kept = [one for one in samples if one.service != "cart"]
    assert answers(tmp_path) == (expected(kept, ALWAYS), sorted({one.service for one in kept}))
    assert run("verify", tmp_path) == 0
    stored = StoredProfiles(tmp_path)
    # Files stay for queries that run, then they go.
    assert stored.files_on_disk() == stored.catalog.file_names()
    apply_retention(stored.catalog, stored.store, retention_s=0, now_s=time.time() + FILE_GRACE_S + 1)
    assert stored.files_on_disk() == stored.catalog.file_names()
    stored.now_s += 10**5
    stored.compact_due()
    assert stored.answer(ALWAYS)[:2] == expected(kept, ALWAYS)
    stored.close()


def test_delete_keeps_to_its_range_of_time(tmp_path: Path) -> None:
    samples = stored_samples(tmp_path)
    bounds = ["--from", "2026-11-23T13:20:03Z", "--until", "2026-11-23T13:20:07"]
    assert run("delete", tmp_path, "{}", *bounds) == 0
    first, last = (START_S + 3) * 10**9, (START_S + 7) * 10**9
    kept = [one for one in samples if not first <= one.time_ns <= last]
    assert 0 < len(kept) < len(samples)
    assert answers(tmp_path)[0] == expected(kept, ALWAYS)
    assert run("verify", tmp_path) == 0


def test_a_day_of_which_all_is_deleted_is_gone(tmp_path: Path) -> None:
    stored_samples(tmp_path)
    assert run("delete", tmp_path, "{}") == 0
    stored = StoredProfiles(tmp_path)
    assert stored.queue.days() == []
    assert stored.catalog.series(TENANT, EVER) == []
    # Profiles of that day are taken again.
    stored.push(profile := draw_profile(random.Random(1), START_S * 10**9))
    assert stored.answer(ALWAYS)[:2] == expected(profile, ALWAYS)
    stored.close()


def test_a_damaged_block_is_told_and_the_rest_deleted(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip_a_bit(block_file(data, "totals"))
    assert run("verify", data) == 1
    assert "set aside" in capsys.readouterr().out
    assert run("delete", data, "{}") == 1
    assert "damaged, so nothing was deleted" in capsys.readouterr().out


def test_verify_takes_a_restored_block_back(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = block_file(data, "samples")
    whole = path.read_bytes()
    flip_a_bit(path)
    assert run("verify", data) == 1
    path.write_bytes(whole)
    assert run("verify", data) == 0
    assert "back in use" in capsys.readouterr().out
    stored = StoredProfiles(data)
    assert stored.queue.quarantined() == 0
    stored.close()


def test_what_was_exported_and_imported_answers_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = stored_samples(tmp_path / "old")
    copy, new = tmp_path / "copy", tmp_path / "new"
    assert run("export", tmp_path / "old", str(copy), "--dry-run") == 0
    assert not copy.exists()
    assert run("export", tmp_path / "old", str(copy)) == 0
    assert run("import", new, str(copy), "--dry-run") == 0
    assert answers(new)[0] == (0, {})
    assert run("import", new, str(copy)) == 0
    assert answers(new) == answers(tmp_path / "old")
    # Again: nothing twice.
    capsys.readouterr()
    assert run("import", new, str(copy)) == 0
    assert capsys.readouterr().out.startswith("0 of")
    assert run("verify", new) == 0
    stored = StoredProfiles(new)
    stored.now_s += 10**5
    stored.compact_due()
    assert stored.answer(ALWAYS)[:2] == expected(samples, ALWAYS)
    stored.close()


@pytest.mark.parametrize("damage", [cut, flip_a_bit, Path.unlink])
def test_a_copy_that_was_damaged_is_not_imported(
    tmp_path: Path, damage: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    stored_samples(tmp_path / "old")
    copy = tmp_path / "copy"
    assert run("export", tmp_path / "old", str(copy)) == 0
    damage(next(copy.rglob("*.samples.parquet")))
    assert run("import", tmp_path / "new", str(copy)) == 1
    assert "not taken" in capsys.readouterr().out
    assert run("verify", tmp_path / "new") == 0


def test_a_page_that_points_elsewhere_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored_samples(tmp_path / "old", services=1)
    copy = tmp_path / "copy"
    assert run("export", tmp_path / "old", str(copy)) == 0
    for page in copy.rglob("*.block.json"):
        content = json.loads(page.read_text())
        content["files"][0][1] = "../../../outside.samples.parquet"
        page.write_text(json.dumps(content))
    assert run("import", tmp_path / "new", str(copy)) == 1
    assert "does not belong" in capsys.readouterr().out
    assert not list(tmp_path.rglob("outside*"))
