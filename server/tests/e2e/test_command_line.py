"""`flamewire query` and `flamewire top` against a real server."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from server_process import ServerProcess, make_profile, make_push

from flamewire_server._proto.google.v1 import profile_pb2

Done = subprocess.CompletedProcess[bytes]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    running = ServerProcess(tmp_path_factory.mktemp("command-line") / "data")
    for region, value in (("eu", 3_000_000_000), ("us", 1_000_000_000)):
        profile = make_profile({"main;parse;read": value, "main;render": value // 2})
        assert running.push(make_push("shop", profile, region=region)).status == 200
    yield running
    assert running.stop() == 0


def flamewire(
    server: ServerProcess, *arguments: str, check: bool = True
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "flamewire", *arguments]
    url = f"http://{server.host}:{server.port}"
    done = subprocess.run([*command, "--server-url", url], capture_output=True, timeout=120)
    assert not check or done.returncode == 0, done.stderr
    return done


def words(done: Done) -> list[list[str]]:
    return [line.split() for line in done.stdout.decode().splitlines()]


def test_functions_are_shown_with_their_shares(server: ServerProcess) -> None:
    lines = words(flamewire(server, "query", '{service_name="shop"}', "--until", "now"))
    assert lines[0] == ['{service_name="shop"}:', "6.00", "s"]
    assert lines[2:] == [
        ["66.7%", "66.7%", "4.00", "s", "read"],
        ["33.3%", "33.3%", "2.00", "s", "render"],
        ["0.0%", "100.0%", "0.0", "ms", "main"],
        ["0.0%", "66.7%", "0.0", "ms", "parse"],
    ]


def test_a_tree_is_drawn(server: ServerProcess) -> None:
    text = flamewire(server, "query", '{region="eu"}', "--format", "tree").stdout.decode()
    assert "render" in text
    assert "parse > read" in text


def test_values_of_a_label_have_their_shares(server: ServerProcess) -> None:
    lines = words(flamewire(server, "query", "--by", "region"))
    assert lines[2:] == [["75.0%", "4.50", "s", "eu"], ["25.0%", "1.50", "s", "us"]]


def test_two_ranges_are_compared(server: ServerProcess) -> None:
    lines = words(
        flamewire(server, "query", "--base-from", "now-3h", "--base-until", "now-2h", "--limit", "1")
    )
    assert lines[0][1:3] == ["0.0", "ms"]
    assert lines[2][:3] == ["0.0%", "100.0%", "+100.0%"]


def test_files_are_written(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("files") / "profile.pb.gz"
    flamewire(server, "query", "--format", "pprof", "-o", str(path))
    profile = profile_pb2.Profile.FromString(gzip.decompress(path.read_bytes()))
    assert sum(sample.value[0] for sample in profile.sample) == 6_000_000_000
    folded = flamewire(server, "query", '{region="us"}', "--format", "folded").stdout.decode()
    assert folded.splitlines() == ["main;parse;read 1000000000", "main;render 500000000"]
    assert json.loads(flamewire(server, "query", "--format", "speedscope").stdout)["profiles"]


def test_top_shows_what_runs_now_as_often_as_wanted(server: ServerProcess) -> None:
    done = flamewire(server, "top", "--live", "--every-s", "0.05", "--count", "3", "--window-s", "3600")
    heads = [line for line in words(done) if "cores" in line]
    assert len(heads) == 3
    assert words(done)[2][-1] == "read"


def test_what_goes_wrong_is_said_in_one_line(server: ServerProcess) -> None:
    for arguments, text in (
        (("query", "{a=}"), "does not parse at character"),
        (("query", "--type", "sunshine"), "no type for 'sunshine'; it has: process_cpu:cpu:"),
        (("query", "--from", "yesterday"), "is no time"),
        (("top", "{"), "refuses (400)"),
    ):
        done = flamewire(server, *arguments, check=False)
        assert done.returncode == 1
        (line,) = done.stderr.decode().splitlines()
        assert text in line
    done = subprocess.run(
        [sys.executable, "-m", "flamewire", "query", "--server-url", "http://127.0.0.1:9"],
        capture_output=True,
        timeout=120,
    )
    assert (done.returncode, b"does not answer" in done.stderr) == (1, True)
