"""What pyproject.toml cannot say: the Rust module, and the UI that is built where Node.js is present."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools_rust import Binding, RustExtension

_HERE = Path(__file__).parent.resolve()
_UI_SOURCE = _HERE / "ui"
_UI_BUILT = _HERE / "src" / "flamewire_server" / "_ui"


class BuildWithUi(build_py):
    """Builds the UI first, unless it is built already or cannot be: the server runs without it, and says
    so."""

    def run(self) -> None:
        """Build the UI, then collect the package."""
        if not (_UI_BUILT / "index.html").exists() and (_UI_SOURCE / "package.json").exists():
            _build_ui()
        # The list of package data is cached before the UI exists.
        self.__dict__.pop("data_files", None)
        super().run()


def _build_ui() -> None:
    if shutil.which("npm") is None:
        sys.stderr.write(
            "flamewire-server: npm is not there, so the server is built without its user interface; install"
            " Node.js 20 or newer and build again to get it\n"
        )
        return
    for command in (["npm", "ci", "--no-audit", "--no-fund"], ["npm", "run", "build"]):
        subprocess.run(command, cwd=_UI_SOURCE, check=True)


setup(
    cmdclass={"build_py": BuildWithUi},
    rust_extensions=[
        RustExtension(
            "flamewire_server._native",
            path="native/python/Cargo.toml",
            binding=Binding.PyO3,
            py_limited_api=True,
            debug=False,
            args=["--locked"],
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
