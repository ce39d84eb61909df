"""What ``flamewire run`` puts in front of a program: starts the session, then makes way for the next."""

from __future__ import annotations

import os
import sys
from importlib import import_module


def _start() -> None:
    try:
        import flamewire

        flamewire.start()
    except Exception as error:  # noqa: BLE001 - the program must run, whatever profiling does
        print(f"flamewire run: this process is not profiled: {error!r}", file=sys.stderr)


def _yield_to_the_next() -> None:
    own = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != own]
    ours = sys.modules.pop("sitecustomize", None)
    try:
        import_module("sitecustomize")
    except ImportError:
        if ours is not None:
            sys.modules["sitecustomize"] = ours


_start()
_yield_to_the_next()
