"""The errors of this package.

FlamewireError
├── SuiteError      a case, scenario, target or list of known failures is wrong; the message says where
├── WireError       bytes that are not what the wire says
└── TesteeError     a testee broke the contract, died or did not end in time
"""

from __future__ import annotations

__all__ = ["FlamewireError", "SuiteError", "TesteeError", "WireError"]


class FlamewireError(Exception):
    """The root of this package's errors."""


class SuiteError(FlamewireError):
    """The suite's own files are wrong."""


class WireError(FlamewireError):
    """Bytes that cannot be read; the message says what is wrong with them."""


class TesteeError(FlamewireError):
    """The testee did not keep its contract."""
