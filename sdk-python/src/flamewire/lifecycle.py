"""Ties the default session to the process: exit, SIGTERM, fork."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

__all__ = ["ProcessHooks"]


class ProcessHooks:
    """Calls ``stop`` before the process ends and ``after_fork`` in each fork child.

    Installed once per process and never removed: fork hooks cannot be removed, and a stop of a stopped
    session costs nothing.
    """

    def __init__(self, *, stop: Callable[[], object], after_fork: Callable[[], None]) -> None:
        self._stop = stop
        self._after_fork = after_fork
        self._installed = False
        self.coverage = ""
        """Which ends of the process are looked after, in words for the status."""

    def install(self) -> None:
        """Install all hooks; a second call only looks after SIGTERM again."""
        if not self._installed:
            self._installed = True
            atexit.register(self._stop)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=self._in_child)
        self._catch_sigterm()

    def _catch_sigterm(self) -> None:
        """Flush at a SIGTERM that would end the process at once; a handler of the host's is left alone.

        Only the main thread may set a handler, so a start() on another thread goes without.
        """
        handler = signal.getsignal(signal.SIGTERM)
        if handler is signal.SIG_DFL:
            try:
                signal.signal(signal.SIGTERM, self._on_sigterm)
            except ValueError:
                self.coverage = "exit, fork; not SIGTERM, because start() was not called on the main thread"
                return
        elif handler != self._on_sigterm:
            self.coverage = "exit, fork; SIGTERM is in the hands of the program"
            return
        self.coverage = "exit, fork, SIGTERM"

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        # The default action again: for a second SIGTERM at once, for this one after the flush, so that the
        # parent sees a process that was ended by the signal.
        signal.signal(number, signal.SIG_DFL)
        try:
            self._stop()
        finally:
            os.kill(os.getpid(), number)

    def _in_child(self) -> None:
        self._after_fork()
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            # A multiprocessing child ends in os._exit, which skips atexit; it clears the finalizers that it
            # inherited first, then calls these hooks.
            util.register_after_fork(self, ProcessHooks._finalize_in_child)

    def _finalize_in_child(self) -> None:
        util = sys.modules["multiprocessing.util"]
        util.Finalize(None, self._stop, exitpriority=-1)
