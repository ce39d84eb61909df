"""The command `flamewire-server keys`: make, list and remove API keys."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from flamewire_server.audit import audit
from flamewire_server.auth import KEYS_FILE, SCOPES, add_key, read_keys, remove_key
from flamewire_server.model.tenant import ANONYMOUS

__all__ = ["add_keys_parser", "run_keys"]


def add_keys_parser(parser: argparse.ArgumentParser) -> None:
    """Add the verbs add, list and remove."""
    verbs = parser.add_subparsers(dest="verb", required=True)
    add = verbs.add_parser("add", help="make a key; it is shown once")
    add.add_argument("--tenant", default=ANONYMOUS, help=f"whose profiles it reaches, default {ANONYMOUS}")
    add.add_argument(
        "--scope", action="append", choices=SCOPES, required=True, help="what it may do; may be given again"
    )
    add.add_argument("--name", default="", help="a word for people, such as where the key is used")
    verbs.add_parser("list", help="list ids, tenants, scopes and names")
    remove = verbs.add_parser("remove", help="make a key invalid within a second")
    remove.add_argument("id", help="as list shows it")


def run_keys(options: argparse.Namespace, data_dir: Path) -> int:
    """Do what was asked.

    Returns:
        The exit status: 0, or 1 where there is no such key.

    Raises:
        ConfigError: the file of keys cannot be used.
    """
    path = data_dir / KEYS_FILE
    if options.verb == "add":
        scopes = [scope for scope in SCOPES if scope in options.scope]
        key, text = add_key(path, tenant=options.tenant, scopes=scopes, name=options.name)
        audit(data_dir, "keys add", key=key.id, tenant=key.tenant, scopes=scopes, name=options.name)
        sys.stderr.write(f"key {key.id} of tenant {key.tenant}: {', '.join(scopes)}; it is shown only now\n")
        sys.stdout.write(text + "\n")
        return 0
    if options.verb == "remove":
        if remove_key(path, options.id):
            audit(data_dir, "keys remove", key=options.id)
            return 0
        sys.stderr.write(f"flamewire-server: there is no key {options.id} in {path}\n")
        return 1
    for key in read_keys(path):
        sys.stdout.write(f"{key.id}  {key.tenant}  {','.join(key.scopes)}  {key.name}\n")
    return 0
