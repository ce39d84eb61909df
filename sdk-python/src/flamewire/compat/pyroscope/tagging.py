"""Dynamic tags by pyroscope-io's names; they are of the current context, not of the thread."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

from flamewire.scope import tags as flamewire_tags

__all__ = ["add_thread_tag", "remove_thread_tag", "tag_wrapper"]

_Entered = tuple[tuple[str, str, flamewire_tags], ...]

# What add_thread_tag entered in this context and remove_thread_tag has not left.
_entered: ContextVar[_Entered] = ContextVar("flamewire_compat_tags", default=())


def tag_wrapper(tags: Mapping[str, object]) -> flamewire_tags:
    """Return ``flamewire.tags``: a context manager, and a decorator for functions and coroutine functions."""
    return flamewire_tags(**{str(name): value for name, value in tags.items()})


def add_thread_tag(key: str, value: object) -> None:
    """Tag what runs in this context (thread, asyncio task) from now on, until ``remove_thread_tag``."""
    name, text = str(key), str(value)
    tag = flamewire_tags(**{name: text})
    tag.__enter__()
    _entered.set((*_entered.get(), (name, text, tag)))


def remove_thread_tag(key: str, value: object) -> None:
    """Take back what ``add_thread_tag`` set in this context; what it had covered is in force again."""
    wanted = str(key), str(value)
    entered = _entered.get()
    for index in reversed(range(len(entered))):
        name, text, tag = entered[index]
        if (name, text) == wanted:
            tag.__exit__(None, None, None)
            _entered.set(entered[:index] + entered[index + 1 :])
            return
