"""What is asked for, and the answers that need no waiting; shared by the WSGI and the ASGI application."""

from __future__ import annotations

import gzip
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from flamewire.default import running_session

if TYPE_CHECKING:
    from flamewire.session import Session

__all__ = ["Pull", "Reply", "Seats", "belongs_here", "profile_reply", "question"]

_PREFIXES: Final = ("/debug/pprof", "/debug/fgprof")
# The names of Go's net/http/pprof, and of fgprof, which scrapers ask for.
_PROFILE_TYPES: Final = {"profile": "cpu", "wall": "wall", "fgprof": "wall"}
_DEFAULT_S: Final = 30.0
_SHORTEST_S: Final = 0.1
_TEXT: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: HTTP status with its reason, headers, body."""

    status: str
    body: bytes
    content_type: str = _TEXT
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def all_headers(self) -> list[tuple[str, str]]:
        """Every header that is sent."""
        return [
            ("Content-Type", self.content_type),
            ("Content-Length", str(len(self.body))),
            ("X-Content-Type-Options", "nosniff"),
            *self.headers,
        ]


@dataclass(frozen=True, slots=True)
class Pull:
    """A profile that is to be recorded."""

    session: Session
    profile_type: str
    duration_s: float


@dataclass(slots=True)
class Seats:
    """How many may wait for a profile at once."""

    left: int
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def one(self) -> Iterator[bool]:
        """Take a seat, if one is left, for the block; says whether it was."""
        with self._lock:
            taken = self.left > 0
            self.left -= taken
        try:
            yield taken
        finally:
            with self._lock:
                self.left += taken


FULL: Final = Reply(
    "429 Too Many Requests",
    b"too many profiles are being pulled at once; try again later\n",
    headers=(("Retry-After", "10"),),
)


def belongs_here(path: str) -> bool:
    """Tell whether a path is one that scrapers ask for a profile."""
    return any(path == prefix or path.startswith(prefix + "/") for prefix in _PREFIXES)


def question(
    method: str, path: str, query: str, *, session: Session | None, max_seconds: float
) -> Pull | Reply:
    """Return what is to be recorded, or the answer where nothing is.

    Args:
        method: of HTTP.
        path: as the client sent it; only its last part counts, so that the application can be mounted
            anywhere.
        query: the query string.
        session: which one; None: the default session of the process.
        max_seconds: longest recording.
    """
    if method not in ("GET", "HEAD"):
        return Reply("405 Method Not Allowed", b"only GET\n", headers=(("Allow", "GET, HEAD"),))
    name = path.rstrip("/").rpartition("/")[2]
    if name in ("", "pprof"):
        return _index(session)
    profile_type = _PROFILE_TYPES.get(name)
    if profile_type is None:
        return _text("404 Not Found", f"there is no profile {name!r} of Python; see the index, /debug/pprof/")
    seconds = _seconds(query, max_seconds)
    if seconds is None:
        limits = f"{_SHORTEST_S:g} to {max_seconds:g}"
        return _text("400 Bad Request", f"seconds is a number from {limits}, such as ?seconds=10")
    chosen = session if session is not None else running_session()
    if chosen is None or not chosen.running:
        return _text("503 Service Unavailable", "no session runs in this process; call flamewire.start()")
    if chosen.status().state == "paused":
        return _text("503 Service Unavailable", "the session is paused; call flamewire.resume()")
    if profile_type not in chosen.options.profile_types:
        needed = f'start it with profile_types=("cpu", "{profile_type}")'
        return _text("404 Not Found", f"the session does not gather {profile_type} profiles; {needed}")
    return Pull(chosen, profile_type, seconds)


def profile_reply(pprof: bytes, name: str) -> Reply:
    """Return the answer that holds a profile. The gzip belongs to the file, so no header speaks of it."""
    return Reply(
        "200 OK",
        gzip.compress(pprof, 6, mtime=0),
        "application/octet-stream",
        (("Content-Disposition", f'attachment; filename="{name}"'), ("Cache-Control", "no-store")),
    )


def _seconds(query: str, max_seconds: float) -> float | None:
    given = parse_qs(query, keep_blank_values=True).get("seconds")
    if given is None:
        return min(_DEFAULT_S, max_seconds)
    try:
        seconds = float(given[-1])
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and _SHORTEST_S <= seconds <= max_seconds else None


def _index(session: Session | None) -> Reply:
    chosen = session if session is not None else running_session()
    types = chosen.options.profile_types if chosen is not None else ()
    rows = [
        f'<li><a href="{name}?seconds=10">{name}</a>: {profile_type} time</li>'
        for name, profile_type in (("profile", "cpu"), ("wall", "wall"))
        if profile_type in types
    ]
    found = f"<ul>{''.join(rows)}</ul>" if rows else "<p>No session runs in this process.</p>"
    page = f"<!doctype html><title>/debug/pprof/</title><h1>Profiles of this process</h1>{found}"
    return Reply("200 OK", page.encode(), "text/html; charset=utf-8")


def _text(status: str, words: str) -> Reply:
    return Reply(status, f"{words}\n".encode())
