"""In the process of a program under ``flamewire record``: an engine, and the file at the end."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import MutableMapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from flamewire.cli.record import DURATION, ENGINE, OUT, form_of
from flamewire.engines.registry import start_engine, start_named
from flamewire.errors import EngineError
from flamewire.threads import SdkThread

if TYPE_CHECKING:
    from flamewire.engines.base import Engine, Window

__all__ = ["record_this_process", "write_profile"]


def record_this_process(environment: MutableMapping[str, str]) -> None:
    """Start recording as the environment says, and take that out of it: a child records nothing."""
    from flamewire.config import resolve

    out, name = Path(environment.pop(OUT)), environment.pop(ENGINE)
    duration = environment.pop(DURATION, None)
    options = resolve({"service_name": "record", "engine": "auto"}, environment, "").options
    try:
        if name == "auto":
            engine, why = start_engine(options)
        else:
            engine, why = start_named(name, options), "as asked for"
    except EngineError as error:
        print(f"flamewire record: nothing is recorded: {error}", file=sys.stderr)
        return
    print(f"flamewire record: engine {engine.name}, {why}", file=sys.stderr)
    recorder = _Recorder(engine, out, float(duration) if duration is not None else None)
    recorder.start()


class _Recorder:
    """Polls an engine while the program runs, and writes what it gathered at the end, or after a duration."""

    def __init__(self, engine: Engine, out: Path, duration_s: float | None) -> None:
        self._engine: Engine | None = engine
        self._out = out
        self._until_s = time.monotonic() + duration_s if duration_s is not None else float("inf")
        self._stopping = threading.Event()
        self._thread = SdkThread("record", self._run)

    def start(self) -> None:
        """Begin; the file is written at exit, or at a SIGTERM that the program does not handle."""
        self._thread.start()
        atexit.register(self.finish)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._on_sigterm)

    def finish(self) -> None:
        """End the capture and write the file, unless that has been done."""
        self._stopping.set()
        if self._engine is not None:
            self._thread.join()

    def _on_sigterm(self, number: int, _: FrameType | None) -> None:
        # The default action again, so that the parent sees a process that was ended by the signal.
        signal.signal(number, signal.SIG_DFL)
        try:
            self.finish()
        finally:
            os.kill(os.getpid(), number)

    def _forget(self) -> None:
        """In a fork child: the file is its parent's."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.stop()

    def _run(self) -> None:
        engine, poll_in_s = self._engine, 0.0
        assert engine is not None
        while not self._stopping.wait(max(0.0, min(poll_in_s, self._until_s - time.monotonic()))):
            if time.monotonic() >= self._until_s:
                break
            poll_in_s = engine.poll()
        self._write(engine.stop())

    def _write(self, windows: list[Window]) -> None:
        window = next((window for window in windows if window.profile_type == "cpu"), None)
        if window is None:
            print("flamewire record: nothing was gathered; did it spend any CPU?", file=sys.stderr)
            return
        try:
            write_profile(window.pprof, self._out, " ".join(sys.argv))
        except OSError as error:
            print(f"flamewire record: {self._out}: {error.strerror}", file=sys.stderr)
            return
        seconds, name = window.duration_ns / 1e9, os.path.relpath(self._out)
        show = "open it in a browser" if name.endswith(".html") else f"flamewire view {name} shows it"
        print(f"flamewire record: {seconds:.1f} s in {name}; {show}", file=sys.stderr)


def write_profile(pprof: bytes, path: Path, title: str) -> None:
    """Write a profile in the format that the file's name asks for; the file appears as a whole."""
    import gzip

    from flamewire.view.reading import read

    form = form_of(path.name)
    if form == "pprof":
        content = pprof if path.name.endswith(".pb") else gzip.compress(pprof)
    elif form == "folded":
        sums: dict[str, int] = {}
        for names, value in read(pprof).stacks:
            stack = ";".join([name.replace(";", ":").replace("\n", " ") for name in names])
            sums[stack] = sums.get(stack, 0) + value
        content = "".join([f"{stack} {value}\n" for stack, value in sorted(sums.items())]).encode()
    else:
        from flamewire.view.page import page

        content = page(read(pprof), title).encode()
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_bytes(content)
    unfinished.replace(path)
