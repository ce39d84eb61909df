"""``python -m flamewire`` is the command ``flamewire``."""

from __future__ import annotations

import sys

from flamewire.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
