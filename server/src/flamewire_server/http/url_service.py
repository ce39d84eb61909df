"""GET endpoints: each is a function from what the URL says to a document."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from flamewire_server.config import Config
from flamewire_server.http.access import tenants_of
from flamewire_server.http.query_runner import QueryRunner
from flamewire_server.http.reply import is_gone, send
from flamewire_server.http.url_query import UrlQuery
from flamewire_server.metrics import Metrics

__all__ = ["Document", "UrlService"]


@dataclass(frozen=True, slots=True)
class Document:
    """An answer with its Content-Type."""

    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class UrlService:
    """Answers GET requests by their path, under the limits of queries."""

    def __init__(
        self,
        answers: Mapping[str, Callable[[UrlQuery], Document]],
        config: Config,
        runner: QueryRunner,
        metrics: Metrics,
    ) -> None:
        self._answers = answers
        self._config = config
        self._runner = runner
        self._metrics = metrics

    def routes(self) -> list[web.RouteDef]:
        """Give a route for each path."""
        return [web.get(path, self._handler(path, answer)) for path, answer in self._answers.items()]

    def _handler(
        self, path: str, answer: Callable[[UrlQuery], Document]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            tenants, parameters = tenants_of(request, self._config), dict(request.query)
            # The tree is chosen by Accept on the path of the columns.
            parameters.setdefault("accept", request.headers.get("Accept", ""))
            started_s = time.perf_counter()
            try:
                document = await self._runner.run(
                    tenants,
                    lambda guard: answer(UrlQuery(self._config, tenants, parameters, guard)),
                    is_gone=lambda: is_gone(request),
                )
            finally:
                self._metrics.query_seconds.labels(path).observe(time.perf_counter() - started_s)
            return await send(request, document.body, document.content_type, document.headers)

        return handle
