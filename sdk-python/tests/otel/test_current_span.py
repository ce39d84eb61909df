"""A sample carries the span that is current where it is taken, whatever else is open."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.sdk.trace import ConcurrentMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    TraceFlags,
    Tracer,
    format_trace_id,
    use_span,
)

import flamewire
from flamewire.executors import ExecutorHook
from flamewire.otel import FlamewireSpanProcessor

Labels = Callable[[], dict[str, str]]
IdOf = Callable[[Span], str]


def test_a_root_span_labels_until_it_is_left(tracer: Tracer, labels: Labels, id_of: IdOf) -> None:
    with tracer.start_as_current_span("GET /cart") as span:
        assert labels() == {"span_id": id_of(span), "span_name": "GET /cart"}
    assert labels() == {}


def test_a_child_adds_its_id_and_the_root_stays(tracer: Tracer, labels: Labels, id_of: IdOf) -> None:
    with tracer.start_as_current_span("root") as root:
        of_root = {"span_id": id_of(root), "span_name": "root"}
        with tracer.start_as_current_span("child") as child:
            assert labels() == {**of_root, "child_span_id": id_of(child)}
            with tracer.start_as_current_span("grandchild") as grandchild:
                assert labels() == {**of_root, "child_span_id": id_of(grandchild)}
            assert labels() == {**of_root, "child_span_id": id_of(child)}
        assert labels() == of_root


def test_of_two_open_spans_the_current_one_counts(tracer: Tracer, labels: Labels, id_of: IdOf) -> None:
    first = tracer.start_span("first", context=context_api.Context())
    second = tracer.start_span("second", context=context_api.Context())
    assert labels() == {}, "start_span makes nothing current"
    for span, name in ((first, "first"), (second, "second"), (first, "first")):
        with use_span(span):
            assert labels() == {"span_id": id_of(span), "span_name": name}
    first.end()
    with use_span(second, end_on_exit=True):
        assert labels() == {"span_id": id_of(second), "span_name": "second"}


def test_tags_and_spans_do_not_disturb_each_other(tracer: Tracer, labels: Labels, id_of: IdOf) -> None:
    with flamewire.tags(region="eu"), tracer.start_as_current_span("root") as root:
        span = {"span_id": id_of(root), "span_name": "root"}
        with flamewire.tags(route="/cart"):
            assert labels() == {"region": "eu", "route": "/cart", **span}
            with tracer.start_as_current_span("child") as child:
                assert labels() == {"region": "eu", "route": "/cart", **span, "child_span_id": id_of(child)}
        assert labels() == {"region": "eu", **span}
    assert labels() == {}


def test_a_context_without_another_span_changes_nothing(tracer: Tracer, labels: Labels) -> None:
    with tracer.start_as_current_span("root"):
        before = labels()
        token = context_api.attach(context_api.set_value("baggage", 1))
        assert labels() == before
        context_api.detach(token)
        assert labels() == before


def test_an_empty_context_takes_the_span_away_and_gives_it_back(tracer: Tracer, labels: Labels) -> None:
    with tracer.start_as_current_span("root"):
        before = labels()
        token = context_api.attach(context_api.Context())
        assert labels() == {}
        context_api.detach(token)
        assert labels() == before


def test_a_link_is_no_parent(tracer: Tracer, labels: Labels, id_of: IdOf) -> None:
    with tracer.start_as_current_span("cause") as cause:
        links = [Link(cause.get_span_context())]
    with tracer.start_as_current_span("effect", links=links) as effect:
        assert labels() == {"span_id": id_of(effect), "span_name": "effect"}


def test_a_renamed_root_renames_samples_of_its_children_too(
    tracer: Tracer, labels: Labels, id_of: IdOf
) -> None:
    with tracer.start_as_current_span("GET") as root:
        with tracer.start_as_current_span("middleware") as child:
            root.update_name("GET /cart")
            assert (labels()["span_name"], labels()["child_span_id"]) == ("GET /cart", id_of(child))
            child.update_name("other")
            assert labels()["span_name"] == "GET /cart"
        assert labels() == {"span_id": id_of(root), "span_name": "GET /cart"}
        root.update_name("GET /cart/{id}")
        assert labels()["span_name"] == "GET /cart/{id}"
    assert labels() == {}


def test_a_span_that_was_ended_on_another_thread_labels_nothing(tracer: Tracer, labels: Labels) -> None:
    span = tracer.start_span("elsewhere")
    with use_span(span):
        with flamewire.tags(a="1"):
            thread = threading.Thread(target=span.end)
            thread.start()
            thread.join(30)
            assert labels() == {"a": "1"}
        assert labels() == {}


def test_a_renamed_span_ends_everywhere(tracer: Tracer, labels: Labels) -> None:
    span = tracer.start_span("before")
    with use_span(span):
        context = contextvars.copy_context()
        span.update_name("after")
        assert context.run(labels)["span_id"] == labels()["span_id"]
        span.end()
        assert (labels(), context.run(labels)) == ({}, {})


def test_a_rename_on_another_thread_counts_at_once_also_for_a_child_elsewhere(
    tracer: Tracer, labels: Labels
) -> None:
    """As a framework does that learns the route late, while a task works on in a child span."""

    async def main() -> tuple[str, str]:
        renamed = asyncio.Event()

        async def task() -> tuple[str, str]:
            with tracer.start_as_current_span("child"):
                before = labels()["span_name"]
                await renamed.wait()
                return before, labels()["span_name"]

        with tracer.start_as_current_span("GET") as root:
            running = asyncio.create_task(task())
            await asyncio.sleep(0)
            await asyncio.to_thread(root.update_name, "GET /cart/{id}")
            assert labels()["span_name"] == "GET /cart/{id}"
            renamed.set()
            return await running

    assert asyncio.run(main()) == ("GET", "GET /cart/{id}")


def test_a_span_that_was_renamed_before_it_was_current_has_its_new_name(
    tracer: Tracer, labels: Labels
) -> None:
    root = tracer.start_span("before")
    root.update_name("after")
    child = tracer.start_span("child", context=trace.set_span_in_context(root))
    child.update_name("a child's own name is not that of the local root")
    with use_span(child, end_on_exit=True):
        assert labels()["span_name"] == "after"
    root.end()


def test_links_change_nothing(tracer: Tracer, labels: Labels, id_of: IdOf) -> None:
    linked = tracer.start_span("linked")
    with tracer.start_as_current_span("root", links=[Link(linked.get_span_context())]) as root:
        root.add_link(linked.get_span_context())
        assert labels() == {"span_id": id_of(root), "span_name": "root"}
    linked.end()


def test_an_outlived_span_labels_nothing(tracer: Tracer, labels: Labels) -> None:
    """A task that was created in a span goes on after it."""

    async def main() -> tuple[dict[str, str], dict[str, str]]:
        ended = asyncio.Event()

        async def task() -> tuple[dict[str, str], dict[str, str]]:
            inside = labels()
            await ended.wait()
            return inside, labels()

        with tracer.start_as_current_span("request"):
            running = asyncio.create_task(task())
            await asyncio.sleep(0)
        ended.set()
        return await running

    inside, after = asyncio.run(main())
    assert inside["span_name"] == "request"
    assert after == {}


def test_a_child_that_outlives_its_root_still_labels(tracer: Tracer, labels: Labels, id_of: IdOf) -> None:
    root = tracer.start_span("root")
    child = tracer.start_span("child", context=trace.set_span_in_context(root))
    root.end()
    with use_span(child, end_on_exit=True):
        expected = {"span_id": id_of(root), "span_name": "root", "child_span_id": id_of(child)}
        assert labels() == expected
        assert trace.get_current_span() is child
    assert labels() == {}


def test_interleaved_tasks_have_their_own_spans(tracer: Tracer, labels: Labels, id_of: IdOf) -> None:
    async def task(name: str) -> None:
        with tracer.start_as_current_span(name) as span:
            for _ in range(20):
                assert labels() == {"span_id": id_of(span), "span_name": name}
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(task(f"task {number}") for number in range(8)))

    asyncio.run(main())
    assert labels() == {}


def test_an_asynchronous_generator_that_is_dropped_harms_nobody(
    tracer: Tracer, labels: Labels, caplog: pytest.LogCaptureFixture
) -> None:
    """Its span is detached in a context that it was not attached in, which OpenTelemetry logs."""

    async def numbers() -> AsyncIterator[int]:
        with tracer.start_as_current_span("generator"):
            yield 1
            yield 2

    async def main() -> None:
        iterator = numbers()
        await anext(iterator)
        await asyncio.create_task(iterator.aclose())  # type: ignore[attr-defined]
        assert labels() == {}, "the generator's span has ended, though it is still current here"

    asyncio.run(main())
    assert any("detach" in record.message for record in caplog.records)


def test_executors_carry_tags_and_span_and_take_them_away(
    tracer: Tracer, labels: Labels, id_of: IdOf
) -> None:
    hook = ExecutorHook()
    hook.install()
    try:
        with ThreadPoolExecutor(1) as pool:
            with tracer.start_as_current_span("request") as root, flamewire.tags(route="/cart"):
                inside = {"span_id": id_of(root), "span_name": "request", "route": "/cart"}
                assert pool.submit(labels).result(30) == inside
                assert list(pool.map(lambda _: labels(), [1])) == [inside]

                def with_own_span() -> list[dict[str, str]]:
                    found = [labels()]
                    with tracer.start_as_current_span("in the pool"):
                        found.append(labels())
                    return [*found, labels()]

                before, own, after = pool.submit(with_own_span).result(30)
                assert (before, own["span_name"], after) == (inside, "in the pool", inside)
            assert pool.submit(labels).result(30) == {}
            failing = pool.submit(lambda: 1 / 0)
            assert isinstance(failing.exception(30), ZeroDivisionError)
    finally:
        hook.remove()


def test_executors_are_left_alone_where_that_is_asked_for(push_server_url: str) -> None:
    submit = ThreadPoolExecutor.submit
    for wanted in (True, False):
        options = {"service_name": "s", "server_url": push_server_url, "executor_tags": wanted}
        session = flamewire.start(**options)  # type: ignore[arg-type]
        assert (ThreadPoolExecutor.submit is not submit) == wanted
        session.stop(0)
        assert ThreadPoolExecutor.submit is submit


@pytest.fixture
def push_server_url() -> str:
    return "http://127.0.0.1:9"


def test_a_remote_parent_labels_nothing_and_its_child_is_a_local_root(
    tracer: Tracer, labels: Labels, id_of: IdOf
) -> None:
    remote = SpanContext(0xA1, 0xB2, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    token = context_api.attach(trace.set_span_in_context(NonRecordingSpan(remote)))
    assert labels() == {}
    with tracer.start_as_current_span("server") as span:
        assert labels() == {"span_id": id_of(span), "span_name": "server"}
    context_api.detach(token)


class RecordOnly(Sampler):
    def should_sample(self, *_: object, **__: object) -> SamplingResult:
        return SamplingResult(Decision.RECORD_ONLY)

    def get_description(self) -> str:
        return "RecordOnly"


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, RecordOnly()], ids=["dropped", "recorded only"])
def test_an_unsampled_span_labels_nothing_also_within_a_sampled_one(
    tracer: Tracer, labels: Labels, sampler: Sampler
) -> None:
    provider = TracerProvider(sampler=sampler)
    provider.add_span_processor(FlamewireSpanProcessor())
    unsampled = provider.get_tracer("unsampled")
    with unsampled.start_as_current_span("alone"):
        assert labels() == {}
    with tracer.start_as_current_span("root"):
        before = labels()
        with unsampled.start_as_current_span("inner"):
            assert labels() == {}
        assert labels() == before


def test_local_roots_carry_the_profile_id(tracer: Tracer, provider: TracerProvider, id_of: IdOf) -> None:
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with tracer.start_as_current_span("root") as root, tracer.start_as_current_span("child"):
        pass
    child_attributes, root_attributes = (
        dict(span.attributes or {}) for span in exporter.get_finished_spans()
    )
    expected = {"pyroscope.profile.id": id_of(root), "flamewire.profile.id": id_of(root)}
    assert (child_attributes, root_attributes) == ({}, expected)


def test_the_trace_id_is_carried_where_it_is_asked_for(labels: Labels, id_of: IdOf) -> None:
    provider = TracerProvider()
    provider.add_span_processor(FlamewireSpanProcessor(trace_id=True))
    with provider.get_tracer("t").start_as_current_span("root") as root:
        trace_id = format_trace_id(root.get_span_context().trace_id)
        assert labels() == {"span_id": id_of(root), "span_name": "root", "trace_id": trace_id}


def test_the_processor_by_its_former_name_is_ours() -> None:
    from flamewire.compat.pyroscope.otel import PyroscopeSpanProcessor

    assert isinstance(PyroscopeSpanProcessor(), FlamewireSpanProcessor)


def test_children_find_their_root_from_a_processors_own_thread(labels: Labels, id_of: IdOf) -> None:
    processors = ConcurrentMultiSpanProcessor(2)
    provider = TracerProvider(active_span_processor=processors)
    provider.add_span_processor(FlamewireSpanProcessor())
    tracer = provider.get_tracer("t")
    with tracer.start_as_current_span("root") as root, tracer.start_as_current_span("child") as child:
        expected = {"span_id": id_of(root), "span_name": "root", "child_span_id": id_of(child)}
        assert labels() == expected
    provider.shutdown()


def test_a_span_that_answers_to_every_name_labels_nothing(labels: Labels, tracer: Tracer) -> None:
    class Proxy(NonRecordingSpan):
        def __getattr__(self, name: str) -> object:
            return f"{name} of the proxy"

    tracer.start_span("so that the processor is there").end()
    with use_span(Proxy(SpanContext(1, 2, is_remote=False))):
        assert labels() == {}


def test_where_spans_cannot_be_followed_they_are_left_alone_and_that_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "flamewire.otel.following", None)
    provider = TracerProvider()
    with caplog.at_level(logging.WARNING, "flamewire"):
        provider.add_span_processor(FlamewireSpanProcessor())
    assert "samples carry no spans here" in caplog.text
    with provider.get_tracer("t").start_as_current_span("root") as root:
        assert isinstance(root, SdkSpan)
        assert not root.attributes


def test_after_shutdown_no_new_span_labels(labels: Labels) -> None:
    provider = TracerProvider()
    processor = FlamewireSpanProcessor()
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("t")
    with tracer.start_as_current_span("before"):
        processor.shutdown()
        assert labels()["span_name"] == "before"
        with tracer.start_as_current_span("after"):
            assert labels() == {}
    assert labels() == {}


def test_spans_that_are_dropped_without_an_end_are_let_go(tracer: Tracer, provider: TracerProvider) -> None:
    (processor,) = (
        each
        for each in provider._active_span_processor._span_processors
        if isinstance(each, FlamewireSpanProcessor)
    )
    for _ in range(100):
        tracer.start_span("forgotten")
    assert len(processor._open) <= 1
