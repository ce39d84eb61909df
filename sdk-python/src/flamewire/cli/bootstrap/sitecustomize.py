"""What ``flamewire run`` and ``record`` put in front of a program: starts profiling, then makes way."""

from __future__ import annotations

import os
import sys
from importlib import import_module

_OWN = os.path.dirname(os.path.abspath(__file__))


def _start() -> None:
    try:
        if "_FLAMEWIRE_RECORD_OUT" in os.environ:
            _leave_environment()
            from flamewire.cli.recorder import record_this_process

            record_this_process(os.environ)
            return
        import flamewire

        flamewire.start()
    except Exception as error:  # noqa: BLE001 - the program must run, whatever profiling does
        print(f"flamewire: this process is not profiled: {error!r}", file=sys.stderr)


def _leave_environment() -> None:
    """What this process starts is not to be recorded, and not to have a session either."""
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = [entry for entry in entries if entry and os.path.abspath(entry) != _OWN]
    os.environ.pop("PYTHONPATH", None)
    if kept:
        os.environ["PYTHONPATH"] = os.pathsep.join(kept)


def _yield_to_the_next() -> None:
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != _OWN]
    ours = sys.modules.pop("sitecustomize", None)
    try:
        import_module("sitecustomize")
    except ImportError:
        if ours is not None:
            sys.modules["sitecustomize"] = ours


_start()
_yield_to_the_next()
