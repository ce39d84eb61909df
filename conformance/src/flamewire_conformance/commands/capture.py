"""``record`` poses as a server for any client at all; ``assess`` judges what it recorded."""

from __future__ import annotations

import argparse
import json
import signal
import threading
from pathlib import Path

from flamewire_conformance.capture import read_capture, write_request
from flamewire_conformance.checks.registry import judge
from flamewire_conformance.errors import SuiteError
from flamewire_conformance.evidence import gather
from flamewire_conformance.sink import Sink
from flamewire_conformance.testee import Story

__all__ = ["PASSIVE", "add_capture"]

PASSIVE = {
    "references": "PPR-001, PPR-002, PPR-003, PPR-005",
    "positive": "PPR-021",
    "locations_once": "PPR-028",
    "aggregated": "PPR-030",
    "no_empty_window": "PPR-025",
    "labels_once": "LAB-032",
    "series_labels_once": "LAB-002",
}
"""Checks that need no truth of the program: name -> the sentences that they are of."""


def add_capture(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs to the command line."""
    record = verbs.add_parser("record", help="pose as a server and keep what comes")
    record.add_argument("--port", type=int, default=4040)
    record.add_argument("--to", type=Path, required=True, help="folder for the recording")
    record.add_argument("--requests", type=int, default=0, help="end after so many; default: at Ctrl-C")
    record.set_defaults(perform=_record)
    assess = verbs.add_parser("assess", help="judge a recording by what can be told without its program")
    assess.add_argument("recording", type=Path)
    assess.set_defaults(perform=_assess)


def _record(options: argparse.Namespace) -> int:
    options.to.mkdir(parents=True, exist_ok=True)
    over = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: over.set())
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    sink = Sink((), port=options.port)
    written = 0
    with sink.serving():
        print(f"recording at {sink.url} into {options.to}; Ctrl-C ends", flush=True)
        while not over.wait(0.2) and not (options.requests and written >= options.requests):
            for request in sink.requests[written:]:
                write_request(options.to, written, request)
                written += 1
    for request in sink.requests[written:]:
        write_request(options.to, written, request)
        written += 1
    print(f"{written} requests are in {options.to}")
    return 0


def _assess(options: argparse.Namespace) -> int:
    requests = read_capture(options.recording)
    if not requests:
        raise SuiteError(f"{options.recording}: holds no request-N.json")
    evidence = gather(Story(), requests, 0, "{fn}")
    faults = 0
    for unreadable in evidence.unreadable:
        faults += 1
        print(f"unreadable: {unreadable}")
    for name, spec in PASSIVE.items():
        found = judge(evidence, {name: True})
        faults += len(found)
        print(
            f"{'FAIL' if found else 'pass'}  {name} ({spec})" + "".join(f"\n      {one}" for one in found[:5])
        )
    about = {"requests": len(requests), "profiles": len(evidence.attempts)}
    print(json.dumps(about))
    return 1 if faults else 0
