"""What the server counts about itself, served at /metrics. No label has a tenant or a service in it: bounded
series."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from flamewire_server import __version__

__all__ = ["Metrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The server's metrics, on a registry of their own; any thread may count."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        ProcessCollector(registry=registry)
        Gauge(
            "flamewire_build_info", "The running version; always 1.", ["version"], registry=registry
        ).labels(__version__).set(1)
        self.pushes = Counter("flamewire_pushes", "Push requests answered.", ["code"], registry=registry)
        self.push_bytes = Counter(
            "flamewire_push_bytes", "Bytes of push bodies, as received.", registry=registry
        )
        self.decoded_bytes = Counter(
            "flamewire_decoded_bytes", "Bytes of acknowledged profiles, uncompressed.", registry=registry
        )
        self.profiles = Counter("flamewire_profiles_stored", "Profiles stored.", registry=registry)
        self.samples = Counter(
            "flamewire_samples_received", "Samples of acknowledged profiles.", registry=registry
        )
        self.duplicates = Counter(
            "flamewire_profiles_duplicate",
            "Profiles not stored again: series, id and content known.",
            registry=registry,
        )
        self.conflicts = Counter(
            "flamewire_profiles_conflicting",
            "Profiles stored although their series and id were known, for their content was another.",
            registry=registry,
        )
        self.rejects = Counter("flamewire_rejected", "Requests refused.", ["reason"], registry=registry)
        self.commit_requests = Histogram(
            "flamewire_commit_requests",
            "Push requests in a commit.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
            registry=registry,
        )
        self.commit_seconds = Histogram(
            "flamewire_commit_seconds", "Wall time of a commit.", buckets=_SECONDS, registry=registry
        )
        self.queue_requests = Gauge(
            "flamewire_push_queue_requests", "Pushes that wait for the commit before them.", registry=registry
        )
        self.overrides_current = Gauge(
            "flamewire_overrides_current",
            "Whether the overrides file can be used; 0: what it said before counts on.",
            registry=registry,
        )
        self.overrides_current.set(1)
        self.commit_failures = Counter(
            "flamewire_commit_failures", "Commits that the disk or the catalog refused.", registry=registry
        )
        self.query_seconds = Histogram(
            "flamewire_query_seconds",
            "Wall time of a query.",
            ["method"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.queries_stopped = Counter(
            "flamewire_queries_stopped",
            "Queries ended before they were done.",
            ["reason"],
            registry=registry,
        )
        self.missing_symbols = Counter(
            "flamewire_missing_symbols", "Samples shown as (symbols missing) in answers.", registry=registry
        )
        self.blocks_removed = Counter(
            "flamewire_blocks_removed", "Blocks removed by retention.", registry=registry
        )
        self.compaction_seconds = Histogram(
            "flamewire_compaction_seconds",
            "Wall time of a merge of blocks.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.compaction_bytes = Counter(
            "flamewire_compaction_bytes", "Bytes of block files.", ["direction"], registry=registry
        )
        self.compacted_blocks = Counter(
            "flamewire_compacted_blocks", "Blocks that were merged into others.", registry=registry
        )
        self.compaction_failures = Counter(
            "flamewire_compaction_failures",
            "Merges that a damaged block, the disk or the catalog prevented.",
            registry=registry,
        )
        self.compaction_lag = Gauge(
            "flamewire_compaction_lag_seconds",
            "Age of the oldest block that was not compacted yet.",
            registry=registry,
        )
        self.quarantined_blocks = Gauge(
            "flamewire_quarantined_blocks",
            "Blocks that have damaged files: not merged, their damaged files not read.",
            registry=registry,
        )
        self.files_swept = Counter(
            "flamewire_files_swept", "Files removed at start that no commit had finished.", registry=registry
        )

    def render(self) -> bytes:
        """Give every metric in the Prometheus text format."""
        return generate_latest(self._registry)
