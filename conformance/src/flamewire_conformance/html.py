"""The results as one static page: the matrix, and what explains each failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from flamewire_conformance.runner import State

__all__ = ["write_html"]

_MAX_FILE_BYTES = 40_000
_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 90rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .2rem .6rem; text-align: left; vertical-align: top; }
tr:nth-child(even) { background: #8881; } th { position: sticky; top: 0; background: Canvas; }
.pass { color: #1a7f37; } .fail, .unexpected-pass { color: #fff; background: #b3261e; padding: 0 .4rem; }
.expected-fail { color: #b3261e; } .unsupported, .not-run { color: #777; } .not-run { font-style: italic; }
details { margin: .4rem 0; border-left: 3px solid #8884; padding-left: .8rem; } summary { cursor: pointer; }
pre { overflow: auto; max-height: 30rem; background: #8881; padding: .6rem; }
"""


def write_html(data: Mapping[str, Any], folders: Sequence[Path], path: Path) -> None:
    """Write the page.

    Args:
        data: a matrix.
        folders: where runs left their artefacts; the last one that has a failure's counts.
        path: of the page; folders above it are made.
    """
    targets = data["targets"]
    body = [
        f"<h1>Conformance</h1><p>Suite {escape(data['suite'])}, commit {escape(data.get('commit', '') or 'unknown')}.</p>"
    ]
    body.append(_overview(targets))
    areas: dict[str, list[str]] = {}
    for case_id in data["cases"]:
        areas.setdefault(case_id.partition("/")[0], []).append(case_id)
    for area, ids in areas.items():
        shown = [name for name, target in targets.items() if any(one in target["cells"] for one in ids)]
        head = "".join(f"<th>{escape(name)}</th>" for name in shown)
        body.append(
            f"<h2>{escape(area)}</h2><table><tr><th>case</th><th>promise</th><th>level</th>{head}</tr>"
        )
        for case_id in ids:
            case = data["cases"][case_id]
            cells = "".join(_cell(name, case_id, targets[name]["cells"].get(case_id)) for name in shown)
            text = escape(f"{case['text']} ({', '.join(case['spec'])})")
            body.append(
                f"<tr><td>{escape(case_id.partition('/')[2])}</td><td>{text}</td><td>{case['level']}</td>{cells}</tr>"
            )
        body.append("</table>")
    body.append("<h2>Failures</h2>")
    for name, target in targets.items():
        for case_id, cell in target["cells"].items():
            if cell["faults"]:
                body.append(_failure(name, case_id, cell, folders))
    page = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>Conformance</title><style>{_STYLE}</style>"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page + "\n".join(body) + "</html>\n", encoding="utf-8", errors="replace")


def _overview(targets: Mapping[str, Any]) -> str:
    rows = []
    for name, target in targets.items():
        states = [cell["state"] for cell in target["cells"].values()]
        counts = "".join(f"<td>{states.count(state)}</td>" for state in State)
        about = "".join(f"<td>{escape(target[key] or '-')}</td>" for key in ("sdk", "runtime", "date"))
        rows.append(f"<tr><td>{escape(name)}</td>{about}{counts}</tr>")
    head = "".join(f"<th>{state}</th>" for state in State)
    return f"<table><tr><th>target</th><th>what</th><th>runtime</th><th>date</th>{head}</tr>{''.join(rows)}</table>"


def _anchor(name: str, case_id: str) -> str:
    return f"{name}-{case_id.replace('/', '-')}"


def _cell(name: str, case_id: str, cell: Mapping[str, Any] | None) -> str:
    state = cell["state"] if cell else str(State.NOT_RUN)
    text = f"<span class='{state}'>{state}</span>"
    if cell and cell["faults"]:
        text = f"<a href='#{escape(_anchor(name, case_id))}'>{text}</a>"
    return f"<td title='{escape(cell['reason'] if cell else '', quote=True)}'>{text}</td>"


def _failure(name: str, case_id: str, cell: Mapping[str, Any], folders: Sequence[Path]) -> str:
    head = f"<h3 id='{escape(_anchor(name, case_id))}'>{escape(name)}: {escape(case_id)}</h3>"
    words = "".join(f"<li>{escape(fault)}</li>" for fault in cell["faults"])
    reason = f"<p>Known: {escape(cell['reason'])}</p>" if cell["reason"] else ""
    found = [folder / "failures" / name / case_id.replace("/", "-") for folder in folders]
    there = [folder for folder in found if folder.is_dir()]
    files = "".join(_file(path) for path in sorted(there[-1].iterdir())) if there else ""
    return f"{head}<ul>{words}</ul>{reason}{files}"


def _file(path: Path) -> str:
    content = path.read_bytes()
    try:
        text = content[:_MAX_FILE_BYTES].decode("utf-8")
    except UnicodeDecodeError:
        text = content[: _MAX_FILE_BYTES // 4].hex(" ", 32)
    more = f"\n... {len(content)} bytes in all" if len(content) > _MAX_FILE_BYTES else ""
    return f"<details><summary>{escape(path.name)}, {len(content)} bytes</summary><pre>{escape(text + more)}</pre></details>"
