"""Who may ask what: each route needs a scope, and the key that is shown names the tenant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from aiohttp import web

from flamewire_server.auth import ApiKey, KeyRing, Scope, key_of_headers
from flamewire_server.config import Config
from flamewire_server.errors import RequestError
from flamewire_server.model.tenant import parse_tenant, parse_tenants

__all__ = ["Access", "tenant_of", "tenants_of"]

_EXPRESSION = re.compile(r"\{(\w+):[^}]*\}")
_KEY: web.RequestKey[ApiKey] = web.RequestKey("key", ApiKey)


class Access:
    """Checks keys, where there are any. A route that nobody gave a scope needs `admin`."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self._scopes: dict[str, Scope | None] = {}

    def grant(self, routes: Iterable[web.RouteDef], scope: Scope | None) -> list[web.RouteDef]:
        """Say which scope routes need, None for no key at all; gives the routes back."""
        granted = list(routes)
        # aiohttp names a resource without the expressions of its parts.
        self._scopes.update({_EXPRESSION.sub(r"{\1}", route.path): scope for route in granted})
        return granted

    @property
    def needs_keys(self) -> bool:
        """Whether requests must show a key."""
        return self._keys.is_needed

    def check(self, request: web.Request) -> None:
        """Let a request pass, and remember its key.

        Raises:
            RequestError: 401 without a key that is known, 403 with one that may not do this or is of another
                tenant than the header X-Scope-OrgID says.
        """
        if not self._keys.is_needed:
            return
        resource = request.match_info.route.resource
        scope = self._scopes.get(resource.canonical, "admin") if resource is not None else "admin"
        if scope is None:
            return
        key = self._known_key(request.headers)
        if scope not in key.scopes:
            raise RequestError(
                "permission_denied",
                f"this needs a key with the scope {scope}; the one shown has {', '.join(key.scopes)}",
                reason="scope",
            )
        wanted = request.headers.get("X-Scope-OrgID")
        if wanted is not None and wanted != key.tenant:
            raise RequestError(
                "permission_denied",
                "the header X-Scope-OrgID names another tenant than the key; leave the header out",
                reason="other_tenant",
            )
        request[_KEY] = key

    def _known_key(self, headers: Mapping[str, str]) -> ApiKey:
        shown = key_of_headers(headers)
        if not shown:
            raise RequestError(
                "unauthenticated",
                "no key: send it as `Authorization: Bearer <key>`, or as the password of Basic",
                reason="no_key",
            )
        key = self._keys.find(shown)
        if key is None:
            raise RequestError("unauthenticated", "the key is not known here", reason="bad_key")
        return key


def tenant_of(request: web.Request, config: Config) -> str:
    """Tell the tenant of a request: its key's, else what the header X-Scope-OrgID says.

    Raises:
        RequestError: there is no key, multitenancy is on, and the header is absent or no tenant.
    """
    if _KEY in request:
        return request[_KEY].tenant
    return parse_tenant(request.headers.get("X-Scope-OrgID"), multitenancy=config.multitenancy_enabled)


def tenants_of(request: web.Request, config: Config) -> tuple[str, ...]:
    """Tell whose profiles a request reads: its key's tenant, else those that the header X-Scope-OrgID names.

    Raises:
        RequestError: there is no key, multitenancy is on, and the header is absent or holds what is no
            tenant.
    """
    if _KEY in request:
        return (request[_KEY].tenant,)
    return parse_tenants(
        request.headers.get("X-Scope-OrgID"),
        multitenancy=config.multitenancy_enabled,
        federation=config.tenant_federation_enabled,
    )
