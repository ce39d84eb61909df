"""Which profiles a query is about."""

from __future__ import annotations

from dataclasses import dataclass

from flamewire_server._native import QueryGuard
from flamewire_server.errors import RequestError
from flamewire_server.model.profile_type import ProfileType
from flamewire_server.model.selector import Selector, parse_selector
from flamewire_server.model.time_range import TimeRange

__all__ = ["ProfileSelection"]


@dataclass(frozen=True, slots=True)
class ProfileSelection:
    """Whose profiles, with which labels, from when to when; validated.

    Several tenants are read as if their profiles were one tenant's. The guard ends a query that takes too
    long, or that nobody waits for any more.
    """

    tenants: tuple[str, ...]
    selector: Selector
    time_range: TimeRange
    guard: QueryGuard | None = None

    @classmethod
    def parse(
        cls,
        tenants: tuple[str, ...],
        profile_type: str,
        selector: str,
        time_range: TimeRange,
        guard: QueryGuard | None = None,
    ) -> ProfileSelection:
        """Read a request's profile type and selector; the type may also stand in the selector.

        Raises:
            RequestError: one of them does not parse, or no profile type is given.
        """
        parsed = parse_selector(selector)
        if profile_type:
            kind = str(ProfileType.parse(profile_type))
            parsed = Selector((*parse_selector(kind).matchers, *parsed.matchers))
        elif parsed.profile_type is None:
            raise RequestError(
                "invalid_argument",
                "no profile type: give profile_typeID, or write it before the braces of the selector",
                reason="bad_profile_type",
            )
        return cls(tenants, parsed, time_range, guard)

    @property
    def profile_type(self) -> ProfileType:
        """The one profile type.

        Raises:
            RequestError: the selector leaves it open.
        """
        return ProfileType.parse(self.selector.profile_type or "")
