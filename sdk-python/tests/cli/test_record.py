"""``flamewire record``: a program runs as it would, and leaves a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sdk_support.programs import BURN

from flamewire.cli.main import main
from flamewire.view import Capture, read

DEADLINE_S = 180.0
EDGE_S = 0.18
"""The edges of a stretch of work: a sample has up to 16 periods where a loaded machine makes it dear."""
PROGRAM = (
    BURN
    + """
def cart(): burn(0.6)
def search(): burn(0.2)
def shop():
    cart()
    search()
"""
)


def record(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FLAMEWIRE_", "PYROSCOPE_", "OTEL_"))
    }
    return subprocess.run(
        [sys.executable, "-m", "flamewire", "record", *arguments],
        cwd=cwd, env={**clean, **environment}, capture_output=True, text=True, timeout=DEADLINE_S,
    )  # fmt: skip


def spent_in(capture: Capture, name: str) -> float:
    """Return the seconds under a function."""
    return sum(value for names, value in capture.stacks if name in names) / 1e9


@pytest.mark.parametrize("name", ["out.pb.gz", "out.folded", "out.html"])
def test_a_file_is_profiled_into_each_format(tmp_path: Path, name: str) -> None:
    (tmp_path / "app.py").write_text(PROGRAM + "shop()\nprint(__name__)\nimport sys; sys.exit(3)\n")
    done = record("-o", name, "--", "app.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "__main__\n"), done.stderr
    assert f"in {name}; " in done.stderr
    content = (tmp_path / name).read_bytes()
    if name.endswith(".html"):
        assert b'"cart"' in content
        return
    capture = read(content)
    assert spent_in(capture, "cart") == pytest.approx(0.6, abs=EDGE_S)
    assert spent_in(capture, "search") == pytest.approx(0.2, abs=EDGE_S)
    roots = {names[:3] for names, _ in capture.stacks if "cart" in names}
    assert roots == {("<module>", "shop", "cart")}, "nothing of ours is in the stacks"


def test_a_module_is_profiled_for_its_first_part(tmp_path: Path) -> None:
    """The file is there before the end: the program works on until it sees it, and for a while after."""
    wait = """
import pathlib, time
end = time.monotonic() + 120
while not pathlib.Path("profile.pb.gz").exists():
    assert time.monotonic() < end
    burn(0.05)
burn(0.5)
print(time.process_time())
"""
    (tmp_path / "job.py").write_text(BURN + wait)
    done = record("--duration-s", "0.5", "-m", "job", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    recorded_s = read((tmp_path / "profile.pb.gz").read_bytes()).root.total / 1e9
    assert 0 < recorded_s < float(done.stdout) - 0.4


def test_children_are_not_recorded_and_leave_the_file_alone(tmp_path: Path) -> None:
    program = """
import os, subprocess, sys
burn(0.3)
ask = "import sys; assert not any('flamewire' in name for name in sys.modules)"
subprocess.run([sys.executable, "-c", ask], check=True)
child = os.fork()
if child == 0:
    burn(0.2)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    (tmp_path / "app.py").write_text(BURN + program)
    done = record("app.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("flamewire view profile.pb.gz shows it") == 1
    assert spent_in(read((tmp_path / "profile.pb.gz").read_bytes()), "burn") == pytest.approx(0.3, abs=EDGE_S)


def test_a_sigterm_leaves_the_file_and_ends_the_program(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        BURN + "import os, signal\nburn(0.3)\nos.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = record("app.py", cwd=tmp_path)
    assert done.returncode == -signal.SIGTERM, done.stderr
    assert spent_in(read((tmp_path / "profile.pb.gz").read_bytes()), "burn") == pytest.approx(0.3, abs=EDGE_S)


def test_an_error_of_the_program_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(BURN + "burn(0.2)\n1 / 0\n")
    done = record("app.py", cwd=tmp_path)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert (tmp_path / "profile.pb.gz").exists()


def test_yappi_measures_each_call(tmp_path: Path) -> None:
    pytest.importorskip("yappi")
    (tmp_path / "app.py").write_text(PROGRAM + "shop()\n")
    done = record("--engine", "yappi", "-o", "out.folded", "app.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    capture = read((tmp_path / "out.folded").read_bytes())
    # burn() spends the rest of its time in the clock that it asks, which is no Python function.
    assert spent_in(capture, "cart") == pytest.approx(0.6, rel=0.05)
    assert spent_in(capture, "search") == pytest.approx(0.2, rel=0.05)
    assert ("<module>", "shop", "search", "burn") in [names for names, _ in capture.stacks]


def test_an_engine_that_is_not_there_is_said_and_the_program_runs(tmp_path: Path) -> None:
    (tmp_path / "yappi.py").write_text("raise ImportError('broken')\n")
    (tmp_path / "app.py").write_text("print('runs')\n")
    done = record("--engine", "yappi", "app.py", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "runs\n")
    assert "nothing is recorded: yappi is not installed; pip install 'flamewire[yappi]'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "out.png", "app.py"], "give a name that ends in one of .pb.gz"),
        (["-o", "nowhere/out.html", "app.py"], "cannot be written; give another with -o"),
        ([], "record what?"),
    ],
)
def test_a_wrong_command_line_says_what_to_write(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        status = main(["record", *arguments])
    except SystemExit as error:
        status = int(str(error.code))
    assert status == 2
    assert words in capsys.readouterr().err
