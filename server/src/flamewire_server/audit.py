"""The audit log: one line for each thing that an operator did to a data folder, kept beside the data."""

from __future__ import annotations

import getpass
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from flamewire_server.errors import ConfigError

__all__ = ["AUDIT_FILE", "audit"]

AUDIT_FILE: Final = "audit.log"


def audit(data_dir: Path, verb: str, **fields: object) -> None:
    """Append a line: calendar time, who ran the command, what it did. Durable on return; secrets are no
    fields.

    Raises:
        ConfigError: the line cannot be written.
    """
    record = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "user": _user(), "verb": verb}
    line = json.dumps({**record, **fields}, ensure_ascii=False) + "\n"
    path = data_dir / AUDIT_FILE
    try:
        # One write of a line this short is not mixed with another process's.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user needs no entry in the table of users.
        return str(os.getuid())
