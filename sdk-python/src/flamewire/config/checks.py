"""Checks a given value and turns it into the type of its option.

Each check raises ValueError with words that continue "<option>=<value> ..." and say what to write.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from flamewire.config.options import PROFILE_TYPES

__all__ = [
    "choice",
    "flag",
    "folder",
    "header_text",
    "headers",
    "integer",
    "key_file",
    "pem_file",
    "profile_types",
    "proxy_url",
    "ratio",
    "seconds",
    "tags",
    "text",
    "url",
    "without_surrogates",
]


def text(value: Any) -> str:
    """Accept a string that holds something and no control character."""
    if not isinstance(value, str):
        raise ValueError(f"is a {type(value).__name__}; give a string")
    if not value or value.isspace():
        raise ValueError("is empty; leave it out or give a value")
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in value):
        raise ValueError("has a control character in it; remove that")
    return without_surrogates(value)


def without_surrogates(text: str) -> str:
    """Replace what UTF-8 cannot carry."""
    return text.encode("utf-8", "replace").decode("utf-8")


def header_text(value: Any) -> str:
    """Accept what can be the value of an HTTP header."""
    checked = text(value)
    try:
        checked.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError("cannot be sent in an HTTP header; use Latin-1 characters only") from None
    return checked


def integer(low: int, high: int) -> Callable[[Any], int]:
    """Return a check for whole numbers from low to high."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"is not a whole number; give one between {low} and {high}")
        if not low <= value <= high:
            raise ValueError(f"is out of range; give a whole number between {low} and {high}")
        return value

    return check


def seconds(low: float, high: float) -> Callable[[Any], float]:
    """Return a check for durations from low to high, seconds."""

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"is not a number of seconds; give one between {low:g} and {high:g}")
        if not low <= value <= high:
            raise ValueError(f"is out of range; give seconds between {low:g} and {high:g}")
        return float(value)

    return check


def ratio(value: Any) -> float:
    """Accept a share, 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise ValueError("is not a share; give a number between 0 and 1, such as 0.1 for a tenth")
    return float(value)


def url(value: Any) -> str:
    """Accept the address of a server; a slash at its end is dropped."""
    address = text(value).rstrip("/")
    try:
        parts = urlsplit(address)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        port_is_valid = False
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_valid or " " in address:
        raise ValueError("is not a server address; write it like http://localhost:4040 or https://host/path")
    if parts.username is not None:
        raise ValueError("has credentials in it; use basic_auth_user and basic_auth_password")
    if parts.query or parts.fragment:
        raise ValueError("has a query or fragment; give scheme, host, port and path only")
    return address


def proxy_url(value: Any) -> str:
    """Accept the address of a proxy, which may hold its credentials."""
    address = text(value).rstrip("/")
    try:
        parts = urlsplit(address)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or " " in address:
        raise ValueError("is not a proxy's address; write it like http://proxy:3128")
    return address


def pem_file(value: Any) -> str:
    """Accept the path of a file that can be read and holds PEM."""
    path = os.path.abspath(text(os.fspath(value) if isinstance(value, os.PathLike) else value))
    try:
        with open(path, "rb") as file:
            head = file.read(1 << 20)
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror}); give the path of a PEM file") from None
    if b"-----BEGIN " not in head:
        raise ValueError("is no PEM file; convert it, for instance with openssl x509 -outform pem")
    return path


def key_file(value: Any) -> str:
    """Accept the path of a private key that needs no passphrase: OpenSSL would ask the terminal for it."""
    path = pem_file(value)
    with open(path, "rb") as file:
        if b"ENCRYPTED" in file.read(1 << 20):
            raise ValueError("needs a passphrase; give a key without one, readable by this user alone")
    return path


def folder(value: Any) -> str:
    """Accept the path of a folder; it need not be there yet."""
    return os.path.abspath(text(os.fspath(value) if isinstance(value, os.PathLike) else value))


def choice(known: tuple[str, ...]) -> Callable[[Any], str]:
    """Return a check for one of the known words."""

    def check(value: Any) -> str:
        if value not in known:
            raise ValueError(f"is not known; give one of {', '.join(known)}")
        return str(value)

    return check


def profile_types(value: Any) -> tuple[str, ...]:
    """Accept names of profile types; each counts once."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError('is not a sequence of names; write ("cpu",)')
    names = tuple(dict.fromkeys(value))
    if not names:
        raise ValueError("is empty; name a profile type, or give enabled=False to switch profiling off")
    unknown = [name for name in names if name not in PROFILE_TYPES]
    if unknown:
        raise ValueError(f"has {unknown[0]!r}, which is not known; known are: {', '.join(PROFILE_TYPES)}")
    return names


def tags(value: Any) -> Mapping[str, str]:
    """Accept tags; their values become strings."""
    if not isinstance(value, Mapping):
        raise ValueError('is not a mapping; write {"region": "eu"}')
    checked: dict[str, str] = {}
    for name, tag in value.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"has the name {name!r}; a tag's name is a string that is not empty")
        if name.startswith("__") or name == "service_name":
            raise ValueError(f"has the name {name!r}, which is reserved; choose another name")
        checked[without_surrogates(name)] = without_surrogates(str(tag))
    return MappingProxyType(checked)


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def headers(value: Any) -> Mapping[str, str]:
    """Accept HTTP headers."""
    if not isinstance(value, Mapping):
        raise ValueError('is not a mapping; write {"X-Team": "shop"}')
    checked: dict[str, str] = {}
    for name, text in value.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"has the name {name!r}, which is no HTTP header name")
        try:
            checked[name] = header_text(text)
        except ValueError as error:
            raise ValueError(f"has a value for {name} that {error}") from None
    return MappingProxyType(checked)


def flag(value: Any) -> bool:
    """Accept True and False."""
    if not isinstance(value, bool):
        raise ValueError("is neither True nor False")
    return value
