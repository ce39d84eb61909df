"""The command `flamewire-server admin`: look at a data folder, check it, move and delete what it holds."""

from __future__ import annotations

from flamewire_server.admin.command import run_admin

__all__ = ["run_admin"]
