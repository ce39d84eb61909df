"""Where the suite, its builds and its results are."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from flamewire_conformance.targets import Target

__all__ = ["Places"]


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are.

    Attributes:
        suite: cases, scenarios and testees.
        state: environments that targets build.
        out: artefacts of failures.
        python: the interpreter of targets that use ``{python}``.
    """

    suite: Path
    state: Path
    out: Path
    python: str = field(default=sys.executable)

    def fill(self, text: str, target: Target) -> str:
        """Replace the placeholders of target.toml."""
        values = {
            "suite": self.suite,
            "here": target.folder,
            "env": self.state / target.name,
            "python": self.python,
        }
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", str(value))
        return text
