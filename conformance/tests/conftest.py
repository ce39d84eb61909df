"""Runs broken implementations through cases, several at a time, each as soon as a test asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flamewire_conformance.cases import Suite, read_suite

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def suite() -> Suite:
    return read_suite(ROOT)
