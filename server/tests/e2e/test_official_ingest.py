"""The official Go and Node SDKs, unmodified, over /ingest: every total is what they sent."""

from __future__ import annotations

import email.parser
import email.policy
import gzip
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from recording_proxy import Passed, recording_proxy
from server_process import ServerProcess, now_ms

from flamewire_server._proto.google.v1 import profile_pb2

HERE = Path(__file__).parent
NODE_PACKAGE = "@pyroscope/nodejs@0.6.4"
CI = os.environ.get("CI", "").lower() in ("1", "true")
DEADLINE_S = 300


def need(*tools: str) -> None:
    """Skip the test for want of a tool; with CI=true that is a failure."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing and CI:
        pytest.fail(f"{' and '.join(missing)} not found (a failure, because CI=true)")
    if missing:
        pytest.skip(f"{' and '.join(missing)} not found")


def run(command: list[str], *, cwd: Path, **environ: str) -> None:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environ}, capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def go_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("go")
    program = tmp_path_factory.mktemp("go") / "program"
    run(["go", "build", "-o", str(program), "."], cwd=HERE / "pyroscope_go", GOFLAGS="-mod=readonly")
    return program


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("node", "npm")
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text("{}")
    run(
        ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error", NODE_PACKAGE],
        cwd=folder,
    )
    return folder / "node_modules"


def profiles_in(request: Passed) -> Iterator[tuple[profile_pb2.Profile, dict[str, str]]]:
    """Read a request with the standard library: its pprof, and its sample types' display names."""
    body, shown = request.body, {}
    if request.headers["content-type"].startswith("multipart/"):
        head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
        parts = {part.get_param("name", header="content-disposition"): part for part in message.iter_parts()}
        body = parts["profile"].get_payload(decode=True)
        if "sample_type_config" in parts:
            config = json.loads(parts["sample_type_config"].get_payload(decode=True))
            shown = {name: one.get("display-name", "") for name, one in config.items()}
    yield profile_pb2.Profile.FromString(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body), shown


def totals_sent(requests: list[Passed]) -> Counter[str]:
    """Sum what the requests hold, by profile type."""
    totals: Counter[str] = Counter()
    for request in requests:
        for profile, shown in profiles_in(request):
            text = profile.string_table
            names = [text[kind.type] for kind in profile.sample_type]
            period = f"{text[profile.period_type.type]}:{text[profile.period_type.unit]}"
            for index, kind in enumerate(profile.sample_type):
                family = family_of(names, shown)
                profile_type = f"{family}:{text[kind.type]}:{text[kind.unit]}:{period}"
                totals[profile_type] += sum(sample.value[index] for sample in profile.sample)
    return +totals


def family_of(names: list[str], shown: dict[str, str]) -> str:
    if "wall" in names:
        return "wall"
    if "cpu" in names:
        return "process_cpu"
    if "contentions" in names:
        return shown["contentions"].removesuffix("_count")
    return "goroutines" if names == ["goroutine"] else "memory"


def totals_stored(server: ServerProcess, service: str) -> Counter[str]:
    """Read the server's totals, by profile type."""
    # pyroscope-go dates its first heap profile before the program began.
    span = {"start": now_ms() - 3_600_000, "end": now_ms() + 60_000}
    selector = f'{{service_name="{service}", region="eu"}}'
    types = server.query("LabelValues", name="__profile_type__", matchers=[selector], **span).get("names", [])
    totals: Counter[str] = Counter()
    for profile_type in types:
        reply = server.query(
            "SelectMergeStacktraces", profileTypeID=profile_type, labelSelector=selector, **span
        )
        totals[profile_type] = int(reply["flamegraph"].get("total", 0))
    return +totals


def test_pyroscope_go_totals_are_what_it_sent(server: ServerProcess, go_program: Path) -> None:
    with recording_proxy(server) as recording:
        run([str(go_program), recording.url, "official-go"], cwd=HERE)
    assert {request.status for request in recording.requests} == {200}
    stored = totals_stored(server, "official-go")
    assert stored == totals_sent(recording.requests)
    assert stored["process_cpu:cpu:nanoseconds:cpu:nanoseconds"] > 10**9
    assert {profile_type.partition(":")[0] for profile_type in stored} >= {
        "process_cpu", "memory", "mutex", "block", "goroutines",
    }  # fmt: skip


def test_pyroscope_node_totals_are_what_it_sent(server: ServerProcess, node_modules: Path) -> None:
    command = ["node", str(HERE / "pyroscope_node_program.js")]
    with recording_proxy(server) as recording:
        run([*command, recording.url, "official-node", str(node_modules)], cwd=HERE)
    assert {request.status for request in recording.requests} == {200}
    stored = totals_stored(server, "official-node")
    assert stored == totals_sent(recording.requests)
    assert stored["wall:cpu:nanoseconds:wall:nanoseconds"] > 10**9
    assert any(profile_type.startswith("memory:inuse_space:bytes:") for profile_type in stored)
