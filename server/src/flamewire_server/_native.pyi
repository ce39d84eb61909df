"""The server's Rust core: decode pushes, encode blocks, read them back as trees and time series.

Every function that works on bytes or files releases the GIL. All 64-bit hashes cross as *signed* integers,
because SQLite has no unsigned ones. Times are nanoseconds since the Unix epoch (calendar clock, UTC).
The layout of the blocks is docs/reference/block-format.md.
"""

from collections.abc import Sequence
from typing import Final, final

__all__ = [
    "BlockError",
    "CompactedBlock",
    "DecodeError",
    "EncodedBlock",
    "Encoder",
    "Limits",
    "ProfileBatch",
    "QueryGuard",
    "QueryStoppedError",
    "Reader",
    "Selection",
    "SeriesEntry",
    "StepSelection",
    "Tree",
    "__version__",
    "compact_blocks",
    "decode_ingest",
    "decode_otlp",
    "decode_push",
    "unpack_body",
    "verify_samples",
    "verify_symbols",
]

__version__: Final[str]

class DecodeError(Exception):
    """A pushed body is refused; nothing of it may be stored.

    `code` is the Connect code: "invalid_argument" for content that no retry will mend, "resource_exhausted"
    for content over a size limit. `message` says which field, which value, and what the sender should do.
    """

    code: str
    message: str

class BlockError(Exception):
    """A block file is damaged or not one of ours; the message names the file and what is wrong with it.

    A file that cannot be opened or read raises the usual OSError (FileNotFoundError where it is gone).
    """

class QueryStoppedError(Exception):
    """A query was ended before it was done: its time was over, or it was cancelled."""

@final
class Limits:
    """What one push may hold; immutable. Out-of-range values raise ValueError.

    Args:
        max_request_bytes: of the body after gunzip.
        max_profile_bytes: of one pprof after gunzip.
        max_samples: stack traces in one pprof.
        max_sample_labels: labels on one sample.
        max_label_names: labels of one series, those of its samples included, those that the server adds not.
        max_label_name_bytes: of one label name.
        max_label_value_bytes: of one label value.
        max_stack_depth: frames; a deeper stack keeps its root side and loses its leaves.
        max_string_bytes: of one symbol; a longer one keeps its tail.
        reject_older_than_ns: how far behind the server's clock a profile's time may lie.
        reject_newer_than_ns: how far ahead of it.
    """

    def __new__(
        cls,
        *,
        max_request_bytes: int = 67108864,
        max_profile_bytes: int = 4194304,
        max_samples: int = 16000,
        max_sample_labels: int = 100,
        max_label_names: int = 30,
        max_label_name_bytes: int = 1024,
        max_label_value_bytes: int = 2048,
        max_stack_depth: int = 1000,
        max_string_bytes: int = 65535,
        reject_older_than_ns: int = 86400000000000,
        reject_newer_than_ns: int = 600000000000,
    ) -> Limits: ...
    @property
    def max_request_bytes(self) -> int: ...
    @property
    def max_profile_bytes(self) -> int: ...
    @property
    def max_samples(self) -> int: ...
    @property
    def max_sample_labels(self) -> int: ...
    @property
    def max_label_names(self) -> int: ...
    @property
    def max_label_name_bytes(self) -> int: ...
    @property
    def max_label_value_bytes(self) -> int: ...
    @property
    def max_stack_depth(self) -> int: ...
    @property
    def max_string_bytes(self) -> int: ...
    @property
    def reject_older_than_ns(self) -> int: ...
    @property
    def reject_newer_than_ns(self) -> int: ...

@final
class ProfileBatch:
    """The decoded profiles of one push; opaque and immutable, may be shared between threads."""

    @property
    def profile_count(self) -> int: ...
    @property
    def sample_count(self) -> int:
        """Samples that will be stored, over all profiles."""
    @property
    def dropped_samples(self) -> int:
        """Samples left out because a value was negative or all were zero."""
    @property
    def truncated_stacks(self) -> int:
        """Samples whose stack was deeper than max_stack_depth and lost its leaf side."""
    @property
    def rejected(self) -> int:
        """Profiles that were left out while others of the request are taken (OTLP only)."""
    @property
    def rejection(self) -> str | None:
        """Why the first of them was left out."""
    @property
    def decoded_bytes(self) -> int:
        """Size of the push after everything is unpacked: what a rate limit should count."""
    @property
    def keys(self) -> list[tuple[int, bytes, int, int]]:
        """One (pushed-series hash, profile id of 16 bytes, content hash, time_ns) per profile, in push order.

        A sample without an id gets a random one, so it never is a duplicate.
        """

def decode_push(body: bytes, *, encoding: str, now_ns: int, limits: Limits) -> ProfileBatch:
    """Decode and validate a push.v1.PushRequest in protobuf: all of it, or nothing.

    Memory is bounded by the limits whatever the bytes say. Costs about 0.2 ms per 14 KB gzipped pprof.

    Args:
        body: the HTTP body.
        encoding: what Content-Encoding said: identity, gzip or zstd. A pprof inside may be compressed too.
        now_ns: the server's calendar clock; stands in for a profile's time_nanos of 0.
        limits: what is accepted.

    Raises:
        DecodeError: the push must be refused.
    """

def decode_otlp(body: bytes, *, encoding: str, is_json: bool, now_ns: int, limits: Limits) -> ProfileBatch:
    """Decode and validate an ExportProfilesServiceRequest of OTLP profiles 1.7 to 1.11 (JSON: from 1.8).

    A profile that cannot be taken is left out and counted in `rejected`, unless none of the request can be.
    Each becomes one profile for each service that its samples name. Memory is bounded by the limits.

    Args:
        body: the HTTP body.
        encoding: what Content-Encoding said.
        is_json: the body is JSON, not protobuf.
        now_ns: the server's calendar clock.
        limits: what is accepted.

    Raises:
        DecodeError: the request must be refused.
    """

def unpack_body(body: bytes, *, encoding: str, limit_bytes: int) -> bytes:
    """Unpack a body: identity, gzip or zstd.

    Raises:
        DecodeError: it holds more than the limit, or is not of that encoding.
    """

def decode_ingest(
    body: bytes,
    *,
    encoding: str,
    format: str,
    content_type: str,
    app: str,
    labels: Sequence[tuple[str, str]],
    from_ns: int,
    spy_name: str,
    sample_rate_hz: int,
    now_ns: int,
    limits: Limits,
    id: str = "",
    is_time_given: bool = False,
) -> ProfileBatch:
    """Decode and validate a body of /ingest: pprof, folded text, tree, trie or speedscope.

    Memory is bounded by the limits whatever the bytes say. Without an id the profiles get random ones: such a
    body counts each time that it is sent.

    Args:
        body: the HTTP body.
        encoding: what Content-Encoding said.
        format: `format` of the query, "" where absent.
        content_type: the whole header; names the boundary of a form.
        app: the application's name, without labels.
        labels: those behind the name, names unique.
        from_ns: when the profile began, where it does not say so itself.
        spy_name: the profiler that took it.
        sample_rate_hz: samples a second; 0 keeps counts as they are.
        now_ns: the server's calendar clock.
        limits: what is accepted.
        id: what the profile is known by, "" for nothing.
        is_time_given: from_ns wins over the time that the profile tells itself.

    Raises:
        DecodeError: the body must be refused.
        OverflowError: sample_rate_hz is negative or above 2^32 - 1.
    """

@final
class SeriesEntry:
    """A series that has rows in a block."""

    @property
    def fingerprint(self) -> int:
        """Hash of all labels; its upper 16 bits are a hash of (service, profile type)."""
    @property
    def service(self) -> str: ...
    @property
    def profile_type(self) -> str: ...
    @property
    def labels(self) -> list[tuple[str, str]]:
        """All labels, private (`__x__`) ones too, sorted by name."""
    @property
    def time_min_ns(self) -> int: ...
    @property
    def time_max_ns(self) -> int: ...

@final
class EncodedBlock:
    """Two Parquet files to make durable, for one tenant and one UTC day."""

    @property
    def day(self) -> str:
        """UTC day of every profile in the block, as "2026-11-23"."""
    @property
    def samples(self) -> bytes: ...
    @property
    def symbols(self) -> bytes | None:
        """None when every stack is known from an earlier block of the same day."""
    @property
    def rows(self) -> int: ...
    @property
    def time_min_ns(self) -> int: ...
    @property
    def time_max_ns(self) -> int: ...
    @property
    def series(self) -> list[SeriesEntry]: ...

@final
class Encoder:
    """Turns batches into blocks and knows which stacks are durable; one per process, thread-safe.

    Stacks are known per (tenant, service, day). The least recently written of these sets are forgotten when
    more than `max_known_stacks` entries are held; their symbols are then simply written again.
    """

    def __new__(cls, *, max_known_stacks: int = 8000000) -> Encoder: ...
    def encode(
        self, tenant: str, batches: Sequence[tuple[ProfileBatch, Sequence[int]]]
    ) -> list[EncodedBlock]:
        """Encode the chosen profiles of each batch: one block per UTC day, none for a day without samples.

        Args:
            tenant: whose profiles they are.
            batches: each with the indices of the profiles to keep (duplicates left out).

        Raises:
            IndexError: an index is not below the batch's profile_count.
        """
    def committed(self, block: EncodedBlock) -> None:
        """Remember the block's symbols as durable. Call only after block and catalog row are; idempotent."""
    @property
    def known_stacks(self) -> int: ...

@final
class CompactedBlock:
    """The files that take the place of those of several blocks of one tenant and day."""

    @property
    def samples(self) -> bytes: ...
    @property
    def totals(self) -> bytes:
        """A samples file with one row per (series, profile), its stack 0: Reader.totals reads it as well.

        The rows of `samples` name their profile by its row here: the file must stand beside that of the
        samples, its name the same but for `totals` in place of `samples`.
        """
    @property
    def hours(self) -> bytes | None:
        """A samples file with the sums of each UTC hour; None where it would save queries nothing.

        Stands beside that of the samples, as `hours`; the reader takes it by itself. So does `days`.
        """
    @property
    def days(self) -> bytes | None:
        """A samples file with the sums of the whole block."""
    @property
    def symbols(self) -> bytes | None:
        """None when no block had symbols."""
    @property
    def rows(self) -> int:
        """Rows of the samples file: as many as the blocks had together, without those that were dropped."""
    @property
    def dropped_rows(self) -> int: ...
    @property
    def series(self) -> list[tuple[int, int, int]]:
        """(fingerprint, time of the earliest profile, of the latest) of each series."""

def compact_blocks(
    sample_files: Sequence[str],
    symbol_files: Sequence[str],
    *,
    series: Sequence[tuple[int, str, str]],
    drop: tuple[Sequence[int], int, int] | None = None,
) -> CompactedBlock:
    """Merge blocks: samples sorted as a whole, each symbol once per service.

    Memory is about 50 bytes a row of the largest (service, profile type), 24 for rows of the row groups that
    services share, and 75 for each frame of the symbols.

    Args:
        sample_files: paths, of one tenant and day.
        symbol_files: paths, of the same blocks; the merged file keeps their order.
        series: (fingerprint, service, profile type) of every series that the blocks may have.
        drop: (series, start_ns, end_ns): leaves rows of these series out whose time is between the two,
            inclusive.

    Raises:
        BlockError: a file is damaged, or has a series that is not among `series`.
        OSError: a file cannot be read.
    """

def verify_samples(path: str) -> tuple[int, int]:
    """Decode every row of a samples or totals file; returns (rows, sum of their values).

    Raises:
        BlockError: the file is damaged.
        OSError: it cannot be read.
    """

def verify_symbols(path: str) -> None:
    """Decode every row of a symbols file.

    Raises:
        BlockError: the file is damaged.
        OSError: it cannot be read.
    """

@final
class QueryGuard:
    """Ends a query early: it is looked at between two files.

    Args:
        timeout_s: wall time from now, None without end.
    """

    def __new__(cls, timeout_s: float | None = None) -> QueryGuard: ...
    def cancel(self) -> None:
        """End the query; any thread may call it, at any time."""

@final
class Selection:
    """Which samples a query takes.

    Args:
        series: fingerprints to take; an empty sequence takes nothing.
        start_ns: inclusive.
        end_ns: inclusive.
        span_ids: where given, only samples whose span_id or child_span_id is among them.
        profile_ids: where given, only samples of these profiles, each 16 bytes.
        trace_ids: where given, only samples of these traces, each 16 bytes.
        stacks: where given, only stack traces that begin with these names (root first), have a frame of
            each of these sets of names (at most 64 sets), and none of these names. A stack trace without
            symbols is not taken then.
        guard: ends the query early.

    Raises:
        ValueError: more than 64 sets of names.
    """

    def __new__(
        cls,
        *,
        series: Sequence[int],
        start_ns: int,
        end_ns: int,
        span_ids: Sequence[int] | None = None,
        profile_ids: Sequence[bytes] | None = None,
        trace_ids: Sequence[bytes] | None = None,
        stacks: tuple[Sequence[str], Sequence[Sequence[str]], Sequence[str]] | None = None,
        guard: QueryGuard | None = None,
    ) -> Selection: ...

@final
class StepSelection:
    """Which samples go into which group and step.

    Step k = 1..steps is start_ns + (k-1)*step_ns < t <= start_ns + k*step_ns.

    Args:
        series: fingerprints to take.
        groups: for each series, the index of the group that it belongs to.
        start_ns: exclusive.
        step_ns: width of a step, at least 1.
        steps: number of steps.
        tenant: whose names `stacks` means.
        symbol_files: as in Reader.tree; used with `stacks` only.
        stacks: as in Selection.
        guard: ends the query early.

    Raises:
        ValueError: series and groups differ in length, or a step makes no sense.
    """

    def __new__(
        cls,
        *,
        series: Sequence[int],
        groups: Sequence[int],
        start_ns: int,
        step_ns: int,
        steps: int,
        tenant: str = "",
        symbol_files: Sequence[str] = ...,
        stacks: tuple[Sequence[str], Sequence[Sequence[str]], Sequence[str]] | None = None,
        guard: QueryGuard | None = None,
    ) -> StepSelection: ...

@final
class Reader:
    """Reads blocks; one per process, thread-safe. Caches footers and sums by file, symbols as a name tree
    per tenant.

    Files are taken as immutable: a path must never be written twice. Every method raises QueryStoppedError
    where the guard of its selection ends it, BlockError for a damaged file, OSError for one that cannot be
    read.

    Args:
        max_cached_stacks: over all tenants; above it the name trees of other tenants, then the tenant's own,
            are dropped and filled again on demand.
        max_cached_bytes: of sums by file and selection; 0 keeps none.
        max_threads: that one query scans files with, where it has many.
    """

    def __new__(
        cls, *, max_cached_stacks: int = 8000000, max_cached_bytes: int = 134217728, max_threads: int = 2
    ) -> Reader: ...
    @property
    def cached_bytes(self) -> int:
        """Bytes that kept sums take, about."""
    def tree(
        self, tenant: str, sample_files: Sequence[str], symbol_files: Sequence[str], selection: Selection
    ) -> Tree:
        """Sum the selected samples into one call tree of function names.

        Args:
            tenant: whose name tree to use: hash collisions never cross tenants.
            sample_files: paths of samples.parquet files, any order.
            symbol_files: paths of symbols.parquet files, any order; all that the samples' days have.
            selection: which of their samples.
        """
    def pprof(
        self,
        tenant: str,
        sample_files: Sequence[str],
        symbol_files: Sequence[str],
        selection: Selection,
        *,
        sample_type: tuple[str, str],
        period_type: tuple[str, str],
        keep_locations: int = 0,
        aggregate_callees: bool = False,
        services: Sequence[str] = ...,
    ) -> bytes:
        """Sum the selected samples into one uncompressed pprof, with all that is stored of each frame.

        Args (those of tree, and):
            sample_type: type and unit of its only sample type.
            period_type: type and unit of the period.
            keep_locations: locations of a stack trace that stay, counted from the leaf; 0 keeps all.
            aggregate_callees: leave out the line that the leaf was at.
            services: those of the series; empty where they are not known. Symbols of others are not decoded.
        """
    def function_names(self, tenant: str, symbol_files: Sequence[str]) -> list[str]:
        """List the names of functions in the symbols files, and maybe others of the tenant."""
    def totals(
        self, sample_files: Sequence[str], selection: StepSelection, *, count_profiles: bool = False
    ) -> list[list[tuple[int, int, int]]]:
        """Sum values per group and time step.

        Args:
            sample_files: paths of samples.parquet files; or of totals files, which know no stacks.
            selection: which samples, and into which groups and steps.
            count_profiles: also count the distinct profile ids of each step; costs reading the ids.

        Returns:
            One list per group (up to the highest index in groups): (k, sum, profiles); steps without
            samples are left out. profiles is 0 where count_profiles is false.
        """
    def values(
        self, sample_files: Sequence[str], selection: StepSelection, *, by_span: bool = False
    ) -> list[list[tuple[int, int]]]:
        """List (k, value) of each profile, or with by_span of each span, per group.

        A profile or span has one value per group and step: the sum of its samples there.
        """
    def exemplars(
        self,
        sample_files: Sequence[str],
        selection: StepSelection,
        *,
        by_span: bool = False,
        cells: tuple[float, float, int] | None = None,
    ) -> list[list[tuple[int, int, bytes, bytes, int, list[int]]]]:
        """Find the profile, or with by_span the span, of the largest value for each step and cell, per group.

        Args:
            sample_files: as in totals; totals files know no spans.
            selection: as in totals.
            by_span: spans in place of profiles.
            cells: (lower bound of the first, width, how many) by value; None is one cell a step.

        Returns:
            One list per group: (k, time of the earliest sample in ns, id, trace id, value, its series).
            Both ids are 16 bytes, big-endian; a span's stands in the last 8. A trace id that is not known
            is 0.
        """

@final
class Tree:
    """A call tree of function names with values; immutable. The root is "total"."""

    @staticmethod
    def merged(trees: Sequence[Tree]) -> Tree:
        """Add trees up, frame by frame."""
    @property
    def total(self) -> int: ...
    @property
    def missing_stacks(self) -> int:
        """Sample rows whose stack no symbol file has; their value is in a frame "(symbols missing)"."""
    @property
    def samples(self) -> int:
        """Stored samples: rows of blocks, each the value of one stack trace in one profile."""
    @property
    def frames(self) -> int:
        """How many frames there are, the root too."""
    def flamegraph_json(self, max_nodes: int) -> bytes:
        """Encode as ProtoJSON of querier.v1.FlameGraph {names, levels, total, maxSelf}.

        At most max_nodes frames besides the root are kept, those with the largest totals; what is folded away
        stands in one frame "other" per parent, with self = total, so all sums stay exact.

        Args:
            max_nodes: 0 or less keeps every frame.
        """
    def flamegraph_proto(self, max_nodes: int) -> bytes:
        """Encode as binary querier.v1.FlameGraph; folds like flamegraph_json."""
    def diff_json(self, right: Tree, max_nodes: int) -> bytes:
        """Encode as ProtoJSON of querier.v1.FlameGraphDiff, this tree on the left.

        Folds like flamegraph_json (0 or less keeps every frame), by the sum of a frame's two totals.
        """
    def diff_proto(self, right: Tree, max_nodes: int) -> bytes:
        """Encode as binary querier.v1.FlameGraphDiff; folds like diff_json."""
    def tree_bytes(self, max_nodes: int) -> bytes:
        """Encode as querier.v1 sends `tree`; folds like flamegraph_json. An empty tree is b"".

        Depth first: length of the name, name, self value, number of callees, all numbers varints.
        """
    def dot(self, unit: str, max_functions: int) -> str:
        """Encode the functions with the largest totals, and the calls between them, for Graphviz."""
    def folded(self) -> bytes:
        """Encode one line per stack: names root first, joined by semicolons, a space, the self value."""
    def functions(self) -> list[tuple[str, int, int, int]]:
        """Return (name, self, total, samples) per function, the largest self first.

        Recursion counts once in total and in samples, the stored samples that the function stands in.
        """
    def sandwich_json(self, function: str, max_nodes: int) -> bytes:
        """Encode all callers and callees of a function as ProtoJSON of querier.v1.SandwichReport.

        Args:
            function: its name; one that does not stand in the tree gives a report of zeros.
            max_nodes: of each half, the largest totals stay; 0 or less keeps all.
        """
    def sandwich_proto(self, function: str, max_nodes: int) -> bytes:
        """Encode as binary querier.v1.SandwichReport; as sandwich_json."""
    def columns(self, unit: str, max_nodes: int) -> bytes:
        """Encode in columns of 32-bit numbers (docs/reference/flame-columns.md); folds like
        flamegraph_json."""
    def diff_columns(self, right: Tree, unit: str, max_nodes: int) -> bytes:
        """Encode both trees in columns, this one on the left; folds like diff_json."""
    def speedscope(self, unit: str, name: str) -> bytes:
        """Encode as a file of speedscope, with every frame."""
    def svg(self, title: str, unit: str, max_nodes: int) -> str:
        """Draw the flame graph as SVG without script; folds like flamegraph_json."""
