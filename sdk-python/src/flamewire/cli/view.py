"""``flamewire view``: a profile from a file or an address, in the terminal or as a page."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flamewire.errors import ProfileFileError
from flamewire.view.reading import read

if TYPE_CHECKING:
    from flamewire.view.tree import Capture

__all__ = ["show"]

_FETCH_S: Final = 120.0
_TOP: Final = 10
_LEAST_SHARE: Final = 0.01


def show(source: str, html: str | None, sample_type: str | None) -> int:
    """Show a profile; returns the exit status.

    Args:
        source: a file, "-" for the standard input, or an http address.
        html: file to write a page to, instead of drawing in the terminal.
        sample_type: which of a pprof's.
    """
    try:
        capture = read(_content(source), sample_type)
    except (ProfileFileError, OSError) as error:
        print(f"flamewire view: {source}: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
        return 1
    if html is not None:
        try:
            Path(html).write_text(_page(capture, source), encoding="utf-8")
        except OSError as error:
            print(f"flamewire view: {html}: {error.strerror}", file=sys.stderr)
            return 1
        print(f"wrote {html}")
        return 0
    _draw(capture, source)
    return 0


def _page(capture: Capture, title: str) -> str:
    from flamewire.view.page import page

    return page(capture, title)


def _content(source: str) -> bytes:
    if source == "-":
        return sys.stdin.buffer.read()
    if not source.startswith(("http://", "https://")):
        return Path(source).read_bytes()
    import requests

    print(f"flamewire view: waiting for {source}", file=sys.stderr)
    try:
        response = requests.get(source, timeout=_FETCH_S)
    except requests.exceptions.RequestException as error:
        raise ProfileFileError(f"no answer ({error})") from error
    if response.status_code != 200:
        raise ProfileFileError(f"the answer is {response.status_code} {response.reason}")
    return response.content


def _draw(capture: Capture, source: str) -> None:
    from flamewire.view.terminal import Painter
    from flamewire.view.tree import top_functions

    painter = Painter(sys.stdout, shutil.get_terminal_size((100, 24)).columns)
    painter.heading(
        f"{source}: {capture.sample_type} {capture.shown(capture.root.total)}".replace(":  ", ": ")
    )
    if len(capture.sample_types) > 1:
        others = [name for name in capture.sample_types if name != capture.sample_type]
        print(f"(--type shows {', '.join(others)})")
    painter.tree(capture.root, _LEAST_SHARE)
    painter.heading("Where it is spent")
    painter.table([row for row in top_functions(capture.root)[:_TOP] if row[1] > 0], capture.root.total)
