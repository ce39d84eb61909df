"""API keys: each names a tenant and what it may do. The file holds hashes only.

A key is `fw_<id>_<secret>`: the id finds the entry, the secret has 256 random bits, so that one SHA-256 is as
good as a slow hash. A server looks at the file again each second: a key that is added or removed needs no
restart.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from flamewire_server.errors import ConfigError, RequestError
from flamewire_server.log import EventLog
from flamewire_server.model.tenant import parse_tenant

__all__ = [
    "KEYS_FILE",
    "SCOPES",
    "ApiKey",
    "KeyRing",
    "Scope",
    "add_key",
    "key_of_headers",
    "read_keys",
    "remove_key",
]

Scope = Literal["push", "read", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
KEYS_FILE: Final = "keys.json"
_KEY = re.compile(r"fw_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_RECHECK_S = 1.0
_log = EventLog(__name__)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What the file knows of a key."""

    id: str
    tenant: str
    scopes: tuple[Scope, ...]
    name: str
    secret_sha256: str


def read_keys(path: Path) -> list[ApiKey]:
    """Read the keys of a file.

    Raises:
        ConfigError: it cannot be read, or is no file of keys.
    """
    try:
        entries = json.loads(path.read_bytes())["keys"]
        keys = [ApiKey(**{**entry, "scopes": tuple(entry["scopes"])}) for entry in entries]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read as a file of keys: {error}") from error
    for key in keys:
        if not set(key.scopes) <= set(SCOPES):
            raise ConfigError(f"{path}: key {key.id} has a scope that is none of {', '.join(SCOPES)}")
    return keys


def add_key(path: Path, *, tenant: str, scopes: Sequence[Scope], name: str) -> tuple[ApiKey, str]:
    """Make a key and add it to the file, durable on return.

    Returns:
        The entry, and the key itself, which is kept nowhere.

    Raises:
        ConfigError: the tenant is none, or the file cannot be used.
    """
    try:
        parse_tenant(tenant, multitenancy=True)
    except RequestError as error:
        raise ConfigError(f"{tenant!r} is no tenant: {error.message}") from error
    secret = secrets.token_urlsafe(32)
    key = ApiKey(secrets.token_hex(6), tenant, tuple(scopes), name, _digest(secret))
    with _writing(path):
        _write(path, [*read_keys(path), key])
    return key, f"fw_{key.id}_{secret}"


def remove_key(path: Path, key_id: str) -> bool:
    """Take a key out of the file; says whether it was there. Without any key left the server lets nobody in.

    Raises:
        ConfigError: the file cannot be used.
    """
    if not path.exists():
        return False
    with _writing(path):
        keys = read_keys(path)
        kept = [key for key in keys if key.id != key_id]
        if len(kept) < len(keys):
            _write(path, kept)
    return len(kept) < len(keys)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Keep other writers away, so that no key of theirs is lost."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise ConfigError(f"cannot use {path.parent}: {error.strerror}") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, keys: Sequence[ApiKey]) -> None:
    text = json.dumps({"keys": [asdict(key) for key in keys]}, indent=1)
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def key_of_headers(headers: Mapping[str, str]) -> str | None:
    """Find the key that a request shows: as a Bearer token, or as the password of Basic with any user."""
    scheme, _, credentials = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return None
    return None


class KeyRing:
    """The keys of a file as a running server knows them.

    Once there was a file, keys are needed until the server ends: one that is gone or broken lets nobody in.

    Raises:
        ConfigError: the file is there and cannot be read.
    """

    def __init__(self, path: Path, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock_s = clock_s
        self._stamp = _stamp(path)
        self._keys = {key.id: key for key in read_keys(path)}
        self._needed = self._stamp is not None
        self._checked_s = clock_s()

    @property
    def is_needed(self) -> bool:
        """Whether a request must show a key."""
        self._look_again()
        return self._needed

    def find(self, text: str) -> ApiKey | None:
        """Find the entry of a key, None where it is not one of these."""
        self._look_again()
        match = _KEY.fullmatch(text)
        known = self._keys.get(match[1]) if match else None
        if match is None or known is None:
            return None
        return known if hmac.compare_digest(_digest(match[2]), known.secret_sha256) else None

    def _look_again(self) -> None:
        now_s = self._clock_s()
        if now_s - self._checked_s < _RECHECK_S:
            return
        self._checked_s = now_s
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        self._needed = True
        try:
            self._keys = {key.id: key for key in read_keys(self._path)}
            _log.info("keys_loaded", keys=len(self._keys))
        except ConfigError as error:
            self._keys = {}
            _log.error("keys_unreadable", reason=str(error))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError:
        return (0, 0, 0)
    return found.st_mtime_ns, found.st_size, found.st_ino


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
