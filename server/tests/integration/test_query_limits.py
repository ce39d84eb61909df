"""Queries end: when their time is over, when their client has gone, when there are too many."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from server_process import CPU, JSON, ServerProcess, make_profile, make_push, recent

from flamewire_server._native import QueryGuard, QueryStoppedError, Reader, Selection
from flamewire_server.errors import RequestError
from flamewire_server.http.query_runner import QueryRunner
from flamewire_server.http.reply import is_gone
from flamewire_server.metrics import Metrics

WHOLE = {"profileTypeID": CPU, "labelSelector": "{}"}


def stopped(metrics: Metrics, reason: str) -> float:
    return metrics.queries_stopped.labels(reason)._value.get()


def work_until_stopped(guard: QueryGuard) -> None:
    """Be a query without end: look at the guard again and again, as the reader does between two files."""
    reader = Reader()
    selection = Selection(series=[1], start_ns=0, end_ns=1, guard=guard)
    while True:
        try:
            reader.tree("t", ["/nonexistent"], [], selection)
        except FileNotFoundError:
            continue


def make_runner(executor: ThreadPoolExecutor, metrics: Metrics, **limits: Any) -> QueryRunner:
    config = SimpleNamespace(**{"max_concurrent_queries": 0, "query_timeout_s": 0.0, **limits})
    return QueryRunner(config, executor, metrics)  # type: ignore[arg-type]


def test_a_query_ends_when_its_time_is_over() -> None:
    metrics = Metrics()

    async def run(executor: ThreadPoolExecutor) -> None:
        runner = make_runner(executor, metrics, query_timeout_s=0.05)
        await runner.run(("a",), work_until_stopped, is_gone=lambda: False)

    with ThreadPoolExecutor(1) as executor, pytest.raises(RequestError, match="query_timeout") as caught:
        asyncio.run(run(executor))
    assert caught.value.code == "deadline_exceeded"
    assert stopped(metrics, "timeout") == 1


def test_a_query_ends_when_its_client_has_gone() -> None:
    metrics = Metrics()

    async def run(executor: ThreadPoolExecutor) -> None:
        runner = make_runner(executor, metrics)
        await runner.run(("a",), work_until_stopped, is_gone=lambda: True)

    # The thread is free again: else leaving the executor's block would wait for ever.
    with ThreadPoolExecutor(1) as executor, pytest.raises(RequestError):
        asyncio.run(run(executor))
    assert stopped(metrics, "client_gone") == 1


def test_a_tenants_queries_are_limited_and_others_go_on() -> None:
    release = threading.Event()

    def wait(guard: QueryGuard) -> str:
        assert release.wait(60)
        return "done"

    async def run(executor: ThreadPoolExecutor) -> list[str]:
        runner = make_runner(executor, Metrics(), max_concurrent_queries=2)

        def ask(tenant: str) -> asyncio.Task[str]:
            return asyncio.create_task(runner.run((tenant,), wait, is_gone=lambda: False))

        running = [ask("a"), ask("a"), ask("b")]
        await asyncio.sleep(0)
        with pytest.raises(RequestError, match="max_concurrent_queries") as caught:
            await ask("a")
        assert (caught.value.code, caught.value.retry_after_s) == ("resource_exhausted", 1)
        release.set()
        results = [await one for one in running]
        return [*results, await ask("a")]

    with ThreadPoolExecutor(4) as executor:
        assert asyncio.run(run(executor)) == ["done"] * 4


def test_the_guard_ends_every_query_of_the_reader() -> None:
    guard = QueryGuard()
    guard.cancel()
    selection = Selection(series=[1], start_ns=0, end_ns=1, guard=guard)
    with pytest.raises(QueryStoppedError, match="cancelled"):
        Reader().tree("t", ["/nonexistent"], [], selection)
    with pytest.raises(ValueError, match="timeout_s"):
        QueryGuard(-1)


def test_a_server_refuses_what_would_read_too_much(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server(environ={"FLAMEWIRE_SERVER_MAX_QUERY_BYTES": "10"})
    assert server.push(make_push("shop", make_profile({"main": 1}))).status == 200
    body = json.dumps({**WHOLE, **recent()}).encode()
    reply = server.query_raw("SelectMergeStacktraces", body, JSON)
    assert (reply.status, reply.json()["code"]) == (429, "resource_exhausted")
    assert "max_query_bytes" in reply.json()["message"]
    # What a query would cost, and what labels there are, may be asked all the same.
    cost = server.query("AnalyzeQuery", query=CPU + "{}", **recent())
    assert int(cost["queryImpact"]["totalBytesInTimeRange"]) > 10
    assert server.query("LabelValues", name="service_name", **recent())["names"] == ["shop"]


def test_answers_are_the_same_with_and_without_what_is_kept(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server(environ={"FLAMEWIRE_SERVER_QUERY_CACHE_BYTES": "0"})
    for value in (1, 2):
        assert server.push(make_push("shop", make_profile({"main;a": value, "main": 5}))).status == 200
    span = recent()
    graphs = [server.query("SelectMergeStacktraces", **WHOLE, **span) for _ in range(2)]
    assert graphs[0] == graphs[1]
    server.stop()
    keeping = start_server()
    for _ in range(2):
        assert keeping.query("SelectMergeStacktraces", **WHOLE, **span) == graphs[0]


def test_a_closed_connection_is_seen() -> None:
    """A real connection that its client closes ends the query that it asked."""
    metrics = Metrics()

    async def scenario(executor: ThreadPoolExecutor) -> None:
        runner = make_runner(executor, metrics)
        started = threading.Event()

        def work(guard: QueryGuard) -> None:
            started.set()
            work_until_stopped(guard)

        async def handle(request: web.Request) -> web.Response:
            await runner.run(("a",), work, is_gone=lambda: is_gone(request))
            return web.Response()

        app = web.Application()
        app.router.add_get("/", handle)
        server = web.AppRunner(app)
        await server.setup()
        listener = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(server, listener).start()
        try:
            _, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await asyncio.wait_for(asyncio.to_thread(started.wait, 60), 60)
            writer.close()
            async with asyncio.timeout(60):
                while not stopped(metrics, "client_gone"):
                    await asyncio.sleep(0.02)
        finally:
            await server.cleanup()

    # The thread is free again: else leaving the executor's block would wait for ever.
    with ThreadPoolExecutor(1) as executor:
        asyncio.run(scenario(executor))
    assert stopped(metrics, "client_gone") == 1
