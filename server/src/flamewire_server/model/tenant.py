"""Tenants: whose data a request is about."""

from __future__ import annotations

import re

from flamewire_server.errors import RequestError

__all__ = ["ANONYMOUS", "parse_tenant", "parse_tenants"]

ANONYMOUS = "anonymous"
# The charset of X-Scope-OrgID in Pyroscope, Loki and Mimir. It holds no path separator, for a tenant names a
# folder.
_TENANT = re.compile(r"[0-9A-Za-z!_.*'()-]{1,150}")


# A federated query costs as much as one of each tenant.
_MAX_TENANTS = 32


def parse_tenants(header: str | None, *, multitenancy: bool, federation: bool) -> tuple[str, ...]:
    """Tell the tenants that a request reads; with federation there may be several, joined by `|`.

    Raises:
        RequestError: multitenancy is on, and the header is absent or holds what is no tenant.
    """
    if not (multitenancy and federation and header):
        return (parse_tenant(header, multitenancy=multitenancy),)
    tenants = tuple(sorted({parse_tenant(part, multitenancy=True) for part in header.split("|")}))
    if len(tenants) > _MAX_TENANTS:
        raise RequestError(
            "invalid_argument",
            f"the header X-Scope-OrgID names {len(tenants)} tenants; a query reads at most {_MAX_TENANTS}",
            reason="bad_tenant",
        )
    return tenants


def parse_tenant(header: str | None, *, multitenancy: bool) -> str:
    """Tell the tenant of a request from its X-Scope-OrgID header; without multitenancy always `anonymous`.

    Raises:
        RequestError: multitenancy is on, and the header is absent or no tenant.
    """
    if not multitenancy:
        return ANONYMOUS
    if not header:
        raise RequestError(
            "unauthenticated", "no org id: send the tenant in the header X-Scope-OrgID", reason="no_tenant"
        )
    if not _TENANT.fullmatch(header) or header in (".", ".."):
        raise RequestError(
            "invalid_argument",
            "the header X-Scope-OrgID is no tenant: 1 to 150 of the characters 0-9 A-Z a-z ! - _ . * ' ( )",
            reason="bad_tenant",
        )
    return header
