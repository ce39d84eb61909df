"""Label sets: sorted (name, value) pairs, immutable."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["PROFILE_TYPE", "SERVICE_NAME", "Labels", "is_legacy_name"]

SERVICE_NAME = "service_name"
PROFILE_TYPE = "__profile_type__"
_LEGACY = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class Labels:
    """The labels of one series; a label that is absent has the empty value, as in PromQL."""

    __slots__ = ("_values", "pairs")

    def __init__(self, pairs: tuple[tuple[str, str], ...]) -> None:
        self.pairs = pairs
        self._values = dict(pairs)

    def get(self, name: str) -> str:
        """Give the label's value, "" where it is absent."""
        return self._values.get(name, "")

    def names(self) -> Iterable[str]:
        """Give the names, sorted."""
        return self._values.keys()

    def project(self, names: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """Keep the labels with these names, sorted by name; absent ones stay absent."""
        wanted = set(names)
        return tuple(pair for pair in self.pairs if pair[0] in wanted)


def is_legacy_name(name: str) -> bool:
    """Say whether a label name is of the charset that clients without UTF-8 support can take."""
    return _LEGACY.fullmatch(name) is not None
