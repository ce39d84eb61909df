"""Reads the selectors of a request that choose samples: spans, traces, profiles, stack traces."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from flamewire_server._proto.types.v1 import types_pb2
from flamewire_server.errors import RequestError
from flamewire_server.model.selector import compile_search
from flamewire_server.query.sample_filter import FrameFilter, SampleFilter
from flamewire_server.query.stack_traces import PgoShape

__all__ = ["pgo_shape", "sample_filter"]

_SPAN_ID = re.compile(r"[0-9a-fA-F]{16}")
_TRACE_ID = re.compile(r"[0-9a-fA-F]{32}")
# The core tests one bit each.
_MAX_INCLUDES = 64


def sample_filter(request: Any) -> SampleFilter:
    """Read what a request has of span_selector, trace_id_selector, profile_id_selector, stack_trace_selector.

    Raises:
        RequestError: an id or an expression is none.
    """
    fields = request.DESCRIPTOR.fields_by_name
    spans = request.span_selector if "span_selector" in fields else ()
    traces = request.trace_id_selector if "trace_id_selector" in fields else ()
    profiles = request.profile_id_selector if "profile_id_selector" in fields else ()
    stacks = (
        request.stack_trace_selector if "stack_trace_selector" in fields else types_pb2.StackTraceSelector()
    )
    return SampleFilter(
        span_ids=[_span_id(text) for text in spans] or None,
        trace_ids=[_trace_id(text) for text in traces] or None,
        profile_ids=[_profile_id(text) for text in profiles] or None,
        call_site=tuple(location.name for location in stacks.call_site),
        frames=_frame_filter(stacks.frame_filter),
    )


def pgo_shape(request: Any) -> PgoShape | None:
    """Read the shape that the Go compiler wants a pprof in, None where the request has none."""
    if not request.stack_trace_selector.HasField("go_pgo"):
        return None
    pgo = request.stack_trace_selector.go_pgo
    return PgoShape(pgo.keep_locations, pgo.aggregate_callees)


def _span_id(text: str) -> int:
    if not _SPAN_ID.fullmatch(text):
        raise _bad_id(text, "span id; give 16 hexadecimal digits", "bad_span")
    return int.from_bytes(bytes.fromhex(text), "big", signed=True)


def _trace_id(text: str) -> bytes:
    if not _TRACE_ID.fullmatch(text):
        raise _bad_id(text, "trace id; give 32 hexadecimal digits", "bad_trace")
    return bytes.fromhex(text)


def _profile_id(text: str) -> bytes:
    try:
        return uuid.UUID(text).bytes
    except ValueError as error:
        raise _bad_id(text, "profile id; give a UUID", "bad_profile_id") from error


def _bad_id(text: str, wanted: str, reason: str) -> RequestError:
    return RequestError("invalid_argument", f"{text[:40]!r} is no {wanted}", reason=reason)


def _frame_filter(wanted: types_pb2.StackFrameFilter) -> FrameFilter:
    includes = len(wanted.include_function_names) + len(wanted.include_function_name_regexes)
    if includes > _MAX_INCLUDES:
        raise RequestError(
            "invalid_argument",
            f"the frame filter includes {includes} functions; at most {_MAX_INCLUDES} are tested",
            reason="bad_frame_filter",
        )
    return FrameFilter(
        include_names=tuple(wanted.include_function_names),
        exclude_names=tuple(wanted.exclude_function_names),
        include_tests=_tests(wanted.include_function_name_regexes),
        exclude_tests=_tests(wanted.exclude_function_name_regexes),
    )


def _tests(patterns: Iterable[str]) -> tuple[Callable[[str], bool], ...]:
    tests = []
    for pattern in patterns:
        try:
            tests.append(compile_search(pattern))
        except ValueError as error:
            raise RequestError(
                "invalid_argument",
                f"{pattern[:100]!r} in the frame filter is no regular expression that can be used ({error});"
                " the syntax is RE2's",
                reason="bad_frame_filter",
            ) from error
    return tuple(tests)
