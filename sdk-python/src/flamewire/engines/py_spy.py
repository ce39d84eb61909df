"""The engine ``py-spy``: samples another process from outside (extra ``[py-spy]``). Nothing runs in that one.

py-spy tells which stacks were on a CPU, not for how long. So its samples share out the CPU that the kernel
says the process has spent: the sum is right, the shares are those of the samples.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from flamewire.engines.base import EngineStats, Window, WindowClock
from flamewire.errors import EngineError
from flamewire.pprof import Frame, ValueType, encode

if TYPE_CHECKING:
    from flamewire.config import Options

__all__ = ["PySpyEngine", "read_raw"]

_CPU: Final = ValueType("cpu", "nanoseconds")
_FRAME: Final = re.compile(r"(?P<function>.*?) \((?P<filename>.*?)(?::(?P<line>\d+))?\)")
_FIRST_SAMPLE_S: Final = 60.0
_ENDING_S: Final = 20.0
_UNATTRIBUTED: Final = Frame("(unattributed)", "", 0, 0)


class PySpyEngine:
    """Runs py-spy beside a process, without ever stopping it, once for each window.

    Args:
        pid: the process.
    """

    name: ClassVar[str] = "py-spy"
    missing: ClassVar[Mapping[str, str]] = {
        "labels": "tags and spans cannot be read from outside",
        "fork": "children are not followed; attach to them too",
        "torn stacks": "the process is not stopped while it is read, so a few stacks are mixed up",
        "short windows": "between two windows py-spy starts anew and sees nothing for a moment",
    }

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._process: subprocess.Popen[bytes] | None = None
        self._options: Options | None = None
        self._samples = self._failed = 0

    @property
    def ended(self) -> bool:
        """Whether the process is there no more."""
        return self._options is not None and _cpu_ns(self._pid) is None

    def start(self, options: Options) -> None:
        """Begin sampling the process.

        Raises:
            EngineError: py-spy is not installed, or may not or cannot read the process; the message says why.
        """
        beside = shutil.which("py-spy", path=os.path.dirname(sys.executable))
        self._program = beside or shutil.which("py-spy")
        if self._program is None:
            raise EngineError("py-spy is not installed; pip install 'flamewire[py-spy]'")
        if _cpu_ns(self._pid) is None:
            raise EngineError(
                f"there is no process {self._pid}, or it is of another user; run this as that user"
            )
        self._probe()
        self._options = options
        self._folder = tempfile.TemporaryDirectory(prefix="flamewire-attach-")
        self._window_clock = WindowClock()
        self._spawn()

    def poll(self) -> float:
        """Do nothing: py-spy runs by itself."""
        return 1.0

    def take_windows(self) -> list[Window]:
        """End py-spy, begin anew, and return what it saw."""
        if self._process is None:
            return []
        ended = self._collect()
        if not self.ended:
            self._spawn()
        return ended

    def stop(self) -> list[Window]:
        """End py-spy and return what it saw."""
        if self._process is None:
            return []
        windows = self._collect()
        self._folder.cleanup()
        return windows

    def stats(self) -> EngineStats:
        """Return the samples of the windows that have ended; where py-spy failed, they count as dropped."""
        dropped = {"py_spy_failed": self._failed} if self._failed else {}
        return EngineStats(self._samples + self._failed, self._samples, dropped)

    def after_fork_in_child(self) -> None:
        """Leave the process to the parent."""
        self._process = None
        raise EngineError("the parent is attached")

    def _probe(self) -> None:
        """See whether the process can be read, which py-spy else only says at the end."""
        command = [str(self._program), "dump", "--nonblocking", "--pid", str(self._pid)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_FIRST_SAMPLE_S)
        except subprocess.TimeoutExpired:
            raise EngineError(f"py-spy finds no Python in process {self._pid}") from None
        if done.returncode:
            words = " ".join(done.stderr.partition("Stack backtrace")[0].split()).removeprefix("Error: ")
            hint = ""
            if "ermission" in words or "not permitted" in words:
                hint = (
                    "; run it as root or with CAP_SYS_PTRACE"
                    " (kernel.yama.ptrace_scope=0 lets users read their own processes)"
                )
            raise EngineError(f"py-spy cannot read process {self._pid}: {words}{hint}")

    def _spawn(self) -> None:
        assert self._options is not None
        self._output = Path(self._folder.name) / f"{time.monotonic_ns()}.raw"
        self._cpu_before_ns = _cpu_ns(self._pid) or 0
        command = [
            str(self._program), "record", "--nonblocking", "--format", "raw", "--full-filenames",
            "--rate", str(self._options.sample_rate_hz), "--output", str(self._output),
            "--pid", str(self._pid),
        ]  # fmt: skip
        # A program inherits the signals that its starting thread has blocked, and the SDK's threads have
        # SIGINT blocked, by which this one is ended. A session of its own, so that Ctrl-C reaches us first.
        blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        try:
            self._process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _collect(self) -> list[Window]:
        assert self._process is not None
        assert self._options is not None
        process, self._process = self._process, None
        cpu_now_ns = _cpu_ns(self._pid)
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=_ENDING_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        start_unix_ns, duration_ns = self._window_clock.turn()
        try:
            counts = read_raw(self._output.read_text(encoding="utf-8", errors="replace"))
            self._output.unlink()
        except OSError:
            counts = {}
        due = round(duration_ns / 1e9 * self._options.sample_rate_hz)
        if process.returncode and not counts:
            self._failed += due
        seen = sum(counts.values())
        self._samples += seen
        # Where it has ended, its clock is gone with it: a sample stands for its period.
        spent_ns = seen * self._options.period_ns if cpu_now_ns is None else cpu_now_ns - self._cpu_before_ns
        values = {stack: round(spent_ns * count / seen) for stack, count in counts.items()}
        if not seen and spent_ns >= self._options.period_ns:
            values = {(_UNATTRIBUTED,): spent_ns}
        values = {stack: value for stack, value in values.items() if value}
        if not values:
            return []
        pprof = encode(
            values,
            value_type=_CPU,
            period_type=_CPU,
            period=self._options.period_ns,
            time_unix_ns=start_unix_ns,
            duration_ns=duration_ns,
        )
        return [Window("cpu", pprof, start_unix_ns, duration_ns, seen)]


def read_raw(text: str) -> dict[tuple[Frame, ...], int]:
    """Read what ``py-spy record --format raw`` writes; returns stack (leaf first) -> samples."""
    counts: dict[tuple[Frame, ...], int] = {}
    for line in text.splitlines():
        names, _, count = line.rpartition(" ")
        if not names or not count.isdigit():
            continue
        stack = tuple([_frame(name) for name in reversed(names.split(";"))])
        counts[stack] = counts.get(stack, 0) + int(count)
    return counts


def _frame(text: str) -> Frame:
    match = _FRAME.fullmatch(text)
    if match is None:
        return Frame(text, "", 0, 0)
    return Frame(match["function"], match["filename"], 0, int(match["line"] or 0))


def _cpu_ns(pid: int) -> int | None:
    """Return the CPU that all threads of a process have spent, None where it is not there (or a zombie)."""
    try:
        fields = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except OSError:
        return None
    if fields[0] in "ZX":
        return None
    ticks = int(fields[11]) + int(fields[12])
    return ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
