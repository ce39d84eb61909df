"""Installs a mutated copy of a package, and tells whether the cases that a mutation names noticed it."""

from __future__ import annotations

import dataclasses
import filecmp
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from flamewire_conformance.errors import SuiteError
from flamewire_conformance.mutations import Mutation, Package
from flamewire_conformance.runner import Cell, State
from flamewire_conformance.targets import Target

__all__ = ["caught_by", "install_mutant", "installed_folder", "over"]

_BUILD_DEADLINE_S = 1800
_BROKE_DOWN = ("the testee failed: ", "the answer is 0")
"""A program that does not run fails every case, which says nothing of the case."""
_NOT_COPIED = shutil.ignore_patterns("__pycache__", "*.so", "*.egg-info", "build", "target", "ui", "_ui")


def installed_folder(package: Package) -> Path:
    """Return where the package is installed for this interpreter.

    Raises:
        SuiteError: it is not.
    """
    found = find_spec(package.module)
    if found is None or not found.submodule_search_locations:
        raise SuiteError(f"{package.module} is not installed beside the suite; install {package.folder}")
    return Path(found.submodule_search_locations[0])


def install_mutant(mutation: Mutation, tree: Path, installed: Path, work: Path) -> Path:
    """Install a copy of the package with the mutation; returns the folder to import it from.

    Neither the tree nor what is installed is touched. Python is copied from what is installed, native cores
    are built anew; of the server's only our own crates, since the folder of cargo's results stays.

    Args:
        tree: has the sources.
        installed: the package as it is without a mutation, built from the same sources.
        work: for copies and builds.

    Raises:
        SuiteError: the mutation does not apply, what is installed is of other sources, or the build failed.
    """
    text = mutation.applied(tree)
    package = mutation.package
    overlay = work / "installed"
    shutil.rmtree(overlay, ignore_errors=True)
    copy = overlay / package.module
    shutil.copytree(installed, copy, ignore=shutil.ignore_patterns("__pycache__"))
    sources = tree / package.folder / "src" / package.module
    if mutation.is_native:
        _build_native(mutation, text, tree / package.folder, overlay, work)
        return overlay
    edited = (tree / mutation.file).relative_to(sources)
    if not filecmp.cmp(tree / mutation.file, copy / edited, shallow=False):
        raise SuiteError(f"the {package.module} that is installed is not of {tree}; install it anew")
    (copy / edited).write_text(text, encoding="utf-8")
    return overlay


def _build_native(mutation: Mutation, text: str, source: Path, overlay: Path, work: Path) -> None:
    copy = work / "sources" / mutation.package.folder
    shutil.rmtree(copy, ignore_errors=True)
    # New times for all files: with their own, what the mutation before has changed would look built already.
    shutil.copytree(source, copy, ignore=_NOT_COPIED, copy_function=shutil.copyfile)
    (copy.parent / mutation.file).write_text(text, encoding="utf-8")
    library = overlay / mutation.package.module / "_native.abi3.so"
    library.unlink(missing_ok=True)  # so that a build that failed cannot pass for one
    if mutation.file.endswith(".rs"):
        target = (work / "target").resolve()
        command = ["cargo", "build", "--quiet", "--release", "--locked", "--target-dir", str(target)]
        _build(mutation, command, copy / "native")
        shutil.copyfile(target / "release" / "lib_native.so", library)
        return
    folders = ["--build-temp", str((work / "objects").resolve()), "--build-lib", str(overlay.resolve())]
    _build(mutation, [sys.executable, "setup.py", "--quiet", "build_ext", *folders], copy)
    if not library.exists():
        raise SuiteError(f"{mutation.name}: the native core was not built; is there a C compiler?")


def _build(mutation: Mutation, command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=_BUILD_DEADLINE_S, check=False
    )
    if done.returncode:
        raise SuiteError(f"{mutation.name}: the native core does not build: {done.stderr.strip()[-2000:]}")


def over(target: Target, folder: Path) -> Target:
    """Return the target with a folder before all others that its Python imports from."""
    environ = dict(target.environ)
    paths = [str(folder.resolve()), *filter(None, [environ.get("PYTHONPATH", "")])]
    environ["PYTHONPATH"] = os.pathsep.join(paths)
    return dataclasses.replace(target, environ=tuple(environ.items()))


def caught_by(cells: Iterable[Cell]) -> list[str]:
    """Return the ids of the cases that noticed; a program that broke down is no mutation that was noticed."""
    return [
        cell.case.id
        for cell in cells
        if cell.state is State.FAIL and not any(fault.startswith(_BROKE_DOWN) for fault in cell.faults)
    ]
