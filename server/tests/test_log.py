"""Logs: one event a line, in either form, whatever the fields hold."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from flamewire_server.log import EventLog, configure_logging


@pytest.fixture(autouse=True)
def restored_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_json_has_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info", format="json")
    log = EventLog("test")
    log.info("listening", url="http://127.0.0.1:1", note='two\nlines "quoted"')
    log.debug("unseen")
    (line,) = capsys.readouterr().err.splitlines()
    record = json.loads(line)
    assert record["event"] == "listening"
    assert (record["level"], record["url"], record["note"]) == (
        "info",
        "http://127.0.0.1:1",
        'two\nlines "quoted"',
    )


def test_text_has_one_event_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="warn", format="text")
    log = EventLog("test")
    log.info("unseen")
    log.warn("commit_failed", reason='no "space"\nleft', requests=3)
    (line,) = capsys.readouterr().err.splitlines()
    assert 'level=warn event=commit_failed reason="no \\"space\\"\\nleft" requests=3' in line


def test_a_traceback_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info", format="text")
    try:
        raise ValueError("a defect")
    except ValueError as error:
        EventLog("test").error("request_defect", exc=error)
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: a defect" in line


def test_records_of_libraries_are_events_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info", format="json")
    logging.getLogger("aiohttp.server").error("Error handling %s", "request")
    record = json.loads(capsys.readouterr().err)
    assert (record["event"], record["logger"], record["message"]) == (
        "log",
        "aiohttp.server",
        "Error handling request",
    )
