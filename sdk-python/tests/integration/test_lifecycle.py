"""Exit, signals, fork and broken servers, in real processes and over real HTTP."""

from __future__ import annotations

import socket
import sys
import textwrap

import pytest
from sdk_support.pprof_reader import Push
from sdk_support.programs import Ended, run_program
from sdk_support.push_server import PushServer, Reply


def cpu_s(pushes: list[Push], function: str = "burn") -> float:
    return sum(push.profile.cpu_of(function) for push in pushes) / 1e9


def about(cpu_s: float, engine: str) -> object:
    """What an engine says of so much CPU: at each end of it stands a sample that belongs to both neighbours.

    That is as much CPU as lies between two samples: 10 ms, but 20 have been seen on a busy machine; and the
    fallback engine's thread waits for its turn.
    """
    return pytest.approx(cpu_s, abs=0.05 * cpu_s + (0.06 if engine == "native" else 0.15))


def clean(ended: Ended) -> Ended:
    """Assert that the program said nothing of its own accord and ended well."""
    assert (ended.code, ended.err) == (0, ""), ended
    return ended


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_exit_without_stop_pushes_the_last_window(push_server: PushServer, engine: str) -> None:
    clean(
        run_program(
            "import flamewire; flamewire.start(); burn(1.0)", server_url=push_server.url, engine=engine
        )
    )
    assert cpu_s(push_server.pushes) == about(1.0, engine)
    (labels,) = {tuple(push.labels.items()) for push in push_server.pushes}
    assert dict(labels)["service_name"] == "program"


def test_an_uncaught_exception_pushes_too(push_server: PushServer, any_engine: str) -> None:
    ended = run_program(
        "import flamewire; flamewire.start(); burn(0.5); raise SystemExit(7)",
        server_url=push_server.url,
        engine=any_engine,
    )
    assert ended.code == 7
    assert cpu_s(push_server.pushes) == about(0.5, any_engine)


SIGTERM_PROGRAM = """
import flamewire, signal, time
flamewire.start()
burn(0.5)
print("burnt", flush=True)
time.sleep(60)
"""


def test_sigterm_pushes_and_still_ends_the_process_by_the_signal(
    push_server: PushServer, engine: str
) -> None:
    ended = run_program(SIGTERM_PROGRAM, server_url=push_server.url, engine=engine, sigterm_at="burnt")
    assert (ended.code, ended.err) == (-15, "")
    assert cpu_s(push_server.pushes) == about(0.5, engine)


def test_sigterm_ends_the_process_in_time_though_the_server_hangs(any_engine: str) -> None:
    with PushServer(*[Reply(hang=True)] * 9) as server:
        ended = run_program(
            SIGTERM_PROGRAM,
            server_url=server.url,
            engine=any_engine,
            sigterm_at="burnt",
            FLAMEWIRE_TIMEOUT_S="300",
            FLAMEWIRE_SHUTDOWN_TIMEOUT_S="0.5",
        )
    assert ended.code == -15
    assert ended.wall_s < 600, "the deadline is 0.5 s, the server hangs for 900 s"


def test_a_server_that_is_not_there_does_not_hold_up_the_exit(any_engine: str) -> None:
    program = """
    import flamewire, time
    session = flamewire.start(upload_interval_s=3600, shutdown_timeout_s=60)
    burn(0.3)
    begun = time.monotonic()
    assert not flamewire.stop()
    assert time.monotonic() - begun < 55, "it waited for its deadline"
    assert session.status().dropped_profiles == {"shutdown": 1}, session.status()
    """
    clean(run_program(program, server_url=f"http://127.0.0.1:{closed_port()}", engine=any_engine))


def test_a_server_that_hangs_holds_up_the_exit_no_longer_than_the_deadline(any_engine: str) -> None:
    program = """
    import flamewire, time
    flamewire.start(shutdown_timeout_s=0.5, timeout_s=300, upload_interval_s=3600)
    burn(0.3)
    begun = time.monotonic()
    assert not flamewire.stop()
    assert 0.4 < time.monotonic() - begun < 600, "the server hangs for 900 s"
    status = flamewire.status()
    assert status.dropped_profiles == {"shutdown": 1}, status
    """
    with PushServer(*[Reply(hang=True)] * 9) as server:
        clean(run_program(program, server_url=server.url, engine=any_engine))


@pytest.mark.parametrize(
    "failure",
    [Reply(503, {"Retry-After": "1"}), Reply(429), Reply(500), Reply(reset=True)],
    ids=["503 with Retry-After", "429", "500", "reset"],
)
def test_a_passing_failure_loses_nothing_and_counts_once(failure: Reply, any_engine: str) -> None:
    program = """
    import flamewire
    session = flamewire.start(upload_interval_s=3600)
    burn(0.5)
    assert flamewire.flush(120)
    status = session.status()
    assert (status.pushed_profiles, status.retries, dict(status.dropped_profiles)) == (1, 1, {}), status
    """
    with PushServer(failure) as server:
        clean(run_program(program, server_url=server.url, engine=any_engine))
        first, second = server.requests[:2]
        assert first.pushes[0].profile_id == second.pushes[0].profile_id
        assert cpu_s(second.pushes) == about(0.5, any_engine)
        if failure.headers:
            assert second.monotonic_s - first.monotonic_s >= 1


def test_a_refusal_is_pushed_once_counted_and_logged_once(any_engine: str) -> None:
    program = """
    import flamewire, logging
    logging.basicConfig(format="%(levelname)s %(message)s")
    session = flamewire.start(upload_interval_s=3600)
    for _ in range(3):
        burn(0.2)
        assert flamewire.flush(120)
    status = session.status()
    assert dict(status.dropped_profiles) == {"unauthorized": 3}, status
    assert (status.last_push.code, status.last_push.words) == (401, "unauthenticated: who are you"), status
    """
    refusal = Reply(401, body=b'{"code":"unauthenticated","message":"who are you"}')
    with PushServer(*[refusal] * 3) as server:
        ended = run_program(program, server_url=server.url, engine=any_engine)
        assert ended.code == 0, ended
        assert len([line for line in ended.err.splitlines() if "who are you" in line]) == 1
        assert len(server.requests) >= 3


def test_a_fork_child_is_profiled_by_itself(push_server: PushServer, engine: str) -> None:
    program = """
    import flamewire, os
    def parent_work(): burn(0.3)
    def child_work(): burn(0.5)
    flamewire.start()
    parent_work()
    child = os.fork()
    if child == 0:
        child_work()
        flamewire.stop()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    """
    clean(run_program(program, server_url=push_server.url, engine=engine, PYTHONWARNINGS="ignore"))
    pushes = push_server.pushes
    assert cpu_s(pushes, "child_work") == about(0.5, engine)
    assert cpu_s(pushes, "parent_work") == about(0.3, engine)
    assert len({push.profile_id for push in pushes}) == len(pushes)


def test_a_multiprocessing_child_pushes_its_last_window(push_server: PushServer, engine: str) -> None:
    program = """
    import flamewire, multiprocessing
    def child_work(): burn(0.6)
    flamewire.start()
    child = multiprocessing.get_context("fork").Process(target=child_work)
    child.start()
    child.join(60)
    assert child.exitcode == 0
    """
    clean(run_program(program, server_url=push_server.url, engine=engine, PYTHONWARNINGS="ignore"))
    assert cpu_s(push_server.pushes, "child_work") == about(0.6, engine)


@pytest.mark.parametrize(
    ("fork", "role"),
    [
        (
            "child = os.fork()\nif child == 0: work(); os._exit(not flamewire.stop())\nos.waitpid(child, 0)",
            "fork",
        ),
        ("child = context.Process(target=work)\nchild.start()\nchild.join(300)", "multiprocessing"),
        ("with ProcessPoolExecutor(1, context) as pool: pool.submit(work).result(300)", "pool"),
    ],
    ids=["fork", "multiprocessing", "pool"],
)
def test_children_carry_a_role_and_pool_workers_no_tags_of_the_request_that_started_them(
    push_server: PushServer, any_engine: str, fork: str, role: str
) -> None:
    program = f"""
import flamewire, multiprocessing, os
from concurrent.futures import ProcessPoolExecutor
def work(): burn(0.3)
def main_work(): burn(0.3)
context = multiprocessing.get_context("fork")
flamewire.start()
main_work()
with flamewire.tags(request=1):
{textwrap.indent(fork, "    ")}
"""
    clean(run_program(program, server_url=push_server.url, engine=any_engine, PYTHONWARNINGS="ignore"))
    pushes = push_server.pushes
    roles = {function: set[str | None]() for function in ("work", "main_work")}
    for function, found in roles.items():
        found |= {push.labels.get("process_role") for push in pushes if push.profile.cpu_of(function)}
    assert roles == {"work": {role}, "main_work": {None}}
    if any_engine == "native":
        samples = [sample for push in pushes for sample in push.profile.samples if "work" in sample.functions]
        expected = {} if role == "pool" else {"request": "1"}
        assert all(sample.labels == expected for sample in samples), samples


def test_a_session_that_a_multiprocessing_child_starts_pushes_its_last_window(
    push_server: PushServer, engine: str
) -> None:
    program = """
    import flamewire, multiprocessing
    def child_work():
        flamewire.start()
        burn(0.6)
    child = multiprocessing.get_context("fork").Process(target=child_work)
    child.start()
    child.join(60)
    assert child.exitcode == 0
    """
    clean(run_program(program, server_url=push_server.url, engine=engine))
    assert cpu_s(push_server.pushes, "child_work") == about(0.6, engine)


def test_who_takes_over_the_signals_that_end_a_process_leaves_ours(
    push_server: PushServer, engine: str
) -> None:
    """As billiard does, on which Celery's pool stands: it asks Python which ones are not ignored."""
    program = """
    import flamewire, signal, sys
    flamewire.start()
    for number in (signal.SIGHUP, signal.SIGPROF, signal.SIGVTALRM, signal.SIGUSR2):
        if signal.getsignal(number) not in (None, signal.SIG_IGN):
            signal.signal(number, lambda *_: sys.exit(70))
    burn(0.6)
    """
    clean(run_program(program, server_url=push_server.url, engine=engine))
    assert cpu_s(push_server.pushes, "burn") == about(0.6, engine)


# A fork costs 20 ms: the oldest and the newest interpreter make 300, the others fewer.
FORKS = 300 if sys.version_info[:2] in ((3, 11), (3, 15)) else 50


@pytest.mark.parametrize("forks", [FORKS, pytest.param(10_000, marks=pytest.mark.deep)])
def test_forks_with_a_racing_tag_thread_do_not_hang(push_server: PushServer, engine: str, forks: int) -> None:
    program = f"""
    import flamewire, os, threading
    flamewire.start(upload_interval_s=0.2)
    go_on = True
    def race():
        while go_on:
            with flamewire.tags(route="/cart", number=1):
                flamewire.status()
    threading.Thread(target=race, daemon=True).start()
    for _ in range({forks}):
        child = os.fork()
        if child == 0:
            with flamewire.tags(in_child=1):
                burn(0.001)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    go_on = False
    """
    ended = run_program(
        program,
        server_url=push_server.url,
        engine=engine,
        deadline_s=180 + 0.2 * forks,
        PYTHONWARNINGS="ignore",
    )
    clean(ended)


def test_fork_children_that_exit_in_order_do_not_hang(push_server: PushServer, engine: str) -> None:
    program = """
    import flamewire, os, sys
    flamewire.start()
    for _ in range(10):
        child = os.fork()
        if child == 0:
            burn(0.05)
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
    """
    clean(run_program(program, server_url=push_server.url, engine=engine, PYTHONWARNINGS="ignore"))
    # Each ends with CPU that the next sample, if there is one, takes from it.
    assert 0.2 < cpu_s(push_server.pushes) < 0.8


def test_a_start_on_another_thread_does_without_sigterm_and_says_so(
    push_server: PushServer, any_engine: str
) -> None:
    program = """
    import flamewire, threading
    thread = threading.Thread(target=flamewire.start)
    thread.start()
    thread.join(30)
    assert "not SIGTERM" in flamewire.status().coverage, flamewire.status()
    burn(0.3)
    """
    clean(run_program(program, server_url=push_server.url, engine=any_engine))
    assert cpu_s(push_server.pushes) == about(0.3, any_engine)


def test_starting_twice_is_idempotent_or_a_typed_error(push_server: PushServer, any_engine: str) -> None:
    program = """
    import flamewire
    first = flamewire.start(sample_rate_hz=50)
    assert flamewire.start(sample_rate_hz=50) is first
    try:
        flamewire.start(sample_rate_hz=51)
    except flamewire.AlreadyStartedError as error:
        assert "stop()" in str(error)
    else:
        raise AssertionError
    assert flamewire.stop()
    assert flamewire.start(sample_rate_hz=51) is not first
    """
    clean(run_program(program, server_url=push_server.url, engine=any_engine))


def test_wrong_options_raise_at_once_and_leave_nothing_behind(
    push_server: PushServer, any_engine: str
) -> None:
    program = """
    import flamewire, threading
    for wrong in ({"sample_rate_hz": 0}, {"server_url": "nowhere"}, {"profile_types": ("heap",)}):
        try:
            flamewire.start(**wrong)
        except ValueError as error:
            assert isinstance(error, flamewire.ConfigurationError)
        else:
            raise AssertionError(wrong)
    assert threading.active_count() == 1
    assert str(flamewire.status()) == "flamewire: not started"
    assert flamewire.stop() and flamewire.flush()
    """
    clean(run_program(program, server_url=push_server.url, engine=any_engine))


def test_a_bad_environment_value_does_not_stop_the_host(push_server: PushServer, any_engine: str) -> None:
    program = """
    import flamewire
    session = flamewire.start()
    assert session.options.sample_rate_hz == 100
    assert any("FLAMEWIRE_SAMPLE_RATE_HZ='often'" in problem for problem in session.status().problems)
    """
    clean(
        run_program(program, server_url=push_server.url, engine=any_engine, FLAMEWIRE_SAMPLE_RATE_HZ="often")
    )


def test_tags_before_the_start_are_harmless(push_server: PushServer, engine: str) -> None:
    program = """
    import flamewire
    with flamewire.tags(number=7, odd="a\\ud800"):
        flamewire.start()
        burn(0.3)
    """
    clean(run_program(program, server_url=push_server.url, engine=engine))
    assert cpu_s(push_server.pushes) > 0


def test_static_tags_are_labels_of_the_series(push_server: PushServer, any_engine: str) -> None:
    program = "import flamewire; flamewire.start(tags={'region': 'eu', 'build': 7}); burn(0.2)"
    clean(run_program(program, server_url=push_server.url, engine=any_engine))
    labels = push_server.pushes[0].labels
    assert (labels["region"], labels["build"]) == ("eu", "7")


def test_windows_follow_each_other_without_gap_or_overlap(push_server: PushServer, engine: str) -> None:
    program = "import flamewire; flamewire.start(upload_interval_s=0.3); burn(1.5)"
    clean(run_program(program, server_url=push_server.url, engine=engine))
    profiles = sorted((push.profile for push in push_server.pushes), key=lambda profile: profile.time_unix_ns)
    assert len(profiles) >= 3
    span_ns = profiles[-1].time_unix_ns + profiles[-1].duration_ns - profiles[0].time_unix_ns
    # Stamps are calendar time and lengths monotonic, so a preemption between the two readings shows; a window
    # that is missing or counted twice would be a third of a second.
    assert sum(profile.duration_ns for profile in profiles) == pytest.approx(span_ns, abs=250_000_000)
    assert cpu_s(push_server.pushes) == about(1.5, engine)


def test_an_idle_process_sends_nothing(push_server: PushServer, engine: str) -> None:
    """But what the main thread burns while it starts and while it ends, which a busy machine spreads over
    more windows than one. There are 30 windows."""
    program = "import flamewire, time; flamewire.start(upload_interval_s=0.1); time.sleep(3)"
    clean(run_program(program, server_url=push_server.url, engine=engine))
    assert len(push_server.pushes) <= 6


def test_neither_rights_nor_files_are_needed(push_server: PushServer, engine: str) -> None:
    """As in a container without capabilities, with a root file system that is read-only and no /tmp."""
    if sys.platform != "linux":
        pytest.skip("drops the capabilities of Linux")
    program = """
    import ctypes, os, resource
    libc = ctypes.CDLL(None, use_errno=True)
    version, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capset(version, none) == 0, ctypes.get_errno()
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    import flamewire
    session = flamewire.start()
    assert session.status().engine == os.environ["FLAMEWIRE_ENGINE"], session.status()
    burn(0.5)
    assert flamewire.stop()
    """
    nowhere = dict.fromkeys(("TMPDIR", "HOME", "XDG_CACHE_HOME"), "/nowhere")
    clean(
        run_program(
            program,
            server_url=push_server.url,
            engine=engine,
            FLAMEWIRE_PROFILE_TYPES="cpu,wall" if engine == "native" else "cpu",
            **nowhere,
        )
    )
    families = {push.labels["__name__"] for push in push_server.pushes}
    assert families == ({"process_cpu", "wall"} if engine == "native" else {"process_cpu"})
    cpu = [push for push in push_server.pushes if push.labels["__name__"] == "process_cpu"]
    assert cpu_s(cpu) == about(0.5, engine)


def test_locks_are_the_interpreters_own_while_a_session_runs(
    push_server: PushServer, any_engine: str
) -> None:
    program = """
    import _thread, threading
    names = ("Lock", "RLock", "Condition", "Semaphore", "Event")
    before = [getattr(threading, name) for name in names], _thread.allocate_lock
    import flamewire
    flamewire.start()
    burn(0.1)
    assert ([getattr(threading, name) for name in names], _thread.allocate_lock) == before
    """
    clean(run_program(program, server_url=push_server.url, engine=any_engine))


def test_importing_loads_nothing_heavy() -> None:
    program = """
    import sys
    before = set(sys.modules)
    import flamewire
    heavy = {"requests", "urllib3", "asyncio", "logging", "inspect", "dataclasses", "json", "ssl", "email"}
    assert not heavy & (set(sys.modules) - before), heavy & set(sys.modules)
    """
    clean(run_program(program, server_url="http://127.0.0.1:1", engine="python"))


def test_threads_of_the_sdk_take_no_signals(push_server: PushServer, engine: str) -> None:
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    program = """
    import flamewire, signal, threading
    from flamewire.threads import SdkThread
    flamewire.start()
    burn(0.1)
    own = [thread for thread in threading.enumerate() if isinstance(thread, SdkThread)]
    assert len(own) >= 2
    for thread in own:
        status = open(f"/proc/self/task/{thread.native_id}/status").read()
        blocked = int(next(line for line in status.splitlines() if line.startswith("SigBlk")).split()[1], 16)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPROF, signal.SIGUSR1):
            assert blocked >> (number - 1) & 1, (thread, number)
        assert not blocked >> (signal.SIGSEGV - 1) & 1
    """
    clean(run_program(program, server_url=push_server.url, engine=engine))
