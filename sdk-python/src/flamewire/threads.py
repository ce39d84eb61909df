"""The SDK's own threads: daemons that take no signals and never let an error out."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

from flamewire.log import warn

__all__ = ["SdkThread"]

# Faults stay deliverable: they come from the thread itself, and faulthandler must be able to report them.
_FAULTS = {
    getattr(signal, name)
    for name in ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS")
    if hasattr(signal, name)
}


class SdkThread(threading.Thread):
    """A daemon thread of the SDK. Engines leave threads of this class out of the profile's stacks.

    Signals are blocked in it, because one that the kernel delivers here would not interrupt the main thread's
    system call, and the host's Python handler would run late.
    """

    def __init__(self, name: str, target: Callable[[], None]) -> None:
        super().__init__(name=f"flamewire-{name}", daemon=True)
        self._body = target

    def run(self) -> None:
        """Run the target with signals blocked; an error ends the thread and is logged."""
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _FAULTS)
        try:
            self._body()
        except Exception as error:  # noqa: BLE001 - thread root: the host must not see it
            warn(self.name, "thread %s ended by %r; nothing more is profiled", self.name, error)
