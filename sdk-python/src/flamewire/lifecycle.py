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
        self._in_celery = False
        self.coverage = ""
        """Which ends of the process are looked after, in words for the status."""

    def install(self) -> None:
        """Install all hooks; a second call only looks after SIGTERM again."""
        if not self._installed:
            self._installed = True
            atexit.register(self._stop)
            self._finalize_here()
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(before=self._before_fork, after_in_child=self._in_child)
        self._look_after_celery()
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

    def _before_fork(self) -> None:
        # Here and not in the child, where the signal's lock may be held by a thread that is not there.
        self._look_after_celery()

    def _look_after_celery(self) -> None:
        """Stop at the end of Celery's worker processes, which leave by os._exit: no atexit, no finalizers."""
        signals = sys.modules.get("celery.signals")
        ending = getattr(signals, "worker_process_shutdown", None)
        if ending is not None and not self._in_celery:
            self._in_celery = True
            ending.connect(self._on_worker_exit, weak=False)

    def _on_worker_exit(self, **_: object) -> None:
        self._stop()

    def _in_child(self) -> None:
        self._after_fork()
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            # A multiprocessing child ends in os._exit, which skips atexit; it clears the finalizers that it
            # inherited first, then calls these hooks.
            util.register_after_fork(self, ProcessHooks._finalize_here)

    def _finalize_here(self) -> None:
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            util.Finalize(None, self._stop, exitpriority=-1)
