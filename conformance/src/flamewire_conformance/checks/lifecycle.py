"""Expectations about how the testee's process fared."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Mapping
from typing import Any

from flamewire_conformance.evidence import Evidence

__all__ = ["ends", "ends_within_s", "error"]


def error(evidence: Evidence, want: Mapping[str, Any]) -> Iterator[str]:
    """{stage, message}: the SDK raised at that stage, with a message in which the pattern is found."""
    story = evidence.story
    if story.error is None:
        yield f"nothing was raised at {want['stage']}"
        return
    if story.error.get("stage") != want["stage"]:
        stage, message = story.error.get("stage"), story.error.get("message")
        yield f"it was raised at {stage}, not at {want['stage']}: {message}"
    if not re.search(want.get("message", ""), str(story.error.get("message"))):
        yield f"the message does not name {want['message']}: {story.error.get('message')}"


def ends(evidence: Evidence, want: int | str) -> Iterator[str]:
    """An exit code, or the name of the signal that the parent has to see."""
    code = evidence.story.exit_code
    wanted = want if isinstance(want, int) else -signal.Signals[want]
    if code != wanted:
        yield f"the process ended with {code}, not {wanted}"


def ends_within_s(evidence: Evidence, want: float) -> Iterator[str]:
    """The process ends within so many seconds after its work; a deadline, no measurement."""
    if evidence.story.stop_s > want:
        yield f"the process ended {evidence.story.stop_s:.1f} s after its work, {want} s at most are allowed"
