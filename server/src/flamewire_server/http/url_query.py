"""What the URL of a GET request says of a query."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from flamewire_server._native import QueryGuard
from flamewire_server.config import Config
from flamewire_server.errors import RequestError
from flamewire_server.http.ranges import check_range, frame_limit, parse_range
from flamewire_server.model.selector import parse_selector
from flamewire_server.query.selection import ProfileSelection

__all__ = ["UrlQuery", "bad_parameter"]


@dataclass(frozen=True, slots=True)
class UrlQuery:
    """The parameters of a request, whose profiles it reads, and what ends it early."""

    config: Config
    tenants: tuple[str, ...]
    parameters: Mapping[str, str]
    guard: QueryGuard

    def get(self, name: str, default: str = "") -> str:
        """Give a parameter as it is."""
        return self.parameters.get(name, default)

    def choice(self, name: str, *choices: str) -> str:
        """Give a parameter that must be one of the choices; absent, it is the first.

        Raises:
            RequestError: it is another one.
        """
        value = self.parameters.get(name, choices[0])
        if value not in choices:
            raise bad_parameter(name, " or ".join(choices))
        return value

    def selection(self, selector: str = "query", start: str = "from", end: str = "until") -> ProfileSelection:
        """Read selector and range from parameters of these names; the profile type stands in the selector.

        Raises:
            RequestError: one of them is none, or the range is too long.
        """
        text = self.get(selector)
        if not text:
            raise bad_parameter(selector, "a profile type and a selector")
        time_range = parse_range(self.get(start, "now-1h"), self.get(end, "now"))
        kind = parse_selector(text).profile_type or ""
        return ProfileSelection.parse(
            self.tenants, kind, text, check_range(self.config, time_range), self.guard
        )

    def sides(self) -> tuple[ProfileSelection, ProfileSelection]:
        """Read the two selections of a comparison: leftQuery, leftFrom, leftUntil, and of the right.

        Raises:
            RequestError: one is none, or they are of different profile types.
        """
        left, right = (
            self.selection(f"{side}Query", f"{side}From", f"{side}Until") for side in ("left", "right")
        )
        if left.selector.profile_type != right.selector.profile_type:
            raise RequestError(
                "invalid_argument",
                "leftQuery and rightQuery are of different profile types; compare one with itself",
                reason="bad_profile_type",
            )
        return left, right

    def max_nodes(self, default: int = 0) -> int:
        """Read how many frames are wanted; `default` 0 is the operator's.

        Raises:
            RequestError: it is no number, or too large a one.
        """
        text = self.get("max-nodes") or self.get("maxNodes") or "0"
        if not re.fullmatch(r"\d{1,9}", text):
            raise bad_parameter("max-nodes", f"a number up to {self.config.max_flamegraph_nodes}")
        return frame_limit(self.config, int(text), default)


def bad_parameter(name: str, wanted: str) -> RequestError:
    """Make the refusal of a parameter."""
    return RequestError("invalid_argument", f"the parameter {name} must be {wanted}", reason="bad_parameter")
