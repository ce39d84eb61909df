"""The demo of the README, from start to end, as a program of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[3] / "sdk-python" / "examples" / "demo.py"
DEADLINE_S = 180


@pytest.fixture(scope="module")
def shown() -> str:
    """What one run of the demo printed."""
    ended = subprocess.run(
        [sys.executable, str(DEMO), "--once", "--seconds", "6", "--port", "0"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout + ended.stderr
    return ended.stdout


def test_the_demo_shows_the_flame_graph_of_a_shop_that_served_every_request(shown: str) -> None:
    assert re.search(r"load: \d+ requests \(\d+ x 200\), 0 failures", shown)
    for function in ("Catalogue.best_sellers", "SearchIndex.rank", "pixel_row"):
        assert function in shown
    assert "\x1b[" not in shown, "colours are for terminals"


def test_the_demo_names_the_page_and_leaves_no_server_running(shown: str) -> None:
    page = re.search(r"^(http://127\.0\.0\.1:\d+)/\?query=process_cpu.*&from=\d+&until=\d+$", shown, re.M)
    assert page is not None, shown
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(page[1] + "/ready", timeout=10)


@pytest.mark.parametrize("route", ["/search", "/checkout", "/product/{id}/thumbnail"])
def test_the_demo_shows_the_routes_by_their_tag(route: str, shown: str) -> None:
    assert re.search(rf"^ +\d+\.\d%.* {re.escape(route)}$", shown, re.M), shown


def test_a_demo_that_is_told_to_end_ends_its_children() -> None:
    demo = subprocess.Popen(
        [sys.executable, str(DEMO), "--once", "--seconds", "120", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert demo.stdout is not None
        while "a load of" not in (line := demo.stdout.readline()):
            assert line, "the demo ended before its load began"
        children = _children(demo.pid)
        assert children
        demo.send_signal(signal.SIGTERM)
        demo.communicate(timeout=DEADLINE_S)
        assert demo.returncode == 143
        assert not [child for child in children if Path(f"/proc/{child}").exists()]
    finally:
        demo.kill()
        demo.communicate()


def _children(pid: int) -> list[int]:
    """Return the processes that a process started; Linux, as the server."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
