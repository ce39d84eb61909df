"""The API of pyroscope-io 1.4: ``from flamewire.compat import pyroscope`` in place of ``import pyroscope``.

Every call and argument is taken; the migration page says which of them have no effect here, and why.
"""

from __future__ import annotations

from flamewire.compat.pyroscope.agent import (
    LOGGER,
    LineNo,
    ProfilerImplementation,
    configure,
    configure_experimental_stack_profiler,
    runtime_name,
    runtime_version,
    shutdown,
)
from flamewire.compat.pyroscope.obsolete import (
    build_summary,
    change_name,
    remove_tags,
    stop,
    tag,
    test_logger,
)
from flamewire.compat.pyroscope.tagging import add_thread_tag, remove_thread_tag, tag_wrapper

__all__ = [
    "LOGGER",
    "LineNo",
    "ProfilerImplementation",
    "add_thread_tag",
    "build_summary",
    "change_name",
    "configure",
    "configure_experimental_stack_profiler",
    "remove_tags",
    "remove_thread_tag",
    "runtime_name",
    "runtime_version",
    "shutdown",
    "stop",
    "tag",
    "tag_wrapper",
    "test_logger",
]
