"""GET endpoints of our own: files to keep, and the flame graph as the page draws it."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable

from flamewire_server._native import Tree
from flamewire_server.errors import RequestError
from flamewire_server.http.render import flamebearer_document
from flamewire_server.http.url_query import UrlQuery
from flamewire_server.http.url_service import Document
from flamewire_server.model.profile_type import ProfileType
from flamewire_server.query.comparison import compare_functions, compare_values
from flamewire_server.query.queries import Queries

__all__ = ["FLAME_COLUMNS", "ExportAnswers"]

FLAME_COLUMNS = "application/vnd.flamewire.flame"
_FLAME_FRAMES = 16384
# Files of a tree, by their format: suffix, Content-Type, and what writes them.
_TREE_FILES: dict[str, tuple[str, str, Callable[[Tree, ProfileType, UrlQuery], bytes]]] = {
    "folded": ("folded.txt", "text/plain; charset=utf-8", lambda tree, kind, query: tree.folded()),
    "csv": ("csv", "text/csv; charset=utf-8", lambda tree, kind, query: _csv(tree)),
    "speedscope": (
        "speedscope.json",
        "application/json",
        lambda tree, kind, query: tree.speedscope(kind.sample_unit, query.get("query")),
    ),
    "flamebearer": (
        "flamebearer.json",
        "application/json",
        lambda tree, kind, query: json.dumps(
            flamebearer_document(tree, kind, query.max_nodes()), ensure_ascii=False
        ).encode(),
    ),
    "svg": (
        "svg",
        "image/svg+xml",
        lambda tree, kind, query: tree.svg(query.get("query"), kind.sample_unit, query.max_nodes()).encode(),
    ),
}
# A picture that is opened runs nothing and loads nothing, whatever a function is called.
_SVG_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


class ExportAnswers:
    """Exports, flame graphs in columns, comparisons by label and by function."""

    def __init__(self, queries: Queries) -> None:
        self._stacks = queries.stacks
        self._series = queries.series

    def answers(self) -> dict[str, Callable[[UrlQuery], Document]]:
        """Give the answers by their path."""
        return {
            "/api/v1/export": self.export,
            "/api/v1/flamegraph": self.flamegraph,
            "/api/v1/compare/functions": self.compare_functions,
            "/api/v1/compare/values": self.compare_values,
        }

    def export(self, query: UrlQuery) -> Document:
        """Answer with a file of every stack trace, or of the flame graph."""
        form = query.choice("format", "pprof", *_TREE_FILES)
        selection = query.selection()
        if form == "pprof":
            body = gzip.compress(self._stacks.pprof(selection), 1, mtime=0)
            return _file(body, "pb.gz", "application/octet-stream")
        suffix, content_type, write = _TREE_FILES[form]
        return _file(write(self._stacks.tree(selection), selection.profile_type, query), suffix, content_type)

    def flamegraph(self, query: UrlQuery) -> Document:
        """Answer with a flame graph, or with two over one another, in columns."""
        accepted = query.get("accept")
        if not any(wanted in accepted for wanted in (FLAME_COLUMNS, "application/*", "*/*")) and accepted:
            raise RequestError(
                "invalid_argument",
                f"only {FLAME_COLUMNS} is served here; for JSON ask querier.v1 or /pyroscope/render",
                reason="not_acceptable",
                status=406,
            )
        if query.get("leftQuery") or query.get("rightQuery"):
            sides = query.sides()
            left, right = (self._stacks.tree(one) for one in sides)
            unit = sides[0].profile_type.sample_unit
            return Document(left.diff_columns(right, unit, query.max_nodes(_FLAME_FRAMES)), FLAME_COLUMNS)
        selection = query.selection()
        tree = self._stacks.tree(selection)
        columns = tree.columns(selection.profile_type.sample_unit, query.max_nodes(_FLAME_FRAMES))
        return Document(columns, FLAME_COLUMNS)

    def compare_functions(self, query: UrlQuery) -> Document:
        """Answer with the functions of two selections, and how sure their differences are."""
        sides = query.sides()
        left, right = (self._stacks.tree(one) for one in sides)
        return _json(compare_functions(left, right, limit=query.max_nodes(1000)))

    def compare_values(self, query: UrlQuery) -> Document:
        """Answer with what each value of a label has of the whole, and how that changed."""
        label = query.get("by")
        if not label:
            raise RequestError(
                "invalid_argument", "the parameter by must be the name of a label", reason="bad_parameter"
            )
        selection = query.selection()
        before = None
        if query.get("baseFrom") or query.get("baseUntil"):
            before = query.selection("query", "baseFrom", "baseUntil")
        return _json(compare_values(self._series, selection, before, label))


def _csv(tree: Tree) -> bytes:
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(("function", "self", "total", "samples"))
    writer.writerows((_cell(name), own, total, samples) for name, own, total, samples in tree.functions())
    return table.getvalue().encode()


def _cell(text: str) -> str:
    """Keep a spreadsheet from running a function's name as a formula."""
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _file(body: bytes, suffix: str, content_type: str) -> Document:
    headers = {"Content-Disposition": f'attachment; filename="profile.{suffix}"'}
    if suffix == "svg":
        headers["Content-Security-Policy"] = _SVG_POLICY
    return Document(body, content_type, headers)


def _json(value: object) -> Document:
    return Document(json.dumps(value, ensure_ascii=False).encode())
