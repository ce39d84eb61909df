from __future__ import annotations

import logging

import pytest

from flamewire.config import Options
from flamewire.engines import registry
from flamewire.errors import EngineError


class Refusing:
    def start(self, options: Options) -> None:
        raise EngineError("the layout is not known")


class Willing:
    def start(self, options: Options) -> None:
        pass


@pytest.fixture(autouse=True)
def two_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        registry, "_ENGINES", {"native": f"{__name__}:Refusing", "python": f"{__name__}:Willing"}
    )
    monkeypatch.setattr(
        registry, "import_module", lambda _name: __import__("types").SimpleNamespace(**globals())
    )


def test_auto_falls_back_with_one_log_line_that_says_why(caplog: pytest.LogCaptureFixture) -> None:
    engine, why = registry.start_engine(Options(service_name="x"))
    assert isinstance(engine, Willing)
    assert "the layout is not known" in why
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "the layout is not known" in caplog.text


def test_an_engine_asked_for_by_name_is_not_replaced() -> None:
    with pytest.raises(EngineError, match="the layout is not known"):
        registry.start_engine(Options(service_name="x", engine="native"))


def test_no_engine_at_all_says_why_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_ENGINES", {"native": "m:Refusing", "python": "m:Refusing"})
    with pytest.raises(EngineError, match=r"native: .*python: "):
        registry.start_engine(Options(service_name="x"))


def test_a_module_that_does_not_load_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> object:
        raise ImportError("no such file")

    monkeypatch.setattr(registry, "import_module", fail)
    with pytest.raises(EngineError, match="no such file"):
        registry.start_engine(Options(service_name="x", engine="native"))
