"""``flamewire view``: a file or an address, as text or as a page."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flamewire.cli.main import main

FOLDED = b"main;search 75\nmain;cart 25\n"


@pytest.fixture
def address() -> Iterator[str]:
    """Serves the stacks at /profile, and nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/profile" else 404)
            self.end_headers()
            self.wfile.write(FOLDED if self.path == "/profile" else b"")

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(30)


def test_a_file_is_drawn_with_the_functions_that_cost_most(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stacks.folded").write_bytes(FOLDED)
    assert main(["view", str(tmp_path / "stacks.folded")]) == 0
    lines = [" ".join(line.replace("█", "").split()) for line in capsys.readouterr().out.splitlines()]
    assert "75.0% ├ search" in lines
    assert lines.index("Where it is spent") < lines.index("75.0% search")


def test_the_standard_input_will_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(FOLDED)))
    assert main(["view", "-"]) == 0
    assert "search" in capsys.readouterr().out


def test_an_address_is_fetched(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", f"{address}/profile"]) == 0
    assert "cart" in capsys.readouterr().out
    assert main(["view", f"{address}/nothing"]) == 1
    assert "the answer is 404" in capsys.readouterr().err


def test_a_page_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "stacks.folded").write_bytes(FOLDED)
    out = tmp_path / "graph.html"
    assert main(["view", str(tmp_path / "stacks.folded"), "--html", str(out)]) == 0
    assert "search" in out.read_text()
    assert main(["view", str(tmp_path / "stacks.folded"), "--html", str(tmp_path / "no" / "x.html")]) == 1
    assert "No such file or directory" in capsys.readouterr().err


def test_a_wrong_file_is_refused_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for name, words in [("picture.png", "neither a pprof file nor folded"), ("absent", "No such file")]:
        assert main(["view", str(tmp_path / name)]) == 1
        assert words in capsys.readouterr().err
