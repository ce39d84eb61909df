"""`flamewire doctor` against the real server: pushes, and reads back what it pushed."""

from __future__ import annotations

import subprocess
import sys

from server_process import ServerProcess


def test_the_doctor_finds_its_profile_on_the_server(server: ServerProcess) -> None:
    url = f"http://{server.host}:{server.port}"
    command = [sys.executable, "-m", "flamewire", "doctor", "--server-url", url, "--service-name", "shop"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = {line[6:17].strip(): line.split()[0] for line in done.stdout.splitlines()}
    assert verdicts.pop("limits") in ("ok", "note")  # the machine's own
    assert verdicts == {
        "interpreter": "ok",
        "engine": "ok",
        "spans": "ok",
        "server": "ok",
        "push": "ok",
        "read back": "ok",
    }
