"""What the session counts is seen in the program's own metrics, and is what the status says."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import TracerProvider
from sdk_support.push_server import PushServer, Reply

import flamewire
import flamewire.otel
from flamewire.otel import metrics as metrics_module

Points = dict[tuple[str, str], float]


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemoryMetricReader]:
    """Reads a meter provider that has the counters; each collection looks at the session anew."""
    monkeypatch.setattr(metrics_module, "_FRESH_S", -1.0)
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    flamewire.otel.publish_metrics(provider)
    flamewire.otel.publish_metrics(provider)
    yield reader
    flamewire.stop()
    provider.shutdown()


def collect(reader: InMemoryMetricReader) -> Points:
    """Return (name, reason) -> value."""
    found = reader.get_metrics_data()
    points: Points = {}
    for resource in found.resource_metrics if found is not None else ():
        for scope in resource.scope_metrics:
            assert scope.scope.name == "flamewire"
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    assert isinstance(point, NumberDataPoint)
                    key = metric.name, str((point.attributes or {}).get("reason", ""))
                    assert key not in points, "registered twice"
                    points[key] = point.value
    return points


def burn() -> None:
    end_s = time.thread_time() + 0.2
    while time.thread_time() < end_s:
        sum(range(1000))


def test_metrics_are_what_the_status_says(reader: InMemoryMetricReader, push_server: PushServer) -> None:
    push_server.script.extend([Reply(400)])
    flamewire.start(service_name="s", server_url=push_server.url, upload_interval_s=3600)
    for _ in range(2):
        burn()
        flamewire.flush(60)
    points, seen = collect(reader), flamewire.status()
    assert points["flamewire.pushed_profiles", ""] == seen.pushed_profiles >= 1
    assert points["flamewire.dropped_profiles", "rejected"] == 1
    assert points["flamewire.queued_profiles", ""] == points["flamewire.queued_bytes", ""] == 0
    assert points["flamewire.threads", ""] >= 1
    assert 0 < points["flamewire.gathered_samples", ""] <= seen.samples_gathered
    assert 0 < points["flamewire.own_cpu", ""] <= seen.own_cpu_s


def test_a_session_that_starts_anew_goes_on_counting(
    reader: InMemoryMetricReader, push_server: PushServer
) -> None:
    pushed = []
    for _ in range(3):
        flamewire.start(service_name="s", server_url=push_server.url, upload_interval_s=3600)
        collect(reader)
        burn()
        flamewire.stop()
        pushed.append(collect(reader)["flamewire.pushed_profiles", ""])
    assert pushed == [1, 2, 3]


def test_start_with_opentelemetry_registers_them_with_the_global_provider(
    monkeypatch: pytest.MonkeyPatch, push_server: PushServer
) -> None:
    registered: list[object] = []
    monkeypatch.setattr(metrics_module._publisher, "register", registered.append)
    flamewire.otel.start(TracerProvider(), service_name="s", server_url=push_server.url)
    flamewire.stop()
    assert len(registered) == 1
