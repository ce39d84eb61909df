"""An aiohttp service whose requests are spans, and take turns on its one event loop."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable

from aiohttp import web
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from work import current_id, handle, work_of_request, work_of_step

import flamewire
import flamewire.otel

TURNS, TURN_S = 8, 0.4
arrived = asyncio.Barrier(2)


@web.middleware
async def trace_request(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    with trace.get_tracer("service").start_as_current_span(request.path):
        return await handler(request)


async def take_turns(request: web.Request) -> web.Response:
    """Burn in turns with another request, which burns in the other function."""
    work = {"request": work_of_request, "step": work_of_step}[request.query["work"]]
    await arrived.wait()
    burnt_s = 0.0
    for _ in range(TURNS):
        began_s = time.thread_time()
        work(began_s + TURN_S)
        burnt_s += time.thread_time() - began_s
        await asyncio.sleep(0)
    return web.json_response({"root": current_id(), "burnt_s": burnt_s})


async def in_a_thread(_: web.Request) -> web.Response:
    return web.json_response(await asyncio.to_thread(handle))


async def ready(_: web.Request) -> web.Response:
    return web.json_response({"pid": os.getpid()})


async def stop_profiling(_: web.Application) -> None:
    flamewire.stop()


if __name__ == "__main__":
    trace.set_tracer_provider(TracerProvider())
    flamewire.otel.start()
    app = web.Application(middlewares=[trace_request])
    app.add_routes([web.get("/turns", take_turns), web.get("/thread", in_a_thread), web.get("/ready", ready)])
    app.on_cleanup.append(stop_profiling)
    listening = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    web.run_app(app, sock=listening, print=None)
