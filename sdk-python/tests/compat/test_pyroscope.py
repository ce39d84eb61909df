"""Programs written for pyroscope-io run with no change but the import."""

from __future__ import annotations

import importlib.util
import inspect
import logging
import os
import threading
from collections.abc import Iterator

import pytest
from sdk_support.programs import run_program
from sdk_support.push_server import PushServer

import flamewire
from flamewire.compat import pyroscope
from flamewire.scope import current_labels

EDGE_NS = 0.18e9
"""The edges of a stretch of work: a sample has up to 16 periods where a loaded machine makes it dear."""
NATIVE = importlib.util.find_spec("flamewire._native") is not None

QUICKSTART = """
from flamewire.compat import pyroscope

pyroscope.configure(
  application_name    = "my.python.app",
  server_address      = "{url}",
  sample_rate         = 100,
  oncpu               = True,
  gil_only            = True,
  enable_logging      = True,
  tags           = {{
    "region":   f'{{os.getenv("REGION")}}',
  }}
)
"""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [*os.environ]:
        if name.startswith(("FLAMEWIRE_", "PYROSCOPE_", "OTEL_")):
            monkeypatch.delenv(name)
    yield
    flamewire.stop()


def run(source: str, server: PushServer, engine: str) -> None:
    source = "import os\n" + source.replace("{url}", server.url).replace("{{", "{").replace("}}", "}")
    ended = run_program(source, server_url="http://127.0.0.1:9", engine=engine, REGION="eu")
    assert ended.code == 0, ended.err


def cpu_of(server: PushServer, function: str, **labels: str) -> int:
    return sum(
        sample.values[0]
        for push in server.pushes
        for sample in push.profile.samples
        if function in sample.functions and labels.items() <= {**push.labels, **sample.labels}.items()
    )


def test_the_quickstart_pushes_what_ran_at_its_exit(push_server: PushServer, engine: str) -> None:
    run(QUICKSTART + "burn(0.5)", push_server, engine)
    assert cpu_of(push_server, "burn", service_name="my.python.app", region="eu") > 0.4e9


@pytest.mark.skipif(not NATIVE, reason="built without the native core")
def test_the_tagging_examples_label_what_they_wrap(push_server: PushServer) -> None:
    source = """
with pyroscope.tag_wrapper({{ "controller": "slow_controller_i_want_to_profile" }}):
    burn(0.3)

with pyroscope.tag_wrapper({{ "controller": "nested", "number": 7 }}):
    with pyroscope.tag_wrapper({{ "controller": "inner" }}):
        burn(0.3)

import threading

def worker(name):
    pyroscope.add_thread_tag("worker", name)
    burn(0.3)
    pyroscope.remove_thread_tag("worker", name)

threads = [threading.Thread(target=worker, args=(name,)) for name in "ab"]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert pyroscope.shutdown() is True
"""
    run(QUICKSTART + source, push_server, "native")
    for labels in (
        {"controller": "slow_controller_i_want_to_profile"},
        {"controller": "inner", "number": "7"},
        {"worker": "a"},
        {"worker": "b"},
    ):
        assert cpu_of(push_server, "burn", **labels) > 0.2e9, labels


def test_a_program_with_every_documented_option_runs(push_server: PushServer, engine: str) -> None:
    """Wall-clock time comes as a profile type of its own, beside the CPU that dashboards ask for."""
    source = """
import logging
from flamewire.compat import pyroscope
logging.basicConfig(level=logging.DEBUG)
pyroscope.configure(
    application_name="my.python.app", server_address="{url}", sample_rate=100, oncpu=False, gil_only=False,
    enable_logging=True, report_pid=True, report_thread_id=True, report_thread_name=True,
    tags={{"region": f'{{os.getenv("REGION")}}', "instance": 7}}, tenant_id="team",
    http_headers={{"X-Team": "shop"}}, basic_auth_username="user", basic_auth_password="secret",
    mem_enabled=True, upload_interval=5, line_no=pyroscope.LineNo.First,
)
burn(0.5)
time.sleep(0.5)
pyroscope.shutdown()
"""
    run(source, push_server, engine)
    assert cpu_of(push_server, "burn", service_name="my.python.app", region="eu", instance="7") > 0.4e9
    assert {request.headers["X-Scope-OrgID"] for request in push_server.requests} == {"team"}
    assert {request.headers["X-Team"] for request in push_server.requests} == {"shop"}
    assert all(request.headers["Authorization"].startswith("Basic ") for request in push_server.requests)
    names = {push.labels["__name__"] for push in push_server.pushes}
    assert names == ({"process_cpu", "wall"} if engine == "native" else {"process_cpu"})


@pytest.mark.skipif(not NATIVE, reason="built without the native core")
def test_tags_that_were_set_before_configure_count(push_server: PushServer) -> None:
    source = """
from flamewire.compat import pyroscope
pyroscope.add_thread_tag("early", "yes")
with pyroscope.tag_wrapper({{ "outer": "1" }}):
    pyroscope.configure(application_name="app", server_address="{url}")
    burn(0.4)
pyroscope.shutdown()
"""
    run(source, push_server, "native")
    assert cpu_of(push_server, "burn", early="yes", outer="1") == pytest.approx(0.4e9, abs=EDGE_NS)


@pytest.mark.skipif(not NATIVE, reason="built without the native core")
def test_the_ride_sharing_example_tags_by_what_functions_are_told(push_server: PushServer) -> None:
    """Tags around a call in each handler, and again within what they share."""
    source = """
def find_nearest_vehicle(seconds, vehicle):
    with pyroscope.tag_wrapper({{ "vehicle": vehicle }}):
        burn(seconds)
        if vehicle == "car":
            with pyroscope.tag_wrapper({{ "region": "inner" }}):
                burn(0.2)

for vehicle, seconds in (("bike", 0.2), ("scooter", 0.4), ("car", 0.6)):
    find_nearest_vehicle(seconds, vehicle)
pyroscope.shutdown()
"""
    run(QUICKSTART + source, push_server, "native")
    for vehicle, seconds in (("bike", 0.2), ("scooter", 0.4), ("car", 0.8)):
        assert cpu_of(push_server, "burn", vehicle=vehicle) == pytest.approx(seconds * 1e9, abs=EDGE_NS)
    assert cpu_of(push_server, "burn", vehicle="car", region="inner") == pytest.approx(0.2e9, abs=EDGE_NS)


@pytest.mark.skipif(
    not NATIVE or importlib.util.find_spec("opentelemetry") is None,
    reason="no OpenTelemetry, or no native core",
)
def test_the_opentelemetry_example_links_samples_to_spans(push_server: PushServer) -> None:
    source = """
from flamewire.compat.pyroscope.otel import PyroscopeSpanProcessor, PROFILE_ID_SPAN_ATTRIBUTE_KEY
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

provider = TracerProvider()
provider.add_span_processor(PyroscopeSpanProcessor())
trace.set_tracer_provider(provider)
with trace.get_tracer("rides").start_as_current_span("order") as span:
    burn(0.4)
    own = format(span.context.span_id, "016x")
    assert span.attributes[PROFILE_ID_SPAN_ATTRIBUTE_KEY] == own
burn(0.2)
pyroscope.shutdown()
"""
    run(QUICKSTART + source, push_server, "native")
    assert cpu_of(push_server, "burn", span_name="order") == pytest.approx(0.4e9, abs=EDGE_NS)
    spans = {
        sample.labels.get("span_id", "") for push in push_server.pushes for sample in push.profile.samples
    }
    assert {len(span) for span in spans} == {0, 16}


def test_a_fork_child_may_configure_again(push_server: PushServer, engine: str) -> None:
    """As the documented post_fork hook of gunicorn does."""
    source = """
pid = os.fork()
if pid == 0:
    assert pyroscope.configure(
        application_name="worker", server_address="{url}", tags={{ "worker_pid": os.getpid() }}
    )
    burn(0.5)
    assert pyroscope.shutdown()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""
    run(QUICKSTART + source, push_server, engine)
    assert cpu_of(push_server, "burn", service_name="worker") > 0.4e9


def test_every_argument_and_call_of_the_original_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    with (
        pytest.warns(DeprecationWarning, match="deprecated") as warned,
        caplog.at_level(logging.WARNING, "flamewire"),
    ):
        assert pyroscope.configure(
            app_name="old.name", server_address="http://127.0.0.1:9", basic_auth_username="u",
            basic_auth_password="", enable_logging=False, sample_rate=50, oncpu=False, native=True,
            gil_only=False, report_pid=True, report_thread_id=True, report_thread_name=True,
            tags={"n": 1}, tenant_id="", http_headers={"X-A": "1"}, line_no=pyroscope.LineNo.First,
            upload_interval=20, mem_enabled=True, mem_max_nframe=64, mem_heap_sample_size=1,
            mem_enable_mem_domain=False, cpu_enabled=True,
            cpu_implementation=pyroscope.ProfilerImplementation.Stack,
        )  # fmt: skip
    assert len(warned) == 2
    assert "mem_enabled has no effect" in caplog.text
    options = flamewire.status().options
    assert options is not None
    assert options.profile_types == ("cpu", "wall")
    assert (options.service_name, options.sample_rate_hz, options.upload_interval_s) == ("old.name", 50, 20)
    assert (dict(options.tags), options.basic_auth_user) == ({"n": "1"}, None)
    assert pyroscope.configure_experimental_stack_profiler(max_threads=0, cpu_timer_interval_ms=20)
    for obsolete in (pyroscope.stop, pyroscope.build_summary, pyroscope.test_logger):
        with pytest.warns(DeprecationWarning, match="deprecated"):
            obsolete()
    with pytest.warns(DeprecationWarning, match="deprecated"):
        pyroscope.change_name("x")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        pyroscope.tag({"a": "b"})
    with pytest.warns(DeprecationWarning, match="deprecated"):
        pyroscope.remove_tags("a")
    assert pyroscope.runtime_name() == "cpython"
    assert pyroscope.runtime_version().startswith("3.")


def test_the_order_of_the_arguments_is_that_of_the_original() -> None:
    expected = (
        "app_name application_name server_address basic_auth_username basic_auth_password enable_logging"
        " sample_rate oncpu native gil_only report_pid report_thread_id report_thread_name tags tenant_id"
        " http_headers line_no upload_interval mem_enabled mem_max_nframe mem_heap_sample_size"
        " mem_enable_mem_domain cpu_enabled cpu_implementation"
    )
    assert [*inspect.signature(pyroscope.configure).parameters] == expected.split()


def test_what_is_left_at_its_default_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYROSCOPE_SERVER_ADDRESS", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "named")
    assert pyroscope.configure()
    options = flamewire.status().options
    assert options is not None
    assert (options.server_url, options.service_name) == ("http://127.0.0.1:9", "named")


def test_configuring_twice_is_true_with_the_same_options_and_false_with_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    options = {"application_name": "a", "server_address": "http://127.0.0.1:9"}
    assert pyroscope.configure(**options) is True  # type: ignore[arg-type]
    assert pyroscope.configure(**options) is True  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING, "flamewire"):
        assert pyroscope.configure(application_name="b") is False
    assert "stop() before starting" in caplog.text
    assert pyroscope.shutdown() is True
    assert pyroscope.shutdown() is False


def test_nothing_to_profile_starts_nothing() -> None:
    assert pyroscope.configure(application_name="a", cpu_enabled=False) is False
    assert flamewire.status().state != "running"


@pytest.mark.parametrize("wrong", [{"sample_rate": 0}, {"server_address": "not a url"}])
def test_what_cannot_be_used_raises(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"give|write"):
        pyroscope.configure(application_name="a", **wrong)  # type: ignore[arg-type]


def test_thread_tags_nest_and_stay_in_their_thread() -> None:
    pyroscope.add_thread_tag("k", "outer")
    pyroscope.add_thread_tag("k", 2)
    pyroscope.add_thread_tag("other", "x")
    assert current_labels() == {"k": "2", "other": "x"}
    seen: list[dict[str, str]] = []
    thread = threading.Thread(target=lambda: seen.append(current_labels()))
    thread.start()
    thread.join(30)
    assert seen == [{}]
    pyroscope.remove_thread_tag("k", 2)
    pyroscope.remove_thread_tag("never", "set")
    if NATIVE:  # the fallback's tags only leave in the order in which they were entered
        assert current_labels() == {"k": "outer", "other": "x"}
    pyroscope.remove_thread_tag("other", "x")
    pyroscope.remove_thread_tag("k", "outer")
    assert current_labels() == {}


def test_tag_wrapper_decorates_too() -> None:
    @pyroscope.tag_wrapper({"job": "nightly"})
    def job() -> dict[str, str]:
        return current_labels()

    assert job() == {"job": "nightly"}
    assert current_labels() == {}
