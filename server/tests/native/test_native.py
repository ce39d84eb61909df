"""The Rust core as Python sees it: pushes made with protobuf, blocks read back with its own reader."""

from __future__ import annotations

import gzip
import json
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from flamewire_server._native import (
    BlockError,
    DecodeError,
    EncodedBlock,
    Encoder,
    Limits,
    ProfileBatch,
    Reader,
    Selection,
    SeriesEntry,
    StepSelection,
    decode_push,
)
from flamewire_server._proto.google.v1 import profile_pb2
from flamewire_server._proto.push.v1 import push_pb2
from flamewire_server._proto.querier.v1 import querier_pb2

NOW_NS = 1_795_000_000_000_000_000
CPU = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"
ID = "0f0e0d0c-0b0a-4908-8706-050403020100"


def cpu_pprof(
    stacks: dict[str, int], *, time_ns: int = NOW_NS, labels: dict[str, str] | None = None
) -> profile_pb2.Profile:
    """Make a CPU profile from folded stacks (root first)."""
    strings = [""]

    def text(value: str) -> int:
        if value not in strings:
            strings.append(value)
        return strings.index(value)

    cpu = profile_pb2.ValueType(type=text("cpu"), unit=text("nanoseconds"))
    profile = profile_pb2.Profile(
        sample_type=[cpu], period_type=cpu, period=10_000_000, time_nanos=time_ns, duration_nanos=10**10
    )
    locations: dict[str, int] = {}
    for folded, value in stacks.items():
        for name in folded.split(";"):
            if name not in locations:
                number = locations[name] = len(locations) + 1
                profile.function.add(id=number, name=text(name), filename=text("app.py"), start_line=number)
                location = profile.location.add(id=number)
                location.line.add(function_id=number, line=number)
        sample = profile.sample.add(location_id=[locations[name] for name in reversed(folded.split(";"))])
        sample.value.append(value)
        for key, content in (labels or {}).items():
            sample.label.add(key=text(key), str=text(content))
    profile.string_table.extend(strings)
    return profile


def push_body(*profiles: profile_pb2.Profile, profile_id: str = ID, **labels: str) -> bytes:
    pairs = {"__name__": "process_cpu", "service_name": "shop"} | labels
    request = push_pb2.PushRequest()
    series = request.series.add()
    for name, value in pairs.items():
        series.labels.add(name=name, value=value)
    for profile in profiles:
        series.samples.add(raw_profile=profile.SerializeToString(), ID=profile_id)
    return request.SerializeToString()


def decode(body: bytes, *, compressed: bool = False, limits: Limits | None = None) -> ProfileBatch:
    return decode_push(
        body, encoding="gzip" if compressed else "identity", now_ns=NOW_NS, limits=limits or Limits()
    )


@dataclass
class Files:
    """Blocks written to a folder."""

    samples: list[str]
    symbols: list[str]
    series: list[SeriesEntry]

    @property
    def fingerprints(self) -> list[int]:
        return [entry.fingerprint for entry in self.series]


def store(folder: Path, *blocks: EncodedBlock) -> Files:
    files = Files([], [], [])
    for number, block in enumerate(blocks):
        path = folder / f"{number}.samples.parquet"
        path.write_bytes(block.samples)
        files.samples.append(str(path))
        if block.symbols is not None:
            path = folder / f"{number}.symbols.parquet"
            path.write_bytes(block.symbols)
            files.symbols.append(str(path))
        files.series.extend(block.series)
    return files


def whole(files: Files, start_ns: int = 0, end_ns: int = 2**62) -> Selection:
    return Selection(series=files.fingerprints, start_ns=start_ns, end_ns=end_ns)


def encode(*batches: ProfileBatch) -> list[EncodedBlock]:
    return Encoder().encode("anonymous", [(batch, range(batch.profile_count)) for batch in batches])


@pytest.fixture
def files(tmp_path: Path) -> Files:
    batch = decode(
        push_body(cpu_pprof({"main;work;hash": 70, "main;work": 20, "main;idle": 10}), region="eu")
    )
    return store(tmp_path, *encode(batch))


def test_a_batch_says_what_is_in_it() -> None:
    body = push_body(cpu_pprof({"main": 1, "main;work": 2, "gone": -1}))
    batch = decode(gzip.compress(body), compressed=True)
    assert (batch.profile_count, batch.sample_count, batch.dropped_samples) == (1, 2, 1)
    assert batch.decoded_bytes == len(body)
    [(series, profile_id, content, time_ns)] = batch.keys
    assert profile_id == uuid.UUID(ID).bytes
    assert time_ns == NOW_NS
    assert -(2**63) <= series < 2**63
    assert -(2**63) <= content < 2**63


def test_a_retry_has_the_same_key_and_other_content_another() -> None:
    first, retry = (decode(push_body(cpu_pprof({"main": 1}))).keys for _ in range(2))
    other = decode(push_body(cpu_pprof({"main": 2}))).keys
    elsewhere = decode(push_body(cpu_pprof({"main": 1}), region="eu")).keys
    assert first == retry
    assert other[0][:2] == first[0][:2]
    assert other[0][2] != first[0][2]
    assert elsewhere[0][0] != first[0][0]


def test_a_refused_push_says_code_and_message() -> None:
    with pytest.raises(DecodeError, match="__name__ is missing") as refused:
        decode(push_pb2.PushRequest(series=[push_pb2.RawProfileSeries()]).SerializeToString())
    assert refused.value.code == "invalid_argument"
    assert refused.value.message == str(refused.value)


def test_a_gigabyte_bomb_is_refused_in_bounded_memory() -> None:
    bomb = gzip.compress(bytes(64 << 20), compresslevel=9) * 16  # each member's trailer says 64 MiB only
    assert len(bomb) < 1_200_000
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _memory_kib("VmHWM")
    with pytest.raises(DecodeError, match="more than 67108864 bytes") as refused:
        decode(bomb, compressed=True)
    assert refused.value.code == "resource_exhausted"
    assert _memory_kib("VmHWM") - before < 70 << 10, "one limit's worth of memory, whatever the bomb holds"


def _memory_kib(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def test_limits_are_validated_and_readable() -> None:
    assert Limits(max_samples=5).max_samples == 5
    assert Limits().reject_older_than_ns == 24 * 3600 * 10**9
    for wrong in ({"max_samples": 0}, {"max_profile_bytes": -1}, {"reject_newer_than_ns": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Limits(**wrong)


def test_series_carry_all_labels(files: Files) -> None:
    [entry] = files.series
    assert (entry.service, entry.profile_type) == ("shop", CPU)
    assert entry.labels == [
        ("__name__", "process_cpu"),
        ("__period_type__", "cpu"),
        ("__period_unit__", "nanoseconds"),
        ("__profile_type__", CPU),
        ("__service_name__", "shop"),
        ("__type__", "cpu"),
        ("__unit__", "nanoseconds"),
        ("region", "eu"),
        ("service_name", "shop"),
    ]
    assert entry.time_min_ns == entry.time_max_ns == NOW_NS


def test_the_flame_graph_is_that_of_the_push(files: Files) -> None:
    tree = Reader().tree("anonymous", files.samples, files.symbols, whole(files, NOW_NS, NOW_NS))
    assert (tree.total, tree.missing_stacks) == (100, 0)
    assert tree.functions() == [
        ("hash", 70, 70, 1),
        ("work", 20, 90, 2),
        ("idle", 10, 10, 1),
        ("main", 0, 100, 3),
    ]
    assert json.loads(tree.flamegraph_json(0)) == {
        "names": ["total", "main", "idle", "work", "hash"],
        "levels": [
            {"values": ["0", "100", "0", "0"]},
            {"values": ["0", "100", "0", "1"]},
            {"values": ["0", "10", "10", "2", "0", "90", "20", "3"]},
            {"values": ["10", "70", "70", "4"]},
        ],
        "total": "100",
        "maxSelf": "70",
    }


def test_json_and_protobuf_say_the_same(tmp_path: Path) -> None:
    names = {'quote "q"': 3, "back\\slash": 4, "control\n\x01": 5, "päck;ünï": 6, "last": 7}
    files = store(tmp_path, *encode(decode(push_body(cpu_pprof(names)))))
    tree = Reader().tree("anonymous", files.samples, files.symbols, whole(files))
    for max_nodes in (-1, 0, 1, 2, 3, 100):
        graph = querier_pb2.FlameGraph.FromString(tree.flamegraph_proto(max_nodes))
        document = json.loads(tree.flamegraph_json(max_nodes))
        assert document["names"] == list(graph.names)
        assert [level["values"] for level in document["levels"]] == [
            [str(value) for value in level.values] for level in graph.levels
        ]
        assert (document["total"], document["maxSelf"]) == (str(graph.total), str(graph.max_self))
    assert set(names) - {"päck;ünï"} | {"päck", "ünï", "total"} == set(
        json.loads(tree.flamegraph_json(0))["names"]
    )


def test_an_empty_answer_is_one_root() -> None:
    tree = Reader().tree("anonymous", [], [], Selection(series=[], start_ns=0, end_ns=1))
    want = {"names": ["total"], "levels": [{"values": ["0", "0", "0", "0"]}], "total": "0", "maxSelf": "0"}
    assert json.loads(tree.flamegraph_json(8192)) == want
    assert tree.functions() == []


def test_spans_select_by_either_id(tmp_path: Path) -> None:
    span, child = "00000000000000ff", "ffffffffffffffff"
    labelled = cpu_pprof({"main;query": 5}, labels={"span_id": span, "child_span_id": child})
    other = cpu_pprof({"main": 3})
    files = store(tmp_path, *encode(decode(push_body(labelled, other))))
    reader = Reader()

    def total(span_ids: list[int] | None) -> int:
        return reader.tree(
            "anonymous",
            files.samples,
            files.symbols,
            Selection(series=files.fingerprints, start_ns=0, end_ns=2**62, span_ids=span_ids),
        ).total

    assert (total(None), total([255]), total([-1]), total([7]), total([])) == (8, 5, 5, 0, 0)


def test_totals_by_group_and_step(tmp_path: Path) -> None:
    second = 10**9
    profiles = [
        cpu_pprof({"main": value}, time_ns=NOW_NS + at * second) for at, value in ((0, 1), (15, 2), (16, 4))
    ]
    pushes = push_body(*profiles, profile_id=""), push_body(*profiles[:1], profile_id="", region="eu")
    blocks = encode(*map(decode, pushes))
    files = store(tmp_path, *blocks)
    regions = [int(("region", "eu") in entry.labels) for entry in files.series]

    def totals(groups: list[int], step_s: int, *, count: bool) -> list[list[tuple[int, int, int]]]:
        return Reader().totals(
            files.samples,
            StepSelection(
                series=files.fingerprints,
                groups=groups,
                start_ns=NOW_NS - step_s * second,
                step_ns=step_s * second,
                steps=3,
            ),
            count_profiles=count,
        )

    assert totals(regions, 15, count=False) == [[(1, 1, 0), (2, 2, 0), (3, 4, 0)], [(1, 1, 0)]]
    assert totals(regions, 15, count=True) == [[(1, 1, 1), (2, 2, 1), (3, 4, 1)], [(1, 1, 1)]]
    assert totals([0, 0], 20, count=True) == [[(1, 2, 2), (2, 6, 2)]]
    with pytest.raises(ValueError, match="groups"):
        StepSelection(series=[1], groups=[], start_ns=0, step_ns=1, steps=1)
    with pytest.raises(ValueError, match="step_ns"):
        StepSelection(series=[], groups=[], start_ns=0, step_ns=0, steps=1)


def test_only_the_chosen_profiles_are_encoded() -> None:
    batch = decode(push_body(cpu_pprof({"a": 1}), cpu_pprof({"b": 2})))
    encoder = Encoder()
    [block] = encoder.encode("anonymous", [(batch, [1])])
    assert block.rows == 1
    assert encoder.encode("anonymous", [(batch, [])]) == []
    with pytest.raises(IndexError):
        encoder.encode("anonymous", [(batch, [2])])


def test_a_tenants_stacks_are_known_after_commit_only() -> None:
    batch, encoder = decode(push_body(cpu_pprof({"main;work": 1}))), Encoder()
    [block] = encoder.encode("a", [(batch, [0])])
    assert encoder.encode("a", [(batch, [0])])[0].symbols is not None
    encoder.committed(block)
    encoder.committed(block)
    assert encoder.known_stacks == 2
    assert encoder.encode("a", [(batch, [0])])[0].symbols is None
    assert encoder.encode("b", [(batch, [0])])[0].symbols is not None


def test_a_day_is_a_block() -> None:
    day_ns = 86_400 * 10**9
    limits = Limits(reject_older_than_ns=3 * day_ns)
    body = push_body(cpu_pprof({"a": 1}), cpu_pprof({"a": 1}, time_ns=NOW_NS - day_ns))
    blocks = encode(decode(body, limits=limits))
    assert [(block.day, block.time_min_ns, block.time_max_ns) for block in blocks] == [
        ("2026-11-17", NOW_NS - day_ns, NOW_NS - day_ns),
        ("2026-11-18", NOW_NS, NOW_NS),
    ]


def test_gone_and_damaged_files_are_different_errors(files: Files, tmp_path: Path) -> None:
    def read(samples: list[str]) -> None:
        Reader().tree("anonymous", samples, files.symbols, whole(files))

    with pytest.raises(FileNotFoundError):
        read([str(tmp_path / "gone")])
    damaged = tmp_path / "damaged"
    damaged.write_bytes(Path(files.samples[0]).read_bytes()[:-20])
    with pytest.raises(BlockError, match="damaged"):
        read([str(damaged)])


def test_threads_may_share_everything(files: Files) -> None:
    reader, encoder = Reader(), Encoder()
    batch = decode(push_body(cpu_pprof({"main;work": 1})))
    totals: list[int] = []

    def work() -> None:
        for _ in range(20):
            encoder.committed(encoder.encode("anonymous", [(batch, [0])])[0])
            tree = reader.tree("anonymous", files.samples, files.symbols, whole(files))
            totals.append(tree.total)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert totals == [100] * 80
