"""Asks a server of querier.v1, ours or another, with the address and secrets of a session's options."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any, Final

from flamewire.errors import QueryError
from flamewire.export.transport import open_session

if TYPE_CHECKING:
    import requests

    from flamewire.config import Options

__all__ = ["Querier", "TimeRange", "full_profile_type", "parse_range"]

_SERVICE: Final = "/querier.v1.QuerierService/"
_TIMEOUT_S: Final = 120.0
_RELATIVE: Final = re.compile(r"now(?:-(\d{1,9})([smhdw]))?")
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

TimeRange = tuple[int, int]
"""Start and end, milliseconds since 1970, calendar clock, both inclusive."""


class Querier:
    """One server. Methods block, and raise QueryError where it does not answer as it should."""

    def __init__(self, options: Options) -> None:
        self._url = options.server_url.rstrip("/")
        self._session = open_session(options)
        # Those of a push say what its body is.
        for name in ("Content-Type", "Content-Encoding"):
            self._session.headers.pop(name, None)

    def ask(self, method: str, **fields: object) -> dict[str, Any]:
        """Call a method of the querier, in JSON."""
        import requests

        try:
            response = self._session.post(
                f"{self._url}{_SERVICE}{method}",
                data=json.dumps(fields).encode(),
                headers={"Content-Type": "application/json"},
                timeout=_TIMEOUT_S,
            )
        except requests.exceptions.RequestException as error:
            raise QueryError(f"{self._url} does not answer: {error}") from error
        _check(response)
        try:
            answer = response.json()
        except ValueError as error:
            raise QueryError(f"{self._url} does not speak querier.v1: {error}") from error
        return dict(answer)

    def fetch(self, path: str, **parameters: str) -> bytes:
        """Get a document of the server's own endpoints."""
        import requests

        try:
            response = self._session.get(f"{self._url}{path}", params=parameters, timeout=_TIMEOUT_S)
        except requests.exceptions.RequestException as error:
            raise QueryError(f"{self._url} does not answer: {error}") from error
        _check(response)
        return response.content


def _check(response: requests.Response) -> None:
    if response.status_code == 200:
        return
    try:
        words = response.json()["message"]
    except (ValueError, KeyError, TypeError):
        words = response.reason
    raise QueryError(f"the server refuses ({response.status_code}): {words}")


def parse_range(start: str, end: str) -> TimeRange:
    """Read both ends: `now`, `now-15m`, or seconds since 1970.

    Raises:
        QueryError: one is none of these.
    """
    return _parse_ms(start), _parse_ms(end)


def _parse_ms(text: str) -> int:
    match = _RELATIVE.fullmatch(text)
    if match:
        ago_s = int(match[1]) * _UNIT_S[match[2]] if match[1] else 0
        return int((time.time() - ago_s) * 1000)
    if re.fullmatch(r"\d{1,11}", text):
        return int(text) * 1000
    raise QueryError(f"{text!r} is no time; give now, now-15m (s, m, h, d, w), or seconds since 1970")


def full_profile_type(querier: Querier, wanted: str, time_range: TimeRange) -> str:
    """Complete a profile type that is given as a word, such as `cpu`, by what the server has.

    Raises:
        QueryError: it has none or several that fit.
    """
    if wanted.count(":") == 4:
        return wanted
    start, end = time_range
    known = [one["ID"] for one in querier.ask("ProfileTypes", start=start, end=end).get("profileTypes", [])]
    fitting = [kind for kind in known if wanted in kind.split(":")[:2]]
    exact = [kind for kind in fitting if kind.split(":")[1] == wanted] or fitting
    if len(exact) != 1:
        words = "several types" if exact else "no type"
        names = ", ".join(exact or known) or "none"
        raise QueryError(f"the server has {words} for {wanted!r}; it has: {names}")
    return str(exact[0])
