"""A Connect service: its methods by name, whatever they do, in whichever codec and transport they are
asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from flamewire_server._native import QueryGuard
from flamewire_server.config import Config
from flamewire_server.errors import RequestError
from flamewire_server.http.access import tenant_of, tenants_of
from flamewire_server.http.connect import JSON, BodyBudget, codec_of, encoding_of, read_body
from flamewire_server.http.query_runner import QueryRunner
from flamewire_server.http.reply import is_gone, send
from flamewire_server.ingest.encoding import unpack
from flamewire_server.metrics import Metrics

__all__ = ["Answer", "Call", "ConnectService", "Method", "Methods", "takes_utf8_names", "unimplemented"]

_MAX_BODY_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Call:
    """One call: whose profiles it reads, in which codec, with which headers. The guard ends it early."""

    tenants: tuple[str, ...]
    codec: str
    utf8_names: bool
    guard: QueryGuard | None = None

    @property
    def tenant(self) -> str:
        """The one tenant of a call that writes."""
        return self.tenants[0]


# What a method gives back: a message to encode, or the bytes of one in the call's codec.
Answer = Message | bytes
Method = tuple[type[Message], Callable[[Call, Any], Answer]]
Methods = Mapping[str, Method]


class ConnectService:
    """Answers the methods of one service; others are unimplemented.

    Args:
        name: with its package, as in `querier.v1.QuerierService`.
        methods: by name.
        writing: the methods that store something: a call of a service that has any is of exactly one tenant.
        max_body_bytes: of a request, unpacked.
    """

    def __init__(
        self,
        name: str,
        methods: Methods,
        config: Config,
        runner: QueryRunner,
        metrics: Metrics,
        *,
        writing: tuple[str, ...] = (),
        max_body_bytes: int = _MAX_BODY_BYTES,
    ) -> None:
        self.name = name
        self._methods = methods
        self._config = config
        self._runner = runner
        self._metrics = metrics
        self._writing = writing
        self._max_body_bytes = max_body_bytes
        self._budget = BodyBudget(max(16 * _MAX_BODY_BYTES, 2 * max_body_bytes))

    def routes(self) -> list[web.RouteDef]:
        """Give the route of the service; those of write_routes come first."""
        return [web.post(f"/{self.name}/{{method}}", self.call)]

    def write_routes(self) -> list[web.RouteDef]:
        """Give a route for each method that stores something."""
        return [web.post(f"/{self.name}/{method}", self.call) for method in self._writing]

    async def call(self, request: web.Request) -> web.StreamResponse:
        """Answer one unary Connect call over HTTP."""
        method = request.path.rpartition("/")[2]
        self.check_method(method)
        codec = codec_of(request)
        with self._budget.lease() as lease:
            body = await read_body(request, limit_bytes=self._max_body_bytes, lease=lease)
            body = unpack(body, encoding_of(request), limit_bytes=self._max_body_bytes)
        reply = await self.ask(request, method, codec, body)
        return await send(request, reply, codec)

    async def ask(self, request: web.Request, method: str, codec: str, body: bytes) -> bytes:
        """Answer a message, for any transport: the reply in the same codec.

        Raises:
            RequestError: the call is refused.
        """
        self.check_method(method)
        if self._writing:
            tenants: tuple[str, ...] = (tenant_of(request, self._config),)
        else:
            tenants = tenants_of(request, self._config)
        utf8_names = takes_utf8_names(request)
        started_s = time.perf_counter()
        try:
            return await self._runner.run(
                tenants,
                lambda guard: self._answer(method, Call(tenants, codec, utf8_names, guard), body),
                is_gone=lambda: is_gone(request),
            )
        finally:
            self._metrics.query_seconds.labels(method).observe(time.perf_counter() - started_s)

    def check_method(self, method: str) -> None:
        """Refuse what the service has not: RequestError, unimplemented."""
        if method not in self._methods:
            raise RequestError(
                "unimplemented", f"{self.name}/{method[:100]} is not served here", reason="unimplemented"
            )

    def _answer(self, method: str, call: Call, body: bytes) -> bytes:
        request_type, answer_of = self._methods[method]
        message = request_type()
        try:
            if call.codec == JSON:
                json_format.Parse(body or b"{}", message, ignore_unknown_fields=True)
            else:
                message.ParseFromString(body)
        except (json_format.ParseError, DecodeError, ValueError, RecursionError) as error:
            raise RequestError(
                "invalid_argument",
                f"the body is no {message.DESCRIPTOR.full_name}: {str(error)[:200]}",
                reason="bad_message",
            ) from error
        answer = answer_of(call, message)
        if isinstance(answer, bytes):
            return answer
        if call.codec == JSON:
            return json_format.MessageToJson(answer, indent=None, ensure_ascii=False).encode()
        return answer.SerializeToString()


def takes_utf8_names(request: web.Request) -> bool:
    """Say whether the client takes label names of any charset; QRY-022."""
    return "allow-utf8-labelnames=true" in request.headers.get("Accept", "").replace(" ", "")


def unimplemented(what: str) -> RequestError:
    """Make the refusal of what a request may hold but nothing here does."""
    return RequestError(
        "unimplemented", f"{what} is not served here; leave it out of the request", reason="unimplemented"
    )
