"""The page stands alone, and shows what it was given and nothing else."""

from __future__ import annotations

import json
import re

from flamewire.view import read
from flamewire.view.page import page

HOSTILE = b"main;</script><script>alert(1)</script>;&lt <!-- 30\nmain;other 70\n"


def test_it_loads_nothing_from_anywhere() -> None:
    text = page(read(HOSTILE), "title")
    assert not re.search(r"https?://|//[a-z]|@import|url\(|<link|<img|\bsrc=|\bhref=|fetch\(|XMLHttp", text)
    assert "default-src 'none'" in text


def test_names_and_title_cannot_leave_their_place() -> None:
    text = page(read(HOSTILE), "<b>&title</b>")
    assert "alert(1)</script>" not in text
    assert text.count("</script>") == 2, "that of the data and that of the code"
    assert "<title>&lt;b&gt;&amp;title&lt;/b&gt;</title>" in text


def test_it_holds_every_frame_below_its_parent() -> None:
    found = re.search(r'type="application/json">(.*?)</script>', page(read(HOSTILE), "t"), re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    frames = [
        (data["names"][name], data["names"][data["frames"][parent][1]] if parent >= 0 else None, total, own)
        for parent, name, total, own in data["frames"]
    ]
    assert frames == [
        ("total", None, 100, 0),
        ("main", "total", 100, 0),
        ("</script><script>alert(1)</script>", "main", 30, 0),
        ("&lt <!--", "</script><script>alert(1)</script>", 30, 30),
        ("other", "main", 70, 70),
    ]


def test_a_deep_stack_is_no_matter() -> None:
    deep = ";".join(f"f{number}" for number in range(5000)).encode() + b" 1\n"
    assert "f4999" in page(read(deep), "deep")
