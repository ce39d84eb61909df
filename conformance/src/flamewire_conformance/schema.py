"""Reads mappings from YAML and TOML strictly: an unknown key is an error that says where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from flamewire_conformance.errors import SuiteError

__all__ = ["Fields"]

_T = TypeVar("_T")
_REQUIRED: Any = object()


class Fields:
    """A mapping whose keys are taken one by one; ``done()`` complains about those that are left.

    Args:
        where: names the file and place in messages.
        value: the mapping.

    Raises:
        SuiteError: it is no mapping.
    """

    def __init__(self, where: str, value: object) -> None:
        if not isinstance(value, Mapping):
            raise SuiteError(f"{where}: is no mapping but {type(value).__name__}")
        self.where = where
        self._left: dict[str, Any] = dict(value)

    def take(self, name: str, kind: type[_T], default: _T = _REQUIRED) -> _T:
        """Return the value of a key, checked to be of `kind`.

        Raises:
            SuiteError: it is missing without a default, or of another kind.
        """
        if name not in self._left:
            if default is _REQUIRED:
                raise SuiteError(f"{self.where}: lacks {name}")
            return default
        value: _T = self._left.pop(name)
        wrong = not isinstance(value, kind) or (
            isinstance(value, bool) and kind is not bool and kind is not object
        )
        if wrong:
            raise SuiteError(f"{self.where}: {name} is no {kind.__name__} but {value!r}")
        return value

    def texts(self, name: str, default: tuple[str, ...] = _REQUIRED) -> tuple[str, ...]:
        """Return a list of strings."""
        if name not in self._left and default is not _REQUIRED:
            return default
        values = self.take(name, list)
        if not all(isinstance(value, str) for value in values):
            raise SuiteError(f"{self.where}: {name} holds what is no text")
        return tuple(values)

    def choice(self, name: str, known: tuple[str, ...], default: str = _REQUIRED) -> str:
        """Return one of the known words."""
        value = self.take(name, str, default)
        if value not in known:
            raise SuiteError(f"{self.where}: {name} is {value!r}; known are {', '.join(known)}")
        return value

    def names(self) -> list[str]:
        """Return the keys that were not taken yet."""
        return list(self._left)

    def done(self) -> None:
        """Complain about keys that were not taken.

        Raises:
            SuiteError: there are some.
        """
        if self._left:
            raise SuiteError(f"{self.where}: knows no {', '.join(sorted(self._left))}")
