"""A pprof that was pushed comes back with all that it said of its frames."""

from __future__ import annotations

from pathlib import Path

from flamewire_server._native import Encoder, Limits, Reader, Selection, decode_push
from flamewire_server._proto.google.v1 import profile_pb2
from flamewire_server._proto.push.v1 import push_pb2

NOW_NS = 1_795_000_000_000_000_000


def pushed() -> profile_pb2.Profile:
    """Make a profile with an inlined call, two lines of one function, and an address without a function."""
    texts = ["", "cpu", "nanoseconds", "main", "outer", "inner", "main.go", "_inner", "/bin/app", "b1d"]
    profile = profile_pb2.Profile(string_table=texts, time_nanos=NOW_NS)
    profile.sample_type.add(type=1, unit=2)
    profile.period_type.type, profile.period_type.unit = 1, 2
    profile.mapping.add(id=1, memory_start=0x1000, memory_limit=0x9000, filename=8, build_id=9)
    for number, (name, system, first) in enumerate([(3, 3, 10), (4, 4, 20), (5, 7, 30)], 1):
        profile.function.add(id=number, name=name, system_name=system, filename=6, start_line=first)
    profile.location.add(id=1).line.add(function_id=1, line=11)
    inlined = profile.location.add(id=2)
    inlined.line.add(function_id=3, line=31)
    inlined.line.add(function_id=2, line=21)
    profile.location.add(id=3).line.add(function_id=1, line=12)
    profile.location.add(id=4, mapping_id=1, address=0x1234)
    profile.sample.add(location_id=[2, 1], value=[5])
    profile.sample.add(location_id=[1], value=[3])
    profile.sample.add(location_id=[3], value=[2])
    profile.sample.add(location_id=[4, 1], value=[1])
    return profile


def read_back(folder: Path, **shape: object) -> set[tuple[tuple[tuple[object, ...], ...], int]]:
    request = push_pb2.PushRequest()
    series = request.series.add()
    for name, value in (("__name__", "process_cpu"), ("service_name", "shop")):
        series.labels.add(name=name, value=value)
    series.samples.add(raw_profile=pushed().SerializeToString())
    batch = decode_push(request.SerializeToString(), encoding="identity", now_ns=NOW_NS, limits=Limits())
    (block,) = Encoder().encode("t", [(batch, [0])])
    assert block.symbols
    (folder / "samples").write_bytes(block.samples)
    (folder / "symbols").write_bytes(block.symbols)
    bytes_ = Reader().pprof(
        "t",
        [str(folder / "samples")],
        [str(folder / "symbols")],
        Selection(series=[one.fingerprint for one in block.series], start_ns=NOW_NS, end_ns=NOW_NS),
        sample_type=("cpu", "nanoseconds"),
        period_type=("cpu", "nanoseconds"),
        **shape,  # type: ignore[arg-type]
    )
    profile = profile_pb2.Profile.FromString(bytes_)
    texts = profile.string_table
    functions = {one.id: one for one in profile.function}
    mappings = {one.id: (texts[one.filename], texts[one.build_id]) for one in profile.mapping}
    locations = {}
    for one in profile.location:
        lines = tuple(
            (
                texts[functions[line.function_id].name],
                texts[functions[line.function_id].system_name],
                line.line,
            )
            for line in one.line
        )
        locations[one.id] = lines or (*mappings[one.mapping_id], one.address)
    assert {one.start_line for one in profile.function} == {10, 20, 30}
    return {(tuple(locations[number] for number in one.location_id), one.value[0]) for one in profile.sample}


MAIN = (("main", "main", 11),)
INLINED = (("inner", "_inner", 31), ("outer", "outer", 21))
UNNAMED = ("/bin/app", "b1d", 0x234)


def test_lines_inlined_frames_and_mappings_come_back(tmp_path: Path) -> None:
    assert read_back(tmp_path) == {
        ((INLINED, MAIN), 5),
        ((MAIN,), 3),
        (((("main", "main", 12),),), 2),
        ((UNNAMED, MAIN), 1),
    }


def test_a_pprof_for_the_compiler_is_cut_and_knows_no_line_of_the_leaf(tmp_path: Path) -> None:
    assert read_back(tmp_path, keep_locations=1, aggregate_callees=True) == {
        (((("inner", "_inner", 0), ("outer", "outer", 21)),), 5),
        (((("main", "main", 0),),), 5),
        ((("/bin/app", "b1d", 0),), 1),
    }
