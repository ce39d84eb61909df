"""The one middleware: the Host check, keys, and errors as Connect replies."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from flamewire_server.errors import RequestError, StorageError
from flamewire_server.http.access import Access
from flamewire_server.http.connect import error_response
from flamewire_server.log import EventLog
from flamewire_server.metrics import Metrics

__all__ = ["is_allowed_host", "make_middleware"]

# An address of IPv6 in brackets, or a name; then maybe a port.
_HOST = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]+))(?::\d+)?")
_log = EventLog(__name__)


def is_allowed_host(host: str, allowed: Sequence[str]) -> bool:
    """Say whether a Host header is harmless on a server that only its own machine reaches.

    A page of another site reaches it by a name that its owner points to 127.0.0.1 (DNS rebinding): so no name
    passes but localhost and what the operator allows. An address is no name, and a browser always sends the
    header.
    """
    if not host:
        return True
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = (match[1] or match[2]).lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost") or name in allowed:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def make_middleware(
    *, check_host: bool, allowed_hosts: Sequence[str], metrics: Metrics, access: Access | None = None
) -> Middleware:
    """Make the middleware; with check_host only harmless Host headers are served, with access keys
    are checked."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            host = request.headers.get("Host", "")
            if check_host and not is_allowed_host(host, allowed_hosts):
                raise RequestError(
                    "permission_denied",
                    f"the host name {host[:100]!r} is not served here, as a guard against DNS"
                    " rebinding; use localhost"
                    " or an address, or add the name to server.allowed_hosts",
                    reason="bad_host",
                )
            _refuse_foreign_reader(request)
            if access is not None:
                access.check(request)
            return await handler(request)
        except RequestError as error:
            metrics.rejects.labels(error.reason).inc()
            response = error_response(error)
            if error.code == "unauthenticated" and access is not None and access.needs_keys:
                response.headers["WWW-Authenticate"] = 'Basic realm="flamewire", charset="UTF-8"'
            return response
        except web.HTTPException:
            raise
        except StorageError as error:
            _log.error("storage_failed", path=request.path, reason=str(error))
            metrics.rejects.labels("storage").inc()
            return error_response(
                RequestError(
                    "unavailable",
                    "the store cannot be read now; ask again",
                    reason="storage",
                    retry_after_s=1,
                )
            )
        except Exception as error:  # noqa: BLE001 - the root of a request: a defect answers 500, the server goes on
            _log.error("request_defect", exc=error, path=request.path)
            metrics.rejects.labels("defect").inc()
            return error_response(
                RequestError(
                    "internal", "the server has a defect; its log has the traceback", reason="defect"
                )
            )

    return middleware


def _refuse_foreign_reader(request: web.Request) -> None:
    """Refuse what a page of another site embeds or fetches; a link that somebody follows is no such thing.

    The page could not read the answer, for no CORS header is ever sent. But a browser would send the
    password of Basic along, and the server would do the work.

    Raises:
        RequestError: 403.
    """
    headers = request.headers
    if headers.get("Sec-Fetch-Site") == "cross-site" and headers.get("Sec-Fetch-Mode") != "navigate":
        raise RequestError(
            "permission_denied", "pages of other sites may not ask this server", reason="foreign_page"
        )
