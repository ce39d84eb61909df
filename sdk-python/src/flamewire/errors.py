"""The errors of the package, drawn once.

    FlamewireError
    ├── ConfigurationError (also ValueError)   an option cannot be used; the message says what to write
    ├── AlreadyStartedError                    start() with other options while a session runs
    ├── EngineError                            an engine cannot run here; the message says why
    ├── ProfileFileError                       a file to be shown is no profile (the command ``view`` alone)
    └── QueryError                             a server does not answer a query (``query`` and ``top`` alone)

Only ``start()`` raises the others. Once it has returned, nothing of this package raises into the host.
"""

from __future__ import annotations

__all__ = [
    "AlreadyStartedError",
    "ConfigurationError",
    "EngineError",
    "FlamewireError",
    "ProfileFileError",
    "QueryError",
]


class FlamewireError(Exception):
    """The root of everything that this package raises."""


class ConfigurationError(FlamewireError, ValueError):
    """An option has a value that cannot be used."""


class AlreadyStartedError(FlamewireError):
    """A session with other options runs in this process already."""


class EngineError(FlamewireError):
    """The engine cannot run on this interpreter, platform or process."""


class ProfileFileError(FlamewireError):
    """A file that is to be shown holds no profile that can be read."""


class QueryError(FlamewireError):
    """A server refuses a query, or does not answer it as it should."""
