"""The ASGI application (ASGI 3, on asyncio)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from flamewire.pull.questions import FULL, Pull, Reply, Seats, belongs_here, profile_reply, question
from flamewire.pull.recording import Recording

if TYPE_CHECKING:
    from flamewire.session import Session

__all__ = ["AsgiApp"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class AsgiApp:
    """Serves ``/debug/pprof/`` from a running session; a client that goes away ends its recording.

    Args:
        app: gets all requests but those for ``/debug/pprof`` and ``/debug/fgprof``; None: there are no
            others, and the application may be mounted under any path.
        session: which one; default the session of ``flamewire.start()``.
        max_seconds: longest profile that can be asked for.
        max_pulls: how many may wait at once; further ones are answered with 429.
    """

    def __init__(
        self,
        app: Application | None = None,
        *,
        session: Session | None = None,
        max_seconds: float = 60.0,
        max_pulls: int = 8,
    ) -> None:
        self._app = app
        self._session = session
        self._max_seconds = max_seconds
        self._seats = Seats(max_pulls)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; without an ``app`` other kinds of connections are left alone."""
        path, root = scope.get("path", ""), scope.get("root_path", "")
        path = path if path.startswith(root) else root + path
        if self._app is not None and not (scope["type"] == "http" and belongs_here(path)):
            await self._app(scope, receive, send)
            return
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        if scope["type"] != "http":
            return
        method, query = scope["method"], scope.get("query_string", b"").decode("latin-1")
        asked = question(method, path, query, session=self._session, max_seconds=self._max_seconds)
        reply = await self._record(asked, receive) if isinstance(asked, Pull) else asked
        if reply is None:
            return
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in reply.all_headers]
        status = int(reply.status.partition(" ")[0])
        await send({"type": "http.response.start", "status": status, "headers": headers})
        body = b"" if method == "HEAD" else reply.body
        await send({"type": "http.response.body", "body": body})

    async def _record(self, asked: Pull, receive: Receive) -> Reply | None:
        """Record until the time is over; None where the client has gone."""
        with self._seats.one() as seated:
            if not seated:
                return FULL
            recording = Recording(asked.session, asked.profile_type)
            gone = asyncio.ensure_future(_disconnect(receive))
            try:
                # In threads, since both wait for the session's, and merging takes its time.
                await asyncio.to_thread(recording.begin)
                done, _ = await asyncio.wait({gone}, timeout=asked.duration_s)
                if done:
                    return None
                return profile_reply(await asyncio.to_thread(recording.end), asked.profile_type)
            finally:
                gone.cancel()
                recording.cancel()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return
