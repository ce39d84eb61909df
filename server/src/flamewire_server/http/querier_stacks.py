"""Methods of the querier that answer with stack traces, in the form that is asked for."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from flamewire_server._native import Tree
from flamewire_server._proto.google.v1 import profile_pb2
from flamewire_server._proto.querier.v1 import querier_pb2
from flamewire_server.config import Config
from flamewire_server.errors import RequestError
from flamewire_server.http.connect import JSON
from flamewire_server.http.ranges import check_range, frame_limit, last_hour_or
from flamewire_server.http.sample_filter import pgo_shape, sample_filter
from flamewire_server.http.service import Answer, Call, unimplemented
from flamewire_server.model.profile_type import ProfileType
from flamewire_server.query.selection import ProfileSelection
from flamewire_server.query.stack_traces import StackTraceQueries

__all__ = ["DOT_FUNCTIONS", "StackMethods", "select_profiles"]

# Functions of a Graphviz graph where the request does not say: more cannot be read.
DOT_FUNCTIONS = 100
_FLAMEGRAPH = querier_pb2.SelectMergeStacktracesResponse.FLAMEGRAPH_FIELD_NUMBER
_PPROF = querier_pb2.SelectMergeStacktracesResponse.PPROF_FIELD_NUMBER
_SANDWICH = querier_pb2.SelectMergeStacktracesResponse.SANDWICH_FIELD_NUMBER
_FLAMEGRAPHS = (querier_pb2.PROFILE_FORMAT_UNSPECIFIED, querier_pb2.PROFILE_FORMAT_FLAMEGRAPH)


class StackMethods:
    """One method for each of the querier's, from message to message."""

    def __init__(self, config: Config, stacks: StackTraceQueries) -> None:
        self._config = config
        self._stacks = stacks

    def merge_stacktraces(self, call: Call, request: querier_pb2.SelectMergeStacktracesRequest) -> Answer:
        """Add stack traces up."""
        _refuse_async(request)
        if request.format != querier_pb2.PROFILE_FORMAT_PPROF:
            return self._stacktraces(call, request, self._tree(call, request))
        profile = self._pprof(call, request)
        if call.codec != JSON:
            return _field(_PPROF, _field(1, profile))
        reply = querier_pb2.SelectMergeStacktracesResponse()
        reply.pprof.profile.ParseFromString(profile)
        return reply

    def merge_span_profile(self, call: Call, request: querier_pb2.SelectMergeSpanProfileRequest) -> Answer:
        """Add the stack traces of spans up, as older clients ask for it."""
        if not request.span_selector:
            raise RequestError(
                "invalid_argument",
                "no span: give span_selector, or ask SelectMergeStacktraces for all samples",
                reason="bad_span",
            )
        if request.format not in (*_FLAMEGRAPHS, querier_pb2.PROFILE_FORMAT_TREE):
            raise unimplemented("this format")
        return self._stacktraces(call, request, self._tree(call, request))

    def merge_profile(self, call: Call, request: querier_pb2.SelectMergeProfileRequest) -> Answer:
        """Add profiles up into one pprof."""
        profile = self._pprof(call, request)
        return profile_pb2.Profile.FromString(profile) if call.codec == JSON else profile

    def diff(self, call: Call, request: querier_pb2.DiffRequest) -> Answer:
        """Lay two profiles over one another."""
        sides = (request.left, request.right)
        formats = {request.format or side.format or querier_pb2.PROFILE_FORMAT_FLAMEGRAPH for side in sides}
        if not formats <= {querier_pb2.PROFILE_FORMAT_FLAMEGRAPH, querier_pb2.PROFILE_FORMAT_FUNCTIONS}:
            raise unimplemented(
                "a Diff in a format other than PROFILE_FORMAT_FLAMEGRAPH and PROFILE_FORMAT_FUNCTIONS"
            )
        if len(formats) > 1:
            raise RequestError(
                "invalid_argument",
                "left and right ask for different formats; give one `format`",
                reason="bad_format",
            )
        for side in sides:
            _refuse_async(side)
        asked = request.max_nodes or max(side.max_nodes for side in sides)
        max_nodes = frame_limit(self._config, asked)
        left, right = (self._tree(call, side) for side in sides)
        if querier_pb2.PROFILE_FORMAT_FUNCTIONS in formats:
            return _function_diff(left, right, max_nodes)
        if call.codec == JSON:
            return b'{"flamegraph":' + left.diff_json(right, max_nodes) + b"}"
        return _field(_FLAMEGRAPH, left.diff_proto(right, max_nodes))

    def _tree(self, call: Call, request: Any) -> Tree:
        return self._stacks.tree(select_profiles(self._config, call, request), sample_filter(request))

    def _pprof(self, call: Call, request: Any) -> bytes:
        selection = select_profiles(self._config, call, request)
        return self._stacks.pprof(selection, sample_filter(request), pgo=pgo_shape(request))

    def _stacktraces(self, call: Call, request: Any, tree: Tree) -> Answer:
        form = request.format
        if form == querier_pb2.PROFILE_FORMAT_DOT:
            kind = ProfileType.parse(request.profile_typeID) if request.profile_typeID else None
            functions = frame_limit(self._config, request.max_nodes, DOT_FUNCTIONS)
            return querier_pb2.SelectMergeStacktracesResponse(
                dot=tree.dot(kind.sample_unit if kind else "", functions)
            )
        max_nodes = frame_limit(self._config, request.max_nodes)
        if form == querier_pb2.PROFILE_FORMAT_TREE:
            return querier_pb2.SelectMergeStacktracesResponse(tree=tree.tree_bytes(max_nodes))
        if form == querier_pb2.PROFILE_FORMAT_FUNCTIONS:
            return _function_table(tree, max_nodes)
        if form == querier_pb2.PROFILE_FORMAT_SANDWICH:
            return _sandwich(call, tree, request.sandwich_function, max_nodes)
        if form not in _FLAMEGRAPHS:
            raise unimplemented(f"format {form}")
        if call.codec == JSON:
            return b'{"flamegraph":' + tree.flamegraph_json(max_nodes) + b"}"
        return _field(_FLAMEGRAPH, tree.flamegraph_proto(max_nodes))


def select_profiles(config: Config, call: Call, request: Any) -> ProfileSelection:
    """Read profile type, selector and range of a request.

    Raises:
        RequestError: one of them is none, or the range is too long.
    """
    time_range = check_range(config, last_hour_or(request.start, request.end))
    return ProfileSelection.parse(
        call.tenants, request.profile_typeID, request.label_selector, time_range, call.guard
    )


def _function_table(tree: Tree, max_functions: int) -> Message:
    reply = querier_pb2.SelectMergeStacktracesResponse()
    reply.functions.total = tree.total
    for name, own, total, _ in tree.functions()[:max_functions]:
        reply.functions.functions.add(name=name, self=own, total=total)
    return reply


def _function_diff(left: Tree, right: Tree, max_functions: int) -> Message:
    rows: dict[str, list[int]] = {}
    for place, tree in ((0, left), (2, right)):
        for name, own, total, _ in tree.functions():
            rows.setdefault(name, [0, 0, 0, 0])[place : place + 2] = [own, total]
    order = sorted(rows, key=lambda name: (-max(rows[name][::2]), -max(rows[name][1::2]), name))
    reply = querier_pb2.DiffResponse()
    reply.functions.left_total, reply.functions.right_total = left.total, right.total
    for name in order[:max_functions]:
        left_self, left_total, right_self, right_total = rows[name]
        reply.functions.functions.add(
            name=name,
            left_self=left_self,
            left_total=left_total,
            right_self=right_self,
            right_total=right_total,
        )
    return reply


def _sandwich(call: Call, tree: Tree, function: str, max_nodes: int) -> bytes:
    if not function:
        raise RequestError(
            "invalid_argument",
            "no function: give sandwich_function, the name of one that stands in the flame graph",
            reason="bad_function",
        )
    if call.codec == JSON:
        return b'{"sandwich":' + tree.sandwich_json(function, max_nodes) + b"}"
    return _field(_SANDWICH, tree.sandwich_proto(function, max_nodes))


def _refuse_async(request: querier_pb2.SelectMergeStacktracesRequest) -> None:
    """Refuse what would change the answer and is not there yet: a wrong answer is worse than none."""
    if request.HasField("async") and getattr(request, "async").ListFields():
        raise unimplemented("async")


def _field(number: int, content: bytes) -> bytes:
    """Encode a length-delimited field."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
