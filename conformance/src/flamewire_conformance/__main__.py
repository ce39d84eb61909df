"""Run the command as ``python -m flamewire_conformance``."""

from __future__ import annotations

import sys

from flamewire_conformance.cli import main

sys.exit(main())
