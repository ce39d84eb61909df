"""Start with OpenTelemetry: whose name counts, and zero code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from sdk_support.push_server import PushServer

import flamewire
import flamewire.otel

RESOURCE = {
    "service.name": "shop",
    "service.version": "1.2",
    "deployment.environment.name": "pro,duction",
    "service.instance.id": "random",
}
INSTRUMENT = Path(sys.executable).with_name("opentelemetry-instrument")

PROGRAM = """
import time
from opentelemetry import trace

def burn():
    end = time.thread_time() + 0.5
    while time.thread_time() < end:
        sum(range(1000))

with trace.get_tracer("program").start_as_current_span("job") as span:
    burn()
    print(trace.format_span_id(span.get_span_context().span_id))
"""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [*os.environ]:
        if name.startswith(("FLAMEWIRE_", "PYROSCOPE_", "OTEL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FLAMEWIRE_SERVER_URL", "http://127.0.0.1:9")
    yield
    flamewire.stop()


def test_the_resource_names_service_version_and_environment() -> None:
    session = flamewire.otel.start(TracerProvider(resource=Resource(RESOURCE)), tags={"region": "eu"})
    assert session.options.service_name == "shop"
    assert dict(session.options.tags) == {
        "region": "eu",
        "service_version": "1.2",
        "deployment_environment": "pro,duction",
    }
    assert session.status().problems == ()


@pytest.mark.parametrize("name", ["FLAMEWIRE_SERVICE_NAME", "PYROSCOPE_APPLICATION_NAME"])
def test_what_is_set_otherwise_outweighs_the_resource(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "named")
    session = flamewire.otel.start(
        TracerProvider(resource=Resource(RESOURCE)), tags={"service_version": "mine"}
    )
    assert session.options.service_name == "named"
    assert session.options.tags["service_version"] == "mine"


def test_the_resource_outweighs_what_the_environment_says_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "of the environment")
    session = flamewire.otel.start(TracerProvider(resource=Resource(RESOURCE)))
    assert session.options.service_name == "shop"


def test_a_resource_without_a_name_is_no_name() -> None:
    session = flamewire.otel.start(TracerProvider(resource=Resource({"service.name": "unknown_service"})))
    assert session.options.service_name.startswith("unknown_service:")


def test_a_second_start_adds_no_second_processor() -> None:
    provider = TracerProvider(resource=Resource(RESOURCE))
    assert flamewire.otel.start(provider) is flamewire.otel.start(provider)
    assert len(provider._active_span_processor._span_processors) == 1


def test_a_wrong_call_says_what_to_write() -> None:
    with pytest.raises(flamewire.ConfigurationError, match="sevice_name is not an option"):
        flamewire.otel.start(TracerProvider(), sevice_name="shop")
    with pytest.raises(flamewire.ConfigurationError, match="set a TracerProvider"):
        flamewire.otel.start(trace.NoOpTracerProvider())


@pytest.mark.skipif(not INSTRUMENT.exists(), reason="opentelemetry-distro is not installed here")
def test_zero_code_labels_samples_with_the_span(push_server: PushServer, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_SERVICE_NAME": "zero",
        "OTEL_RESOURCE_ATTRIBUTES": "service.version=7",
        "FLAMEWIRE_SERVER_URL": push_server.url,
    }
    done = subprocess.run(
        [str(INSTRUMENT), sys.executable, str(program)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    pushes = push_server.pushes
    for push in pushes:
        assert (push.labels["service_name"], push.labels["service_version"]) == ("zero", "7")
    span = {"span_id": done.stdout.strip(), "span_name": "job"}
    in_burn = [sample for push in pushes for sample in push.profile.samples if "burn" in sample.functions]
    assert sum(sample.values[0] for sample in in_burn if sample.labels == span) > 0.4e9


@pytest.mark.skipif(not INSTRUMENT.exists(), reason="opentelemetry-distro is not installed here")
def test_zero_code_waits_to_be_asked_and_survives_a_wrong_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from flamewire.otel.instrumentor import FlamewireInstrumentor

    monkeypatch.delenv("FLAMEWIRE_SERVER_URL")
    FlamewireInstrumentor().instrument(skip_dep_check=True)
    assert flamewire.status().state != "running"
    monkeypatch.setenv("FLAMEWIRE_ENABLED", "true")
    monkeypatch.setenv("FLAMEWIRE_ENGINE", "magic")
    FlamewireInstrumentor().instrument(skip_dep_check=True)
    FlamewireInstrumentor().uninstrument()
    assert flamewire.status().state != "running"
