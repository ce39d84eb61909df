"""What the page costs before it shows anything."""

from __future__ import annotations

import gzip
from pathlib import Path

import flamewire_server

BUDGET_BYTES = 80 * 1024


def built_files() -> list[Path]:
    """List the page's files in the installed package."""
    folder = Path(flamewire_server.__file__).parent / "_ui"
    return [path for path in folder.rglob("*") if path.suffix in (".js", ".css", ".html")]


def test_script_style_and_page_fit_the_budget_compressed() -> None:
    sizes = {path.name: len(gzip.compress(path.read_bytes(), 9)) for path in built_files()}
    assert {Path(name).suffix for name in sizes} == {".js", ".css", ".html"}
    assert sum(sizes.values()) <= BUDGET_BYTES, sizes


def test_the_page_is_served_without_inline_script_or_style() -> None:
    (page,) = (path for path in built_files() if path.name == "index.html")
    text = page.read_text()
    assert "<style" not in text
    assert "style=" not in text
    assert text.count("<script") == text.count('<script type="module" crossorigin src="./assets/')
