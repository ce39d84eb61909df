"""Turns the text of an environment variable into what the check of its option takes; raises ValueError."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

__all__ = ["read_flag", "read_integer", "read_list", "read_number", "read_pairs", "read_seconds"]


def read_integer(text: str) -> int:
    """Read a whole number."""
    try:
        return int(text)
    except ValueError:
        raise ValueError("is not a whole number") from None


def read_number(text: str) -> float:
    """Read a share."""
    try:
        return float(text)
    except ValueError:
        raise ValueError("is not a number; write a share between 0 and 1, such as 0.1") from None


_DURATION = re.compile(r"([0-9]*\.?[0-9]+)\s*(ms|s|m|h)?")
_SECONDS_PER_UNIT = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0}


def read_seconds(text: str) -> float:
    """Read seconds, or a number with its unit (``500ms``, ``10s``, ``5m``, ``1h``)."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError("is not a duration; write seconds, for example 10 or 10s")
    return float(match[1]) * _SECONDS_PER_UNIT[match[2]]


def read_flag(text: str) -> bool:
    """Read true/false, 1/0, yes/no or on/off, in any case."""
    word = text.strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ValueError("is neither true nor false")


def read_list(text: str) -> tuple[str, ...]:
    """Read ``a,b``."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def read_pairs(text: str) -> Mapping[str, str]:
    """Read ``k=v,k=v`` or a JSON object of strings."""
    if text.lstrip().startswith("{"):
        try:
            pairs = json.loads(text)
        except ValueError:
            raise ValueError("looks like JSON and is not; write k=v,k=v") from None
        return {str(name): str(value) for name, value in pairs.items()}
    found: dict[str, str] = {}
    for part in read_list(text):
        name, sign, value = part.partition("=")
        if not sign:
            raise ValueError(f"has {part!r} in it; write k=v,k=v")
        found[name.strip()] = value.strip()
    return found
