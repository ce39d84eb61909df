"""The recording sink: a server that keeps raw requests and answers from a script."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from flamewire_conformance.schema import Fields
from flamewire_conformance.wire import Request

__all__ = ["Answer", "Sink", "read_script"]

_START_DEADLINE_S = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One scripted answer.

    Attributes:
        status: the HTTP status.
        headers: of the answer; ``{sink}`` in a value is this sink under another host name.
        action: "reply"; "cut" closes the connection, as a server that crashes; "lose" stores and then
            closes it without an answer; "hang" never answers.
        times: how many requests get this answer; 0 stands for all that follow.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    action: str = "reply"
    times: int = 1

    @property
    def stores(self) -> bool:
        """Tell whether a server that does this has the profile."""
        return self.action == "lose" or (self.action == "reply" and 200 <= self.status < 300)


def read_script(where: str, values: list[object]) -> tuple[Answer, ...]:
    """Read a script from a scenario; an empty one answers 200 to everything."""
    answers = []
    for index, value in enumerate(values):
        fields = Fields(f"{where}: server[{index}]", value)
        headers = fields.take("headers", dict, {})
        answers.append(
            Answer(
                status=fields.take("status", int, 200),
                headers={str(name): str(text) for name, text in headers.items()},
                action=fields.choice("action", ("reply", "cut", "lose", "hang"), "reply"),
                times=fields.take("times", int, 1),
            )
        )
        fields.done()
    return tuple(answers)


class Sink:
    """One sink on a free port of 127.0.0.1, in a thread with an event loop of its own.

    Args:
        script: the answers, in order; after the last one it answers 200.
        port: 0 takes a free one.
    """

    def __init__(self, script: tuple[Answer, ...], port: int = 0) -> None:
        self._script = [answer for answer in script for _ in range(max(answer.times, 1))]
        self._last = script[-1] if script and script[-1].times == 0 else Answer()
        self._taken = 0
        self.requests: list[Request] = []
        self.port = port
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="conformance-sink", daemon=True)

    @property
    def url(self) -> str:
        """The address that a testee is given."""
        return f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def serving(self) -> Iterator[Sink]:
        """Serve while the context lasts."""
        self._thread.start()
        if not self._ready.wait(_START_DEADLINE_S):
            raise TimeoutError("the sink did not start")
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(_START_DEADLINE_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.1, handle_signals=False, auto_decompress=False
        )
        await runner.setup()
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        await web.SockSite(runner, listener).start()
        self._ready.set()
        await self._over.wait()
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        answer = self._script[self._taken] if self._taken < len(self._script) else self._last
        self._taken += 1
        # The raw bytes: what is compressed stays so, because the form is what is judged.
        body = await request.content.read()
        status = answer.status if answer.action == "reply" else None
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(
            Request(request.method, request.path_qs, headers, body, time.time_ns(), status, answer.stores)
        )
        if answer.action == "hang":
            await self._over.wait()
        if answer.action != "reply":
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        replaced = {
            name: value.replace("{sink}", f"http://localhost:{self.port}")
            for name, value in answer.headers.items()
        }
        return web.Response(status=answer.status, headers=replaced, body=b"")
