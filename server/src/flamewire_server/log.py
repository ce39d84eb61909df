"""Structured logs: one event per line on stderr, as text (logfmt) or JSON.

An event has a name that stays the same and fields that vary: `log.info("listening", url=...)`.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

__all__ = ["EventLog", "configure_logging"]

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_WORDS = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warn", logging.ERROR: "error"}


class EventLog:
    """Logs events with fields. Cheap when the level is off; any thread may call it."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **fields: object) -> None:
        """Log what only a developer wants to see."""
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Log a step in the server's life."""
        self._log(logging.INFO, event, fields)

    def warn(self, event: str, **fields: object) -> None:
        """Log what the operator should look at."""
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, *, exc: BaseException | None = None, **fields: object) -> None:
        """Log a failure; `exc` adds its traceback."""
        self._log(logging.ERROR, event, fields, exc)

    def _log(
        self, level: int, event: str, fields: dict[str, object], exc: BaseException | None = None
    ) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, extra={"fields": fields}, exc_info=exc)


def configure_logging(*, level: str, format: str) -> None:
    """Send every log record of the process to stderr in the given form. Idempotent."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if format == "json" else _TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])


def _fields(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, object]:
    stamp = (
        datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
    result: dict[str, object] = {"ts": stamp, "level": _WORDS.get(record.levelno, "error")}
    own = getattr(record, "fields", None)
    if own is None:
        # A record of a library: its text is not an event's name.
        result |= {"event": "log", "logger": record.name, "message": record.getMessage()}
    else:
        result |= {"event": record.getMessage(), **own}
    if record.exc_info:
        result["traceback"] = formatter.formatException(record.exc_info)
    return result


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(_fields(self, record), default=str, ensure_ascii=False)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{name}={_quote(value)}" for name, value in _fields(self, record).items())


def _quote(value: object) -> str:
    text = str(value)
    plain = text and all(character.isprintable() and character not in ' "=' for character in text)
    return text if plain else json.dumps(text, ensure_ascii=False)
