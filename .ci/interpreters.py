"""Find the CPythons that the SDK is tested on, wherever they are, and give them plain names on one path.

nox and virtualenv see what is on PATH. A pyenv shim is there for every version and fails where that is not
active, so what is found is linked as `python3.12` into one folder, which the noxfile puts first on PATH.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder that outlives a checkout, below XDG_CACHE_HOME."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flamewire"


def candidates(version: str) -> Iterator[Path]:
    """Yield where `pythonX.Y` may be: our own cache, pyenv's versions, PATH. Paths need not exist."""
    name = f"python{version}"
    yield cache_folder() / "cpython" / "usr" / "bin" / name
    for root in {os.environ.get("PYENV_ROOT"), str(Path.home() / ".pyenv")} - {None, ""}:
        yield from sorted(Path(str(root)).glob(f"versions/{version}.*/bin/{name}"), reverse=True)
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        yield Path(folder) / name


def runs(interpreter: Path, version: str) -> bool:
    """Tell whether the file is a CPython of this version that starts (a pyenv shim may not)."""
    if not interpreter.is_file():
        return False
    code = "import sys, ssl, ctypes; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"
    answer = subprocess.run([str(interpreter), "-c", code], capture_output=True, text=True, check=False)
    return answer.returncode == 0 and answer.stdout.strip() == f"cpython {version}"


def link(version: str, folder: Path) -> bool:
    """Link the interpreter of this version into `folder`; returns whether one was found. Idempotent."""
    name = folder / f"python{version}"
    if runs(name, version):
        return True
    found = next((path for path in candidates(version) if path != name and runs(path, version)), None)
    if found is None:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    name.unlink(missing_ok=True)
    name.symlink_to(found)
    return True
