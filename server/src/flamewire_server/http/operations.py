"""What an operator's tools ask: /ready and /metrics."""

from __future__ import annotations

from aiohttp import web

from flamewire_server.ingest.committer import Committer
from flamewire_server.metrics import Metrics

__all__ = ["OperationsHandlers"]

# How long a failed commit keeps the server from being ready. A proxy that then sends no pushes must not keep
# it so.
_FAILURE_HOLDS_S = 15


class OperationsHandlers:
    """Readiness and metrics."""

    def __init__(self, committer: Committer, metrics: Metrics) -> None:
        self._committer = committer
        self._metrics = metrics
        self.stopping = False

    def public_routes(self) -> list[web.RouteDef]:
        """Give the routes that anybody may ask."""
        return [web.get("/ready", self.ready)]

    def admin_routes(self) -> list[web.RouteDef]:
        """Give the routes that tell of all tenants."""
        return [web.get("/metrics", self.show_metrics)]

    async def ready(self, request: web.Request) -> web.Response:
        """Answer `ready`, or 503 and why not."""
        if self.stopping:
            return web.Response(status=503, text="not ready: the server is stopping\n")
        reason = self._committer.failing_because(within_s=_FAILURE_HOLDS_S)
        if reason is not None:
            return web.Response(status=503, text=f"not ready: profiles cannot be stored: {reason}\n")
        return web.Response(text="ready\n")

    async def show_metrics(self, request: web.Request) -> web.Response:
        """Answer with the metrics in the Prometheus text format."""
        return web.Response(
            body=self._metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )
