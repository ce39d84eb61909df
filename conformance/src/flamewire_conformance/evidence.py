"""What a run left behind, as the checks see it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from flamewire_conformance.errors import WireError
from flamewire_conformance.pprof import Frame, Sample
from flamewire_conformance.testee import Story
from flamewire_conformance.wire import Request, Upload, read_uploads

__all__ = ["Evidence", "gather"]

_DEFAULT_PERIOD_NS = 10_000_000


@dataclass(frozen=True, slots=True)
class Evidence:
    """Story, requests and decoded profiles of one run.

    Attributes:
        attempts: the profiles of every request that could be read, stored or not.
        delivered: those that a server would now have; of a repeated profile ID the first only.
        unreadable: what was wrong with the requests that could not be read.
        sink_port: of 127.0.0.1, where the requests were to go.
        frame: how the target names a function of the workload.
    """

    story: Story
    requests: tuple[Request, ...]
    attempts: tuple[Upload, ...]
    delivered: tuple[Upload, ...]
    unreadable: tuple[str, ...]
    sink_port: int
    frame: str

    def function(self, name: str) -> str:
        """Return the name that a function of the workload has in this target's profiles."""
        return self.frame.replace("{fn}", name)

    def cpu_samples(self) -> Iterator[tuple[Sample, int]]:
        """Yield (sample, CPU nanoseconds) of all profiles that were delivered."""
        for upload in self.delivered:
            at = upload.profile.value_index("cpu")
            if at is not None:
                yield from ((sample, sample.values[at]) for sample in upload.profile.samples)

    def cpu_of(self, name: str) -> int:
        """Return the CPU nanoseconds of all stacks that hold a function of the workload."""
        function = self.function(name)
        return sum(value for sample, value in self.cpu_samples() if sample.has(function))

    @property
    def period_ns(self) -> int:
        """CPU time between two samples, as the profiles state it."""
        return max((upload.profile.period for upload in self.delivered), default=0) or _DEFAULT_PERIOD_NS

    def true_cpu_ns(self) -> Counter[str]:
        """Return function -> CPU nanoseconds that it really used."""
        total: Counter[str] = Counter()
        for step in self.story.steps:
            total[step.function] += step.cpu_ns
        return total


def _with_plain_names(upload: Upload, frame: str) -> Upload:
    """Cut names of functions down to those of the workload, where a target puts more around them."""
    if "*" not in frame:
        return upload
    pattern = re.escape(frame).replace(r"\*", ".*").replace(r"\{fn\}", r"(work_\w+)")

    def plain(one: Frame) -> Frame:
        match = re.fullmatch(pattern, one.function)
        return replace(one, function=match[1]) if match else one

    samples = tuple(
        replace(sample, stack=tuple(map(plain, sample.stack))) for sample in upload.profile.samples
    )
    return replace(upload, profile=replace(upload.profile, samples=samples))


def gather(story: Story, requests: list[Request], sink_port: int, frame: str) -> Evidence:
    """Decode the requests of a run."""
    attempts: list[Upload] = []
    unreadable: list[str] = []
    for number, request in enumerate(requests):
        try:
            attempts += read_uploads(request)
        except WireError as error:
            unreadable.append(f"request {number}, {request.method} {request.path.partition('?')[0]}: {error}")
    attempts = [_with_plain_names(upload, frame) for upload in attempts]
    delivered: list[Upload] = []
    known: set[str] = set()
    for upload in attempts:
        if upload.request.stored and upload.profile_id not in known:
            delivered.append(upload)
            known |= {upload.profile_id} - {""}
    return Evidence(
        story,
        tuple(requests),
        tuple(attempts),
        tuple(delivered),
        tuple(unreadable),
        sink_port,
        "{fn}" if "*" in frame else frame,
    )
