from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from stored_profiles import StoredProfiles


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[StoredProfiles]:
    parts = StoredProfiles(tmp_path)
    yield parts
    parts.close()
