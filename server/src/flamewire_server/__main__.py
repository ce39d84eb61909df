"""`python -m flamewire_server` is the command `flamewire-server`."""

from __future__ import annotations

import sys

from flamewire_server.cli import main

if __name__ == "__main__":
    sys.exit(main())
