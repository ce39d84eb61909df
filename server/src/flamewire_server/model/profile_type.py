"""Profile types: `family:sample_type:sample_unit:period_type:period_unit`."""

from __future__ import annotations

from dataclasses import dataclass

from flamewire_server.errors import RequestError

__all__ = ["ProfileType"]


@dataclass(frozen=True, slots=True)
class ProfileType:
    """A profile type in its parts."""

    name: str
    sample_type: str
    sample_unit: str
    period_type: str
    period_unit: str

    @classmethod
    def parse(cls, text: str) -> ProfileType:
        """Read a profile type ID.

        Raises:
            RequestError: it has not five parts.
        """
        parts = text.split(":")
        # Clients of old name a sixth part, "delta", that says nothing here.
        if len(parts) == 6 and parts[5] == "delta":
            parts.pop()
        if len(parts) != 5 or not parts[0]:
            raise RequestError(
                "invalid_argument",
                f"{text!r} is no profile type; write name:sample_type:sample_unit:period_type:period_unit,"
                " as in process_cpu:cpu:nanoseconds:cpu:nanoseconds (ProfileTypes lists those stored)",
                reason="bad_profile_type",
            )
        return cls(*parts)

    def __str__(self) -> str:
        return ":".join((self.name, self.sample_type, self.sample_unit, self.period_type, self.period_unit))
