"""What a session says about itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flamewire.config import Options
    from flamewire.engines.base import WallStats
    from flamewire.export.outcomes import LastPush

__all__ = ["Status"]


@dataclass(frozen=True, slots=True)
class Status:
    """A snapshot of one session; ``str()`` of it is meant to be read.

    Attributes:
        state: "running", "paused", "stopped", "disabled" (option ``enabled``), "not chosen" (option
            ``fleet_ratio``) or "not started".
        engine: name of the engine, "" where none runs.
        engine_reason: why it is this one.
        missing: what the engine cannot do, cell -> why.
        options: the options in force; None where nothing was started.
        option_sources: option name -> "argument", "default" or the environment variable.
        problems: environment values that were not used and other things to put right.
        coverage: which ends of the process (exit, SIGTERM, fork) are looked after.
        windows: windows handed over to be pushed.
        pushed_profiles: profiles that the server acknowledged.
        dropped_profiles: profiles that were lost, by reason.
        retries: attempts that were put off to be made again.
        queued_profiles: profiles that wait for the server; with a spool, those of all its processes.
        queued_bytes: their size, compressed.
        server_is_dead: whether attempt after attempt has failed, so that nobody waits for the next one.
        last_push: how the latest attempt ended; None before the first.
        samples_due: samples that the rate asked for.
        samples_gathered: samples taken.
        dropped_samples: the rest, by reason.
        own_cpu_s: CPU that sampling cost.
        threads: threads being sampled.
        without_span: samples that lost the id of their child span, or all of their span, because the window
            had too many; by label.
        wall: the sampler of wall-clock profiles; None where there is none.
    """

    state: str = "not started"
    engine: str = ""
    engine_reason: str = ""
    missing: Mapping[str, str] | None = None
    options: Options | None = None
    option_sources: Mapping[str, str] | None = None
    problems: tuple[str, ...] = ()
    coverage: str = ""
    windows: int = 0
    pushed_profiles: int = 0
    dropped_profiles: Mapping[str, int] | None = None
    retries: int = 0
    queued_profiles: int = 0
    queued_bytes: int = 0
    server_is_dead: bool = False
    last_push: LastPush | None = None
    samples_due: int = 0
    samples_gathered: int = 0
    dropped_samples: Mapping[str, int] | None = None
    own_cpu_s: float = 0.0
    threads: int = 0
    without_span: Mapping[str, int] | None = None
    wall: WallStats | None = None

    def __str__(self) -> str:
        lines = [f"flamewire: {self.state}"]
        if self.options is None:
            return lines[0]
        lines += [f"  problem   {problem}" for problem in self.problems]
        if self.engine:
            lines.append(f"  engine    {self.engine} ({self.engine_reason})")
            lines += [f"  without   {cell}: {why}" for cell, why in (self.missing or {}).items()]
        lines.append(
            f"  samples   {self.samples_gathered} of {self.samples_due} due{_reasons(self.dropped_samples)},"
            f" {self.threads} threads, own CPU {self.own_cpu_s:.3f} s"
        )
        if self.without_span:
            lines.append(f"  spans     too many for a window{_reasons(self.without_span)}")
        if self.wall is not None:
            unknown = ", states unknown" if self.wall.without_state else ""
            lines.append(
                f"  wall      {self.wall.ticks} ticks of {self.wall.ticks_due} due,"
                f" {self.wall.threads} threads{unknown}"
            )
        lines.append(
            f"  profiles  {self.pushed_profiles} pushed of {self.windows}, {self.queued_profiles} queued"
            f" ({self.queued_bytes} bytes), {self.retries} retries{_reasons(self.dropped_profiles)}"
        )
        dead = "; the server counts as dead" if self.server_is_dead else ""
        lines.append(f"  last push {_last_push(self.last_push)}{dead}")
        lines.append(f"  covered   {self.coverage}")
        for option in fields(self.options):
            if option.repr:
                source = (self.option_sources or {}).get(option.name, "")
                lines.append(
                    f"  option    {option.name}={_plain(getattr(self.options, option.name))} ({source})"
                )
        return "\n".join(lines)


def _reasons(dropped: Mapping[str, int] | None) -> str:
    if not dropped:
        return ""
    return ", dropped " + ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))


def _last_push(push: LastPush | None) -> str:
    if push is None:
        return "none yet"
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(push.unix_s))
    return f"{when} {push.code if push.code is not None else 'no answer'} {push.words}".rstrip()


def _plain(value: object) -> str:
    return repr(dict(value)) if isinstance(value, Mapping) else repr(value)
