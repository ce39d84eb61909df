"""Which processes of a fleet are profiled, where not all of them are."""

from __future__ import annotations

import hashlib
import socket

__all__ = ["is_chosen"]


def is_chosen(ratio: float, service_name: str, instance: str | None = None) -> bool:
    """Tell whether this process is among the share of the fleet that is profiled.

    The choice falls by the service and the instance, so it is the same after each restart, for all processes
    of one host (or container), and the hosts that a small ratio chooses are among those of a greater one.

    Args:
        ratio: share of the fleet, 0 to 1.
        service_name: so that not all services profile the same hosts.
        instance: what tells the instances apart; default the host's name.
    """
    if ratio >= 1.0:
        return True
    identity = f"{service_name}\0{socket.gethostname() if instance is None else instance}"
    digest = hashlib.blake2b(identity.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest) < ratio * 2**64
