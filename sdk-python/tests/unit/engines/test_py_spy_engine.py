"""What py-spy writes, read."""

from __future__ import annotations

from flamewire.engines.py_spy import read_raw
from flamewire.pprof import Frame


def test_frames_have_function_file_and_line() -> None:
    raw = "<module> (/app/run (1).py:3);work (/app/a.py:12) 7\nprocess 12;idle 2\nbroken\n(x 1\n"
    assert read_raw(raw) == {
        (Frame("work", "/app/a.py", 0, 12), Frame("<module>", "/app/run (1).py", 0, 3)): 7,
        (Frame("idle", "", 0, 0), Frame("process 12", "", 0, 0)): 2,
        (Frame("(x", "", 0, 0),): 1,
    }


def test_the_same_stack_in_two_lines_is_one() -> None:
    assert read_raw("a (b.py:1) 2\na (b.py:1) 3\n") == {(Frame("a", "b.py", 0, 1),): 5}
