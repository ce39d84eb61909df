"""The readers of foreign memory on memory images that libFuzzer spoils, under ASan and UBSan.

FUZZ_S: seconds for each target. What a target finds is left in FUZZ_ARTIFACTS, where that is set.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[2] / "native"
TARGETS = Path(__file__).parent / "fuzz"
CLANG = shutil.which("clang")
SANITIZE = ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=undefined"]

pytestmark = [
    pytest.mark.deep,
    pytest.mark.skipif(
        CLANG is None or not Path(sysconfig.get_path("include"), "Python.h").exists(),
        reason="no clang or no Python.h",
    ),
]


def compile_target(name: str, output: Path) -> None:
    # layout.c is part of image.c. No target calls Python: its functions stay without an address.
    core = [path for path in sorted(NATIVE.glob("*.c")) if path.name != "layout.c"]
    command = [
        str(CLANG),
        *(
            "-std=c11",
            "-O1",
            "-g",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-Wno-unused-function",
            "-fno-pie",
            "-no-pie",
        ),
        *SANITIZE,
        *("-DPy_LIMITED_API=0x030b0000", f"-I{sysconfig.get_path('include')}", f"-I{NATIVE}"),
        *map(str, [*core, TARGETS / "image.c", TARGETS / f"{name}.c"]),
        *("-Wl,--unresolved-symbols=ignore-all", "-Wl,--wrap=fw_read", "-ldl", "-lpthread"),
        *("-o", str(output)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.parametrize("name", sorted(path.stem for path in TARGETS.glob("fuzz_*.c")))
def test_no_memory_image_breaks_a_reader(tmp_path: Path, name: str) -> None:
    target, seconds = tmp_path / name, int(os.environ.get("FUZZ_S", "60"))
    compile_target(name, target)
    artifacts = os.environ.get("FUZZ_ARTIFACTS", str(tmp_path))
    options = [f"-max_total_time={seconds}", "-max_len=8192", "-timeout=60", "-rss_limit_mb=2048"]
    environment = {
        **os.environ,
        "ASAN_OPTIONS": "handle_segv=0:handle_sigbus=0:detect_leaks=0:allow_user_segv_handler=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    }
    # The faults are the sampler's to handle: libFuzzer keeps its hands off both signals.
    done = subprocess.run(
        [str(target), *options, "-handle_segv=0", "-handle_bus=0", f"-artifact_prefix={artifacts}/"],
        capture_output=True,
        text=True,
        timeout=10 * seconds + 600,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = re.search(r"stat::number_of_executed_units: *(\d+)|Done (\d+) runs", done.stderr)
    assert found is not None, done.stderr[-1000:]
    assert int(found[1] or found[2]) > 1000
