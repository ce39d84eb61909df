"""The page of the reference says what the table of options says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
TABLE = ROOT / "protocol" / "spec" / "options.yaml"
PAGE = ROOT / "docs" / "reference" / "python.md"

pytestmark = pytest.mark.skipif(not (TABLE.exists() and PAGE.exists()), reason="needs the whole checkout")


def row_of(option: dict[str, Any]) -> str:
    variables = " ".join(f"`{name}`" for name in (option["environment"], *option["aliases"]))
    text = option["text"].rstrip(".")
    if "minimum" in option:
        text += f" ({option['minimum']} to {option['maximum']})"
    return f"| `{option['name']}` | {written(option['default'])} | {variables} | {text} |"


def written(default: object) -> str:
    if isinstance(default, list):
        return "`(" + ", ".join(f'"{entry}"' for entry in default) + ",)`"
    return "" if default is None or default == {} else f"`{default}`"


def test_each_option_has_its_row_in_the_order_of_the_table() -> None:
    options = yaml.safe_load(TABLE.read_text(encoding="utf-8"))["options"]
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if "`FLAMEWIRE_" in line]
    assert rows == [row_of(option) for option in options]
