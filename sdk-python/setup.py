"""What pyproject.toml cannot say: the native core, optional, one for every CPython from 3.11 on."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from setuptools import Extension, setup

_HERE = Path(__file__).parent.resolve()
_NATIVE = _HERE / "native"

# Sanitizers of the deep tests; not for users.
_EXTRA = os.environ.get("FLAMEWIRE_NATIVE_CFLAGS", "").split()


def _extension() -> Extension:
    sources = sorted(str(path.relative_to(_HERE)) for path in _NATIVE.glob("*.c"))
    return Extension(
        "flamewire._native",
        sources=sources,
        depends=sorted(str(path.relative_to(_HERE)) for path in _NATIVE.glob("*.h")),
        define_macros=[("Py_LIMITED_API", "0x030b0000")],
        extra_compile_args=["-std=c11", "-O2", "-g0", "-fvisibility=hidden", *_EXTRA],
        extra_link_args=_EXTRA,
        libraries=["dl", "pthread", "rt"],
        py_limited_api=True,
        # Without a compiler the package installs all the same, and samples with its pure Python engine.
        optional=True,
    )


_HAS_NATIVE = (sys.platform, platform.machine(), sys.implementation.name) == ("linux", "x86_64", "cpython")

setup(
    ext_modules=[_extension()] if _HAS_NATIVE else [],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if _HAS_NATIVE else {},
)
