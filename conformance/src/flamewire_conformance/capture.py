"""Recordings: `request-N.json` tells how a request was addressed and answered, `.body` is what it brought."""

from __future__ import annotations

import json
from pathlib import Path

from flamewire_conformance.errors import SuiteError
from flamewire_conformance.wire import Request

__all__ = ["read_capture", "write_request"]


def write_request(folder: Path, number: int, request: Request) -> None:
    """Write one request."""
    about = {
        "method": request.method,
        "path": request.path,
        "headers": dict(request.headers),
        "answered": request.status,
        "stored": request.stored,
        "received_unix_ns": request.received_unix_ns,
    }
    (folder / f"request-{number}.body").write_bytes(request.body)
    (folder / f"request-{number}.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def read_capture(folder: Path) -> list[Request]:
    """Read the requests of a folder, in their order.

    Raises:
        SuiteError: a file is missing or wrong.
    """
    found: list[tuple[int, Request]] = []
    for path in folder.glob("request-*.json"):
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            body = path.with_suffix(".body").read_bytes()
            number = int(path.stem.removeprefix("request-"))
            request = Request(
                method=about["method"], path=about["path"], headers=dict(about["headers"]), body=body,
                received_unix_ns=int(about["received_unix_ns"]), status=about["answered"],
                stored=bool(about["stored"]),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SuiteError(f"{path}: {error!r}") from error
        found.append((number, request))
    return [request for _, request in sorted(found, key=lambda one: one[0])]
