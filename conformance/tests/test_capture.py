"""A recording of any client can be judged afterwards, by what needs no truth of its program."""

from __future__ import annotations

import http.client
import subprocess
import sys
from pathlib import Path

import pytest

from flamewire_conformance.cli import main
from flamewire_conformance.golden.files import vectors

DEADLINE_S = 60


def record(folder: Path, root: Path, *names: str) -> None:
    command = [sys.executable, "-m", "flamewire_conformance", "--suite", str(root), "record", "--port", "0"]
    options = ["--to", str(folder), "--requests", str(len(names))]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().split("127.0.0.1:")[1].split()[0])
        for name in names:
            vector = vectors()[name]
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
            connection.request("POST", vector.path, vector.body, dict(vector.headers))
            assert connection.getresponse().status == 200
            connection.close()
        assert process.wait(DEADLINE_S) == 0


def test_sound_recording_passes(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "it", root, "push/plain", "push/two-types")
    assert main(["--suite", str(root), "assess", str(tmp_path / "it")]) == 0
    assert '"profiles": 2' in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", ["push/string-index", "push/label-name-twice", "push/same-stack-twice", "push/cut-off"]
)
def test_unsound_recording_fails(tmp_path: Path, root: Path, name: str) -> None:
    record(tmp_path / "it", root, name)
    assert main(["--suite", str(root), "assess", str(tmp_path / "it")]) == 1


def test_empty_recording_is_an_error(tmp_path: Path, root: Path) -> None:
    assert main(["--suite", str(root), "assess", str(tmp_path)]) == 2
