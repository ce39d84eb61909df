"""Write the table in docs/guide/options.md from protocol/spec/options.yaml; `--check`: only compare.

Run by `nox -s generate`; `nox -s protocol` fails where page and table differ.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "protocol" / "spec" / "options.yaml"
PAGE = ROOT / "docs" / "guide" / "options.md"
BEGIN, END = "<!-- generated from protocol/spec/options.yaml by `nox -s generate` -->", "<!-- end -->"


def rows() -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| option | default | environment, aliases | |"
    yield "|---|---|---|---|"
    for option in yaml.safe_load(TABLE.read_text(encoding="utf-8"))["options"]:
        variables = " ".join(f"`{name}`" for name in (option["environment"], *option["aliases"]))
        text = option["text"].rstrip(".")
        if "minimum" in option:
            text += f" ({option['minimum']} to {option['maximum']})"
        yield f"| `{option['name']}` | {_written(option['default'])} | {variables} | {text} |"


def _written(default: Any) -> str:
    if isinstance(default, list):
        return "`(" + ", ".join(f'"{entry}"' for entry in default) + ",)`"
    return "" if default is None or default == {} else f"`{default}`"


def page() -> str:
    """Return the page as it has to be."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join((f"{before}{BEGIN}\n", *rows(), f"\n{END}{after}"))


if __name__ == "__main__":
    wanted = page()
    if "--check" not in sys.argv:
        PAGE.write_text(wanted, encoding="utf-8")
    elif wanted != PAGE.read_text(encoding="utf-8"):
        sys.exit("docs/guide/options.md differs from protocol/spec/options.yaml; run nox -s generate")
