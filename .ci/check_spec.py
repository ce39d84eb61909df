"""Check `protocol/spec`: every sentence has one number, in order, and the code names no other number.

Checks too that each test which `docs/reference/promises.md` names exists.

Run by `nox -s protocol`. Exits with 1 and one line for each fault.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "protocol" / "spec"
SENTENCE = re.compile(r"\*\*(?P<id>(?P<area>[A-Z]{3})-\d{3})\*\* (?P<text>.+)", re.DOTALL)
AREAS = ("ING", "FMT", "PPR", "LAB", "SPN", "SDK", "QRY", "OTL")
NAMED = re.compile(rf"\b(?:{'|'.join(AREAS)})-\d{{3}}\b")
PROMISES = ROOT / "docs" / "reference" / "promises.md"
TEST = re.compile(r"`(?P<path>[\w./-]+\.(?:py|yaml))(?:::(?P<name>test_\w+))?`")
OPTION_KEYS = {"name", "type", "default", "environment", "aliases", "flag", "text"}
OPTION_TYPES = {"string", "integer", "number", "boolean", "string_list", "string_map"}


def sentences() -> Iterator[tuple[Path, str, str, str]]:
    """Yield (file, id, area, text) of every numbered sentence."""
    for path in sorted(SPEC.glob("*.md")):
        for paragraph in path.read_text(encoding="utf-8").split("\n\n"):
            if match := SENTENCE.match(paragraph):
                yield path, match["id"], match["area"], match["text"]


def spec_faults(known: set[str]) -> Iterator[str]:
    """Yield what is wrong with the sentences; fills `known` with their numbers."""
    last: dict[str, str] = {}
    for path, name, area, text in sentences():
        where = f"{path.relative_to(ROOT)}: {name}"
        if area not in AREAS:
            yield f"{where}: no such area; known: {', '.join(AREAS)}"
        if name <= last.get(area, ""):
            yield f"{where}: stands after {last[area]}; numbers rise and none is used twice"
        if not re.search(r"\b(MUST|SHOULD|MAY)\b", text):
            yield f"{where}: says neither MUST nor SHOULD nor MAY"
        last[area] = name
        known.add(name)


def reference_faults(known: set[str]) -> Iterator[str]:
    """Yield each number that a file of the project names and the specification lacks."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        path = ROOT / name
        if (
            path.suffix not in {".py", ".pyi", ".rs", ".c", ".h", ".ts", ".tsx", ".md", ".proto", ".yaml"}
            or not path.exists()
        ):
            continue
        for unknown in sorted(set(NAMED.findall(path.read_text(encoding="utf-8"))) - known):
            yield f"{name}: names {unknown}, which protocol/spec does not have"


def option_faults() -> Iterator[str]:
    """Yield what is wrong with the table of options."""
    options = yaml.safe_load((SPEC / "options.yaml").read_text(encoding="utf-8"))["options"]
    variables: set[str] = set()
    for option in options:
        name = option.get("name")
        if missing := OPTION_KEYS - option.keys():
            yield f"options.yaml: {name}: lacks {', '.join(sorted(missing))}"
            continue
        if option["type"] not in OPTION_TYPES:
            yield f"options.yaml: {name}: unknown type {option['type']}"
        if option["environment"] != f"FLAMEWIRE_{name.upper()}":
            yield f"options.yaml: {name}: its variable is FLAMEWIRE_{name.upper()}"
        if option["flag"] != "--" + name.replace("_", "-"):
            yield f"options.yaml: {name}: its flag is --{name.replace('_', '-')}"
        if twice := variables & {option["environment"], *option["aliases"]}:
            yield f"options.yaml: {name}: {', '.join(sorted(twice))} sets another option already"
        variables |= {option["environment"], *option["aliases"]}


def promise_faults() -> Iterator[str]:
    """Yield each promise that names neither a test nor a limit, and each test that is not there."""
    for number, line in enumerate(PROMISES.read_text(encoding="utf-8").splitlines(), 1):
        where = f"{PROMISES.relative_to(ROOT)}:{number}"
        tests = list(TEST.finditer(line))
        is_row = line.startswith("| ") and not line.startswith("| case |")
        if is_row and not tests and not re.search(r"\*limit\*|see forks above|there are none", line):
            yield f"{where}: names no test and is no limit"
        for test in tests:
            path, name = test["path"], test["name"]
            folder = ROOT if path.startswith(("server/", "conformance/")) else ROOT / "sdk-python" / "tests"
            if not (folder / path).is_file():
                yield f"{where}: there is no {path}"
            elif name and f"def {name}(" not in (folder / path).read_text(encoding="utf-8"):
                yield f"{where}: {path} has no {name}"


def main() -> int:
    """Print every fault; return the exit code."""
    known: set[str] = set()
    faults = [*spec_faults(known), *reference_faults(known), *option_faults(), *promise_faults()]
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"protocol/spec: {len(known)} sentences, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
