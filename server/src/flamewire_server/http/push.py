"""The push endpoints: one handler for every format of the registry."""

from __future__ import annotations

import time

from aiohttp import web

from flamewire_server.config import Config
from flamewire_server.errors import RequestError
from flamewire_server.http.access import tenant_of
from flamewire_server.http.connect import BodyBudget, codec_of, encoding_of, read_body, refuse_foreign_page
from flamewire_server.ingest.block_writer import Push, Stored
from flamewire_server.ingest.committer import Committer
from flamewire_server.ingest.format import Format, Head
from flamewire_server.ingest.formats import FORMATS
from flamewire_server.metrics import Metrics

__all__ = ["PushHandlers"]

# Bodies in memory at one time, from all senders.
_BUDGET_BYTES = 128 << 20


class PushHandlers:
    """Takes pushes and answers when they are durable."""

    def __init__(self, config: Config, committer: Committer, metrics: Metrics) -> None:
        self._config = config
        self._committer = committer
        self._metrics = metrics
        self._budget = BodyBudget(max(_BUDGET_BYTES, 2 * config.max_request_bytes))
        self._formats = {(one.path, one.content_type): one for one in FORMATS}

    def routes(self) -> list[web.RouteDef]:
        """Give the routes of all formats."""
        return [web.post(path, self.push) for path in sorted({one.path for one in FORMATS})]

    async def push(self, request: web.Request) -> web.Response:
        """Answer one push."""
        try:
            response = await self._push(request)
        except RequestError as error:
            self._metrics.pushes.labels(error.code).inc()
            raise
        self._metrics.pushes.labels("ok").inc()
        return response

    async def _push(self, request: web.Request) -> web.Response:
        form = self._format_of(request)
        encoding = encoding_of(request)
        tenant = tenant_of(request, self._config)
        decoding = form.begin(Head(request.query, request.headers.get("Content-Type", ""), time.time_ns()))
        with self._budget.lease() as lease:
            body = await read_body(request, limit_bytes=self._config.max_request_bytes, lease=lease)
            try:
                stored = await self._committer.submit(Push(tenant, body, encoding, decoding.decode))
            except RequestError as error:
                if error.code == "invalid_argument" and error.status is None:
                    error.status = form.refused_status
                raise
        self._count(body, stored)
        if left_out := decoding.left_out():
            self._metrics.rejects.labels("otlp_profile").inc(left_out)
        return web.Response(body=decoding.reply(), content_type=form.reply_type)

    def _format_of(self, request: web.Request) -> Format:
        any_type = self._formats.get((request.path, None))
        if any_type is not None:
            refuse_foreign_page(request)
            return any_type
        codecs = {name: one for (path, name), one in self._formats.items() if path == request.path and name}
        return codecs[codec_of(request, tuple(codecs))]

    def _count(self, body: bytes, stored: Stored) -> None:
        metrics = self._metrics
        metrics.push_bytes.inc(len(body))
        metrics.profiles.inc(stored.profiles)
        metrics.samples.inc(stored.samples)
        metrics.decoded_bytes.inc(stored.decoded_bytes)
        if stored.duplicates:
            metrics.duplicates.inc(stored.duplicates)
        if stored.conflicts:
            metrics.conflicts.inc(stored.conflicts)
