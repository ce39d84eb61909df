"""Ties the default session to the process: exit, SIGTERM, fork."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from flamewire.executors import is_of_a_pool, leave_tags

__all__ = ["ProcessHooks"]


class ProcessHooks:
    """Calls ``stop`` before the process ends, ``flush`` before a handler of the program's for SIGTERM,
    ``after_fork`` in each fork child, and ``become`` with its role.

    Installed once per process and never removed: fork hooks cannot be removed, and a stop of a stopped
    session costs nothing.
    """

    def __init__(
        self,
        *,
        stop: Callable[[], object],
        flush: Callable[[], object],
        after_fork: Callable[[], None],
        become: Callable[[str], None],
    ) -> None:
        self._stop = stop
        self._flush = flush
        self._after_fork = after_fork
        self._become = become
        self._installed = False
        self._in_celery = False
        self._handing_on = False
        """Within the program's handler; one that hands on to ours, as its predecessor, means the default."""
        self._next_handler: Callable[[int, FrameType | None], object] | None = None
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
        """Push at SIGTERM, before it takes its course (SDK-022).

        Only the main thread may set a handler, so a start() on another thread goes without. A signal that is
        ignored stays so, and a handler that was set in C, of which Python knows nothing, is left alone.
        """
        handler = signal.getsignal(signal.SIGTERM)
        if handler == self._on_sigterm:
            return
        if handler is None:
            self.coverage = "exit, fork; SIGTERM is in the hands of native code"
            return
        if handler is signal.SIG_IGN:
            self.coverage = "exit, fork; SIGTERM is ignored by the program"
            return
        try:
            signal.signal(signal.SIGTERM, self._on_sigterm)
        except ValueError:
            self.coverage = "exit, fork; not SIGTERM, because start() was not called on the main thread"
            return
        self._next_handler = handler if callable(handler) else None
        self.coverage = "exit, fork, SIGTERM" + (" before the program's handler" if callable(handler) else "")

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        if self._next_handler is not None and not self._handing_on:
            # The program may well live on, so the session does too; what it raises is the program's affair.
            self._handing_on = True
            try:
                self._flush()
                self._next_handler(number, frame)
            finally:
                self._handing_on = False
            return
        if os.getpid() == 1:
            # The kernel spares the first process of a container the default action: it lives on to SIGKILL.
            self._flush()
            return
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
            util.register_after_fork(self, ProcessHooks._in_multiprocessing_child)

    def _in_multiprocessing_child(self) -> None:
        self._finalize_here()
        process = sys.modules["multiprocessing.process"].current_process()
        in_pool = is_of_a_pool(process)
        if in_pool:
            leave_tags()
        self._become("pool" if in_pool else "multiprocessing")

    def _finalize_here(self) -> None:
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            util.Finalize(None, self._stop, exitpriority=-1)
