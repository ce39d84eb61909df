"""The verbs of `flamewire-server admin`, on a real data folder."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from stored_profiles import EVER, START_S, TENANT, Question, StoredProfiles, draw_profile

from flamewire_server.cli import main
from flamewire_server.storage.compaction_queue import FIRST_DELAY_S

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
