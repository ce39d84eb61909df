"""Whose SIGPROF is it? What other code in the process sees of ours, and we of theirs."""

from __future__ import annotations

import faulthandler
import os
import signal
from pathlib import Path

import pytest

from flamewire.config import Options
from flamewire.engines.native import NativeEngine
from flamewire.errors import EngineError

OPTIONS = Options(service_name="test")


def test_a_handler_in_c_that_python_does_not_see_is_left_alone(tmp_path: Path) -> None:
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    with (tmp_path / "dump").open("w") as dump:
        faulthandler.register(signal.SIGPROF, dump)
        try:
            with pytest.raises(EngineError, match="SIGPROF already has a handler"):
                NativeEngine().start(OPTIONS)
            os.kill(os.getpid(), signal.SIGPROF)
        finally:
            faulthandler.unregister(signal.SIGPROF)
            signal.signal(signal.SIGPROF, signal.SIG_IGN)
    assert "most recent call first" in (tmp_path / "dump").read_text()


def test_python_takes_the_signal_for_an_ignored_one() -> None:
    """So that who takes over all signals that would end the process leaves it (billiard, in Celery)."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    engine = NativeEngine()
    engine.start(OPTIONS)
    try:
        assert signal.getsignal(signal.SIGPROF) is signal.SIG_IGN
    finally:
        engine.stop()
