"""Leaves these tests out where the servers are not installed; the group `sdk-frameworks` brings them."""

from __future__ import annotations

import importlib.util

if any(importlib.util.find_spec(name) is None for name in ("gunicorn", "uvicorn", "flamewire._native")):
    collect_ignore_glob = ["test_*.py"]
