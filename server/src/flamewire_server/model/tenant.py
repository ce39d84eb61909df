"""Tenants: whose data a request is about."""

from __future__ import annotations

import re

from flamewire_server.errors import RequestError

__all__ = ["ANONYMOUS", "parse_tenant"]

ANONYMOUS = "anonymous"
# The charset of X-Scope-OrgID in Pyroscope, Loki and Mimir. It holds no path separator, for a tenant names a
# folder.
_TENANT = re.compile(r"[0-9A-Za-z!_.*'()-]{1,150}")


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
