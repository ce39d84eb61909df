"""A session whose windows are numbered, so that what arrived, what was lost and what waits can be counted."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import ClassVar

from flamewire.config import Options, resolve
from flamewire.engines.base import Engine, EngineStats, Window, WindowClock
from flamewire.errors import EngineError
from flamewire.pprof import Frame, ValueType, encode
from flamewire.session import Session

CPU = ValueType("cpu", "nanoseconds")


@dataclass
class NumberingEngine:
    """Its windows have the values 1, 2, 3 ... and are ``padding`` bytes larger than they need be."""

    name: ClassVar[str] = "numbering"
    missing: ClassVar[dict[str, str]] = {}
    padding: int = 0
    taken: int = 0
    clock: WindowClock = field(default_factory=WindowClock)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def start(self, options: Options) -> None:
        pass

    def poll(self) -> float:
        return 3600.0

    def take_windows(self) -> list[Window]:
        with self.changed:
            self.taken += 1
            self.changed.notify_all()
            frame = Frame(
                "work", "".join(f"{(self.taken * k) % 99991:x}" for k in range(self.padding // 4)), 1, 2
            )
            samples = {(frame,): self.taken}
            start_unix_ns, duration_ns = self.clock.turn()
            pprof = encode(
                samples,
                value_type=CPU,
                period_type=CPU,
                period=1,
                time_unix_ns=start_unix_ns,
                duration_ns=duration_ns,
            )
            return [Window("cpu", pprof, start_unix_ns, duration_ns, 1)]

    def stop(self) -> list[Window]:
        return self.take_windows()

    def stats(self) -> EngineStats:
        return EngineStats()

    def after_fork_in_child(self) -> None:
        raise EngineError("not in a test")

    def wait_for(self, windows: int, deadline_s: float = 120.0) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.taken >= windows, deadline_s), f"{self.taken} windows"


def numbered_session(
    server_url: str, *, padding: int = 0, **given: object
) -> tuple[Session, NumberingEngine]:
    engine = NumberingEngine(padding)
    options = {"service_name": "shop", "server_url": server_url, "upload_interval_s": 0.1, **given}

    def engine_factory(_options: Options) -> tuple[Engine, str]:
        return engine, "a test asked for it"

    return Session(resolve(options, {}, "app.py"), engine_factory=engine_factory), engine
