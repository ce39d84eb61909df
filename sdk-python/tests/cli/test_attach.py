"""``flamewire attach``: a process is profiled from outside, and knows nothing of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sdk_support.programs import BURN
from sdk_support.push_server import PushServer

DEADLINE_S = 180.0
PY_SPY = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")

needs_py_spy = pytest.mark.skipif(PY_SPY is None, reason="py-spy is not installed here")


@contextmanager
def target(source: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program that begins when it is told to, on its standard input."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"{BURN}\nprint('there', flush=True)\n{source}"],
        env={**os.environ, "OTEL_SERVICE_NAME": "target"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    try:
        assert process.stdout.readline() == "there\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def attach(pid: int, *arguments: str) -> subprocess.Popen[str]:
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("FLAMEWIRE_", "OTEL_"))
    }
    return subprocess.Popen(
        [sys.executable, "-m", "flamewire", "attach", str(pid), *arguments],
        env=clean, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@needs_py_spy
def test_a_process_is_profiled_until_it_ends(push_server: PushServer) -> None:
    source = "import sys\nburn(1)\nsys.stdin.readline()\nburn(3)\nprint(time.process_time())\n"
    with target(source) as process:
        attached = attach(process.pid, "--server-url", push_server.url, "--upload-interval-s", "1")
        assert attached.stderr
        assert "as 'target' to" in attached.stderr.readline()
        out, _ = process.communicate("go\n", timeout=DEADLINE_S)
        _, err = attached.communicate(timeout=DEADLINE_S)
    assert attached.returncode == 0, err
    pushes = push_server.pushes
    assert {push.labels["service_name"] for push in pushes} == {"target"}
    burnt_ns = sum(push.profile.cpu_of("burn") for push in pushes)
    # The clock of a process is gone with it, so of the last window each sample counts as its period.
    assert 1e9 < burnt_ns < 1.5 * float(out) * 1e9
    assert burnt_ns > 0.7 * sum(push.profile.total for push in pushes)
    assert f"{len(pushes)} profiles pushed" in err


@needs_py_spy
def test_the_duration_ends_it_and_not_the_process(push_server: PushServer) -> None:
    with target("while True: burn(1)\n") as process:
        attached = attach(
            process.pid, "--server-url", push_server.url, "--duration-s", "3", "--service-name", "named"
        )
        _, err = attached.communicate(timeout=DEADLINE_S)
        assert attached.returncode == 0, err
        assert process.poll() is None
    assert {push.labels["service_name"] for push in push_server.pushes} == {"named"}


@needs_py_spy
def test_what_is_no_python_process_is_said() -> None:
    for command in (["sleep", "60"], None):
        process = subprocess.Popen(command) if command else None
        try:
            attached = attach(process.pid if process else 2**22 - 7)
            _, err = attached.communicate(timeout=DEADLINE_S)
        finally:
            if process:
                process.kill()
                process.wait(DEADLINE_S)
        assert attached.returncode == 1
        assert ("py-spy cannot read" if process else "there is no process") in err


def test_without_py_spy_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from flamewire.cli.main import main
    from flamewire.engines import py_spy

    monkeypatch.setattr(py_spy.shutil, "which", lambda *_, **__: None)
    assert main(["attach", str(os.getpid())]) == 1
    assert "pip install 'flamewire[py-spy]'" in capsys.readouterr().err
