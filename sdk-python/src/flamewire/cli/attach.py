"""``flamewire attach``: a session whose engine samples another process, which knows nothing of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from flamewire.config import resolve
from flamewire.engines.py_spy import PySpyEngine
from flamewire.errors import EngineError
from flamewire.session import Session

if TYPE_CHECKING:
    from flamewire.snapshot import Status

__all__ = ["attach"]

_TICK_S = 0.5
_ENDING_S = 20.0
"""What a loaded machine may need until py-spy has written."""


def attach(pid: int, environment: Mapping[str, str], duration_s: float | None) -> int:
    """Sample a process and push its profiles until it ends, Ctrl-C or the duration; returns the exit status.

    Args:
        pid: the process; its own environment names the service where this one does not.
        environment: options, as for a session.
        duration_s: how long; None: no limit.
    """
    # Nothing of ours is to be sampled, so executors need no tags.
    resolved = resolve({"executor_tags": False}, {**_names(pid), **environment}, _argv0(pid))
    engine = PySpyEngine(pid)

    def start_engine(options: object) -> tuple[PySpyEngine, str]:
        engine.start(resolved.options)
        return engine, f"attached to process {pid}"

    session = Session(resolved, engine_factory=start_engine)
    try:
        session.start()
    except EngineError as error:
        print(f"flamewire attach: {error}", file=sys.stderr)
        return 1
    options = resolved.options
    print(f"flamewire attach: {pid} as {options.service_name!r} to {options.server_url}", file=sys.stderr)
    began_s = time.monotonic()
    line = _Line(sys.stderr)
    try:
        while not engine.ended and (duration_s is None or time.monotonic() - began_s < duration_s):
            line.show(time.monotonic() - began_s, session.status())
            time.sleep(_TICK_S)
    except KeyboardInterrupt:
        pass
    # Its end has py-spy write what it saw, which takes a moment.
    arrived = session.stop(options.shutdown_timeout_s + options.timeout_s + _ENDING_S)
    status = session.status()
    line.end(time.monotonic() - began_s, status)
    if not arrived and status.last_push is not None:
        print(f"flamewire attach: {options.server_url}: {status.last_push.words}", file=sys.stderr)
    if not status.samples_gathered:
        print("flamewire attach: no sample; did the process spend any CPU?", file=sys.stderr)
    return 0 if arrived else 1


class _Line:
    """The progress: one line that is written over where somebody watches, else one for each push."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._watched = out.isatty()
        self._pushed = 0

    def show(self, seconds: float, status: Status) -> None:
        if self._watched:
            print(f"\r{self._text(seconds, status)}\x1b[K", end="", file=self._out, flush=True)
        elif status.pushed_profiles != self._pushed:
            self._pushed = status.pushed_profiles
            print(self._text(seconds, status), file=self._out, flush=True)

    def end(self, seconds: float, status: Status) -> None:
        start = "\r" if self._watched else ""
        end = "\x1b[K" if self._watched else ""
        print(f"{start}{self._text(seconds, status)}{end}", file=self._out, flush=True)

    def _text(self, seconds: float, status: Status) -> str:
        lost = sum((status.dropped_profiles or {}).values())
        return (
            f"{seconds:6.0f} s  {status.samples_gathered} samples  {status.pushed_profiles} profiles pushed"
            f"{f', {status.queued_profiles} waiting' if status.queued_profiles else ''}"
            f"{f', {lost} lost' if lost else ''}"
        )


def _argv0(pid: int) -> str:
    """Return what the process calls its program: its script or module, not the interpreter."""
    words = _read(pid, "cmdline")
    for before, word in zip(["", *words], words[1:], strict=False):
        if before == "-m" or not word.startswith("-"):
            return word
        if word == "-c":
            break
    return words[0] if words else str(pid)


def _names(pid: int) -> dict[str, str]:
    """Return what the process's environment says of its service."""
    found = dict(word.partition("=")[::2] for word in _read(pid, "environ"))
    wanted = (
        "FLAMEWIRE_SERVICE_NAME",
        "PYROSCOPE_APPLICATION_NAME",
        "OTEL_SERVICE_NAME",
        "OTEL_RESOURCE_ATTRIBUTES",
    )
    return {name: found[name] for name in wanted if name in found}


def _read(pid: int, name: str) -> list[str]:
    try:
        content = Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return []
    return [word.decode("utf-8", "replace") for word in content.split(b"\0") if word]
