"""The C core under Address-, UndefinedBehavior- and ThreadSanitizer, and with every warning an error."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import flamewire

NATIVE = Path(__file__).parents[2] / "native"
COMPILER = shutil.which("gcc") or shutil.which("cc")
STRICT = ["-std=c11", "-O1", "-g", "-fPIC", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]

needs_compiler = pytest.mark.skipif(
    COMPILER is None or not Path(sysconfig.get_path("include"), "Python.h").exists(),
    reason="no C compiler or no Python.h",
)


def compile_core(output: Path, *options: str) -> None:
    command = [
        str(COMPILER),
        *STRICT,
        *options,
        "-DPy_LIMITED_API=0x030b0000",
        f"-I{sysconfig.get_path('include')}",
        *map(str, sorted(NATIVE.glob("*.c"))),
        "-shared",
        "-o",
        str(output),
        "-ldl",
        "-lpthread",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]


def package_with(core: Path, folder: Path) -> None:
    """A copy of the installed package that has another core."""
    package = folder / "flamewire"
    shutil.copytree(Path(flamewire.__file__).parent, package, ignore=shutil.ignore_patterns("*.so"))
    shutil.copy(core, package / "_native.abi3.so")


def test_no_reference_count_depends_on_the_headers_that_it_was_built_with() -> None:
    """Py_RETURN_NONE of 3.12 and later takes no reference, None being immortal; on 3.11 it would die."""
    for source in sorted(NATIVE.glob("*.c")):
        assert "Py_RETURN_" not in source.read_text(), source.name


@needs_compiler
def test_compiles_without_a_warning(tmp_path: Path) -> None:
    compile_core(tmp_path / "_native.abi3.so")


@needs_compiler
@pytest.mark.deep
@pytest.mark.parametrize("script", ["storm_workload.py", "soak_workload.py"])
def test_the_sanitizers_find_nothing(tmp_path: Path, script: str) -> None:
    core = tmp_path / "_native.abi3.so"
    compile_core(core, *SANITIZE)
    package_with(core, tmp_path)
    runtime = [
        subprocess.run(
            [str(COMPILER), f"-print-file-name={name}"], capture_output=True, text=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(runtime),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "PYTHONPATH": str(tmp_path),
        "PYTHONMALLOC": "malloc",
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(script)), "20", "500"],
        capture_output=True,
        text=True,
        timeout=600,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "ERROR: AddressSanitizer" not in done.stderr
    assert "runtime error" not in done.stderr
    assert json.loads(done.stdout)["samples"] > 100


@needs_compiler
@pytest.mark.deep
@pytest.mark.parametrize("script", ["storm_workload.py", "soak_workload.py"])
def test_no_thread_races_with_another(tmp_path: Path, script: str) -> None:
    """Only the core is compiled so: what CPython does between its own threads is not looked at."""
    core = tmp_path / "_native.abi3.so"
    compile_core(core, "-fsanitize=thread")
    package_with(core, tmp_path)
    runtime = subprocess.run(
        [str(COMPILER), "-print-file-name=libtsan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    suppressions = Path(__file__).with_name("thread_sanitizer.supp")
    environment = {
        **os.environ,
        "LD_PRELOAD": runtime,
        "TSAN_OPTIONS": f"suppressions={suppressions}:exitcode=66:history_size=4",
        "PYTHONPATH": str(tmp_path),
    }
    # Its shadow memory has no room for mappings at as random addresses as newer kernels choose.
    fixed_addresses = ["setarch", "-R"] if shutil.which("setarch") else []
    done = subprocess.run(
        [*fixed_addresses, sys.executable, str(Path(__file__).with_name(script)), "20", "500"],
        capture_output=True,
        text=True,
        timeout=600,
        env=environment,
    )
    assert "WARNING: ThreadSanitizer" not in done.stderr, done.stderr[:8000]
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout)["samples"] > 100
