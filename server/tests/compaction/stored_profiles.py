"""A store that tests write to and compact, and a model of what it should answer: a list of samples."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flamewire_server._native import Encoder, Limits, Reader, Selection, StepSelection, decode_push
from flamewire_server._proto.google.v1 import profile_pb2
from flamewire_server._proto.push.v1 import push_pb2
from flamewire_server.compaction.compactor import Compactor
from flamewire_server.ingest.block_writer import BlockWriter, Push, Stored
from flamewire_server.metrics import Metrics
from flamewire_server.model.time_range import TimeRange
from flamewire_server.storage.catalog import Catalog
from flamewire_server.storage.compaction_queue import CompactionQueue
from flamewire_server.storage.local_store import LocalStore

TENANT = "anonymous"
START_S = 1_795_440_000  # 2026-11-23T13:20:00Z
EVER = TimeRange.from_ms(0, 253_402_300_799_000)


@dataclass(frozen=True)
class Sample:
    """What the model knows of one sample; span is 0 without one."""

    service: str
    pod: str
    time_ns: int
    span: int
    stack: tuple[str, ...]
    value: int


@dataclass(frozen=True)
class Question:
    """Samples of a service ("" for all) in a range, of some spans or of all."""

    service: str
    start_ns: int
    end_ns: int
    spans: tuple[int, ...] | None = None

    def takes(self, sample: Sample) -> bool:
        return (
            self.service in ("", sample.service)
            and self.start_ns <= sample.time_ns <= self.end_ns
            and (self.spans is None or sample.span in self.spans)
        )


class StoredProfiles:
    """The real parts over one folder, with a clock that stands still until it is moved."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_s = float(START_S)
        self.store = LocalStore(folder)
        self.catalog = Catalog(folder / "catalog.sqlite")
        self.swept = self.store.sweep(self.catalog.file_names())
        self.queue = CompactionQueue(self.catalog.database)
        self.metrics = Metrics()
        self.compactor = self.make_compactor()
        self.reader = Reader()
        self.writer = self.make_writer()

    def make_writer(self) -> BlockWriter:
        """Make the writer of a new process, which does not know what symbols are durable."""
        return BlockWriter(
            store=self.store,
            catalog=self.catalog,
            encoder=Encoder(),
            limits=Limits(),
            clock_ns=lambda: int(self.now_s * 1e9),
        )

    def make_compactor(self) -> Compactor:
        return Compactor(store=self.store, queue=self.queue, metrics=self.metrics, clock_s=lambda: self.now_s)

    def close(self) -> None:
        self.catalog.close()
        self.store.close()

    def push(self, *profiles: Sequence[Sample]) -> None:
        pushes = [Push(TENANT, encode(samples), "identity", decode_push) for samples in profiles]
        for stored in self.writer.commit(pushes):
            assert isinstance(stored, Stored)
            assert stored.profiles == 1

    def compact_due(self) -> int:
        """Merge until nothing is due; returns how many steps it took."""
        steps = 0
        while self.compactor.run_once():
            steps += 1
            assert steps < 100
        return steps

    def levels(self) -> list[int]:
        return [block.level for day in self.queue.days() for block in self.queue.blocks(*day)]

    def files_on_disk(self) -> set[str]:
        root = self.folder / "blocks"
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}

    def answer(
        self, question: Question, *, may_miss: bool = False
    ) -> tuple[int, dict[str, tuple[int, int]], bytes]:
        """Give the total, each function's (self, total), and the flame graph.

        may_miss: symbols may be missing, for their file is damaged.
        """
        series = [one for one in self.catalog.series(TENANT, EVER) if question.service in ("", one.service)]
        files = self.catalog.files(TENANT, TimeRange(question.start_ns, question.end_ns), series)
        tree = self.reader.tree(
            TENANT,
            [self.store.path_of(name) for name in files.samples],
            [self.store.path_of(name) for name in files.symbols],
            Selection(
                series=[one.fingerprint for one in series],
                start_ns=question.start_ns,
                end_ns=question.end_ns,
                span_ids=question.spans,
            ),
        )
        assert may_miss or tree.missing_stacks == 0
        functions = {name: (own, total) for name, own, total, _ in tree.functions()}
        return tree.total, functions, tree.flamegraph_json(0)

    def steps(self, question: Question, step_ns: int) -> list[tuple[int, int]]:
        """Give the sum of each step after start_ns that has samples."""
        series = [one for one in self.catalog.series(TENANT, EVER) if question.service in ("", one.service)]
        files = self.catalog.files(TENANT, TimeRange(question.start_ns + 1, question.end_ns), series)
        (points,) = self.reader.totals(
            [self.store.path_of(name) for name in files.totals],
            StepSelection(
                series=[one.fingerprint for one in series],
                groups=[0] * len(series),
                start_ns=question.start_ns,
                step_ns=step_ns,
                steps=(question.end_ns - question.start_ns) // step_ns,
            ),
        ) or ([],)
        return [(point[0], point[1]) for point in points]


def encode(samples: Sequence[Sample]) -> bytes:
    """Encode samples of one pod and time as a push of one profile."""
    strings: dict[str, int] = {"": 0}

    def string(text: str) -> int:
        return strings.setdefault(text, len(strings))

    profile = profile_pb2.Profile(time_nanos=samples[0].time_ns, period=1)
    profile.sample_type.add(type=string("cpu"), unit=string("nanoseconds"))
    profile.period_type.type, profile.period_type.unit = string("cpu"), string("nanoseconds")
    functions: dict[str, int] = {}
    for one in samples:
        sample = profile.sample.add(value=[one.value])
        for name in one.stack:
            if name not in functions:
                number = functions[name] = len(functions) + 1
                profile.function.add(id=number, name=string(name), filename=string(f"{name}.py"))
                profile.location.add(id=number).line.add(function_id=number, line=number)
            sample.location_id.append(functions[name])
        if one.span:
            sample.label.add(key=string("span_id"), str=string(f"{one.span:016x}"))
            sample.label.add(key=string("span_name"), str=string(f"GET /{one.span}"))
    profile.string_table.extend(strings)
    request = push_pb2.PushRequest()
    series = request.series.add()
    for label in (("__name__", "process_cpu"), ("service_name", samples[0].service), ("pod", samples[0].pod)):
        series.labels.add(name=label[0], value=label[1])
    series.samples.add(raw_profile=profile.SerializeToString(), ID=str(uuid.uuid4()))
    return request.SerializeToString()


def draw_profile(draw: random.Random, time_ns: int | None = None) -> list[Sample]:
    """Draw a profile of one of a few services; leaf first."""
    service = draw.choice(["cart", "search", "user"])
    when = time_ns if time_ns is not None else START_S * 10**9 - draw.randrange(4 * 3600) * 10**9
    pod = draw.choice(["a", "b"])
    return [
        Sample(
            service,
            pod,
            when,
            draw.choice([0, 0, 7, (1 << 62) + 5]),
            tuple(f"{service}_{draw.randrange(6)}_{depth}" for depth in range(draw.randrange(1, 6), 0, -1)),
            draw.randrange(1, 1 << 40),
        )
        for _ in range(draw.randrange(1, 30))
    ]


def expected(samples: Iterable[Sample], question: Question) -> tuple[int, dict[str, tuple[int, int]]]:
    """Answer from the list: the total, and each function's (self, total)."""
    total, functions = 0, {}
    for sample in samples:
        if not question.takes(sample):
            continue
        total += sample.value
        for name in set(sample.stack):
            own, below = functions.get(name, (0, 0))
            functions[name] = (own + sample.value * (name == sample.stack[0]), below + sample.value)
    return total, functions


def expected_steps(samples: Iterable[Sample], question: Question, step_ns: int) -> list[tuple[int, int]]:
    sums: dict[int, int] = {}
    for sample in samples:
        if question.takes(sample) and sample.time_ns > question.start_ns:
            step = -(-(sample.time_ns - question.start_ns) // step_ns)
            sums[step] = sums.get(step, 0) + sample.value
    return sorted(sums.items())
