"""A flame graph as text."""

from __future__ import annotations

import io

from flamewire.view.terminal import Painter
from flamewire.view.tree import Frame, frame_tree, merge, top_functions

# total 100: a 60 (a1 50, self 10), b 30 at a gap (b1 10 after a gap of 5), and 10 of nobody's between them.
GRAPH = {
    "names": ["total", "a", "b", "a1", "b1"],
    "levels": [
        {"values": ["0", "100", "10", "0"]},
        {"values": ["0", "60", "10", "1", "10", "30", "20", "2"]},
        {"values": ["0", "50", "50", "3", "25", "10", "10", "4"]},
    ],
}


def text_of(root: Frame, least_share: float) -> list[tuple[str, str]]:
    """Return share and frame of each line, without the bars."""
    out = io.StringIO()
    Painter(out, 80).tree(root, least_share)
    lines = [line.replace("█", "").split("%", 1) for line in out.getvalue().splitlines()]
    return [(share.strip(), " ".join(rest.split())) for share, rest in lines]


def test_frames_hang_below_the_frame_that_they_lie_under() -> None:
    root = frame_tree(GRAPH)
    assert [(child.name, child.total) for child in root.children] == [("a", 60), ("b", 30)]
    assert [child.name for child in root.children[0].children] == ["a1"]
    assert [child.name for child in root.children[1].children] == ["b1"]


def test_functions_are_ranked_by_their_own_value() -> None:
    top = top_functions(frame_tree(GRAPH))
    assert top[:2] == [("a1", 50), ("b", 20)]
    assert sorted(top[2:]) == [("a", 10), ("b1", 10), ("total", 10)]


def test_the_tree_is_plain_text_where_nobody_watches() -> None:
    assert text_of(frame_tree(GRAPH), least_share=0.2) == [
        ("100.0", "total"),
        ("60.0", "├ a"),
        ("50.0", "│ └ a1"),
        ("30.0", "└ b"),
    ]


def test_an_empty_answer_is_said() -> None:
    out = io.StringIO()
    Painter(out, 80).tree(frame_tree({"names": [], "levels": []}), least_share=0.2)
    assert out.getvalue() == "(no samples)\n"


def test_a_stack_of_thousands_of_frames_is_drawn_to_its_bound() -> None:
    """Each level spends something itself, so that none is left out as a mere link."""
    names = [f"f{number}" for number in range(1000)]
    root = merge([(names[:depth], int(1.03 ** (1000 - depth))) for depth in range(1, 1000)])
    lines = text_of(root, least_share=0.0)
    assert lines[-1][1].endswith("(deeper)")
    assert 100 < len(lines) < 300
