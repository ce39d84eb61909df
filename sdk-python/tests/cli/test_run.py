"""``flamewire run``: programs are profiled as they are, and notice nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sdk_support.programs import BURN, PATIENT
from sdk_support.push_server import PushServer

from flamewire.cli.main import main


def flamewire(
    *arguments: str, cwd: Path, timeout_s: float = 600, **environment: str
) -> subprocess.CompletedProcess[str]:
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FLAMEWIRE_", "PYROSCOPE_", "OTEL_"))
    }
    return subprocess.run(
        [sys.executable, "-m", "flamewire", *arguments],
        cwd=cwd, env={**clean, **PATIENT, **environment}, capture_output=True, text=True, timeout=timeout_s,
    )  # fmt: skip


def cpu_of(server: PushServer, service: str) -> int:
    pushes = [push for push in server.pushes if push.labels["service_name"] == service]
    return sum(push.profile.cpu_of("burn") for push in pushes)


def test_a_file_runs_with_its_arguments_and_its_exit_status(push_server: PushServer, tmp_path: Path) -> None:
    program = "import sys, flamewire\nburn(0.3)\nprint(sys.argv, __name__)\nsys.exit(3)\n"
    (tmp_path / "app.py").write_text(BURN + program)
    done = flamewire(
        "run", "--server-url", push_server.url, "--service-name=shop", "app.py", "--own", "-x", cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (3, "['app.py', '--own', '-x'] __main__\n"), done.stderr
    assert cpu_of(push_server, "shop") > 0.2e9


def test_a_module_runs_and_the_environment_counts(push_server: PushServer, tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(BURN + "import sys\nburn(0.3)\nprint(sys.argv[1:])\n")
    done = flamewire(
        "run", "-m", "job", "--flag",
        cwd=tmp_path, FLAMEWIRE_SERVER_URL=push_server.url, OTEL_SERVICE_NAME="job",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "['--flag']\n"), done.stderr
    assert cpu_of(push_server, "job") > 0.2e9


def test_a_command_and_the_python_processes_that_it_starts_are_profiled(
    push_server: PushServer, tmp_path: Path
) -> None:
    (tmp_path / "worker.py").write_text(BURN + "burn(0.3)\n")
    done = flamewire(
        "run", "--server-url", push_server.url, "--service-name", "workers",
        "sh", "-c", f"{sys.executable} worker.py && {sys.executable} worker.py",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert cpu_of(push_server, "workers") > 0.5e9


def test_the_real_sitecustomize_still_runs(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.real = 'here'\n")
    (tmp_path / "app.py").write_text("import sitecustomize\nprint(real, sitecustomize.__file__)\n")
    done = flamewire(
        "run", "app.py",
        cwd=tmp_path, PYTHONPATH=str(tmp_path), FLAMEWIRE_SERVER_URL="http://127.0.0.1:9",
    )  # fmt: skip
    assert done.stdout == f"here {tmp_path / 'sitecustomize.py'}\n", done.stderr


def test_switched_off_it_only_runs_the_program(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import flamewire\nprint(flamewire.status().state)\n")
    done = flamewire("run", "--enabled", "false", "app.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "disabled\n")


def test_a_program_that_cannot_be_profiled_runs_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("print('runs')\n")
    (tmp_path / "requests.py").write_text("raise ImportError('broken install')\n")
    done = flamewire("run", "app.py", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "runs\n"), done.stderr
    assert "this process is not profiled: ImportError('broken install')" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--sample-rate-hz", "0", "app.py"], "--sample-rate-hz='0'"),
        (["run", "--server-url", "nowhere", "app.py"], "http://localhost:4040"),
        (["run"], "run what?"),
    ],
)
def test_a_wrong_command_line_says_what_to_write(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(arguments)
    except SystemExit as error:
        status = int(str(error.code))
    assert status == 2
    assert words in capsys.readouterr().err


def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = flamewire("run", "no-such-command-here", cwd=tmp_path)
    assert done.returncode == 127
    assert "no-such-command-here" in done.stderr
