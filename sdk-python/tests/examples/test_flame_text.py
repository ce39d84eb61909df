"""The demo's text flame graph."""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def flame_text() -> ModuleType:
    spec = importlib.util.spec_from_file_location("flame_text", EXAMPLES / "flame_text.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# total 100: a 60 (a1 50, self 10), b 30 at a gap (b1 10 after a gap of 5), and 10 of nobody's between them.
GRAPH = {
    "names": ["total", "a", "b", "a1", "b1"],
    "levels": [
        {"values": ["0", "100", "10", "0"]},
        {"values": ["0", "60", "10", "1", "10", "30", "20", "2"]},
        {"values": ["0", "50", "50", "3", "25", "10", "10", "4"]},
    ],
}


def test_frames_hang_below_the_frame_that_they_lie_under(flame_text: ModuleType) -> None:
    root = flame_text.frame_tree(GRAPH)
    assert [(child.name, child.total) for child in root.children] == [("a", 60), ("b", 30)]
    assert [child.name for child in root.children[0].children] == ["a1"]
    assert [child.name for child in root.children[1].children] == ["b1"]


def test_functions_are_ranked_by_their_own_value(flame_text: ModuleType) -> None:
    top = flame_text.top_functions(flame_text.frame_tree(GRAPH))
    assert top[:2] == [("a1", 50), ("b", 20)]
    assert sorted(top[2:]) == [("a", 10), ("b1", 10), ("total", 10)]


def test_the_tree_is_plain_text_where_nobody_watches(flame_text: ModuleType) -> None:
    out = io.StringIO()
    flame_text.Painter(out, 80).tree(flame_text.frame_tree(GRAPH), least_share=0.2)
    lines = [line.replace("█", "").split("%", 1) for line in out.getvalue().splitlines()]
    assert [(share.strip(), " ".join(rest.split())) for share, rest in lines] == [
        ("100.0", "total"),
        ("60.0", "├ a"),
        ("50.0", "│ └ a1"),
        ("30.0", "└ b"),
    ]


def test_an_empty_answer_is_said(flame_text: ModuleType) -> None:
    out = io.StringIO()
    flame_text.Painter(out, 80).tree(flame_text.frame_tree({"names": [], "levels": []}), least_share=0.2)
    assert out.getvalue() == "(no samples)\n"
