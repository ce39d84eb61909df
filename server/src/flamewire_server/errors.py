"""The errors of the server.

FlamewireError
├── ConfigError          the configuration is wrong; the server does not start
├── StorageError         the disk or the catalog failed; the request may be sent again
└── RequestError         the request is refused; carries a Connect code
    ├── SelectorError    a label selector does not parse
    └── OverloadedError  the server is busy or stopping; the request may be sent again
"""

from __future__ import annotations

from typing import Literal

Code = Literal[
    "invalid_argument",
    "unauthenticated",
    "permission_denied",
    "not_found",
    "deadline_exceeded",
    "resource_exhausted",
    "unimplemented",
    "unavailable",
    "internal",
]

__all__ = [
    "Code",
    "ConfigError",
    "FlamewireError",
    "OverloadedError",
    "RequestError",
    "SelectorError",
    "StorageError",
]


class FlamewireError(Exception):
    """The root: everything that the server raises on purpose."""


class ConfigError(FlamewireError):
    """The configuration cannot be used; the message names the setting, its source and what it may be."""


class StorageError(FlamewireError):
    """The disk or the catalog failed. Nothing was acknowledged; nothing half-written is visible.

    Args:
        message: what failed, and with which words of the system.
        uncertain: a commit may be found done after a restart (its fsync failed), so its files must stay.
    """

    def __init__(self, message: str, *, uncertain: bool = False) -> None:
        super().__init__(message)
        self.uncertain = uncertain


class RequestError(FlamewireError):
    """A request that is refused.

    Args:
        code: Connect code; decides the HTTP status.
        message: what is wrong with which value, and what to do.
        reason: short word for the metric that counts refusals.
        status: HTTP status where it is not the code's own (413 for a body that is too large).
        retry_after_s: when the client may send the same request again; None: never.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        reason: str,
        status: int | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.status = status
        self.retry_after_s = retry_after_s


class SelectorError(RequestError):
    """A label selector that does not parse; the message points at the character."""

    def __init__(self, message: str) -> None:
        super().__init__("invalid_argument", message, reason="bad_selector")


class OverloadedError(RequestError):
    """The server cannot take the request now."""

    def __init__(self, code: Code, message: str, *, reason: str, retry_after_s: int = 1) -> None:
        super().__init__(code, message, reason=reason, retry_after_s=retry_after_s)
