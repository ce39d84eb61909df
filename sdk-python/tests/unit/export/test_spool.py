"""The spool as a queue, and the exporter on top of it, without processes or network."""

from __future__ import annotations

import gzip
import os
import stat
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("fcntl", reason="the spool needs POSIX file locks")

from sdk_support.pprof_reader import read_push

from flamewire.config import Options, resolve
from flamewire.engines.base import Window
from flamewire.export.exporter import Exporter
from flamewire.export.queue import MemoryQueue
from flamewire.export.spool import SpoolError, SpoolQueue, open_spool
from flamewire.export.transport import Answer, Transport, TransportError
from flamewire.export.upload import Upload, new_key
from flamewire.pprof import Frame, ValueType, encode

CPU = ValueType("cpu", "nanoseconds")
ROOM = 1 << 20


def spool(folder: Path, max_bytes: int = ROOM) -> SpoolQueue:
    return SpoolQueue(str(folder / "s"), max_bytes, MemoryQueue(ROOM))


def upload(born_unix_s: float, body: bytes = b"body") -> Upload:
    return Upload(new_key(born_unix_s, uuid.uuid4()), body)


def files(folder: Path) -> list[Path]:
    return sorted((folder / "s").iterdir())


def test_what_is_put_can_be_claimed_after_a_restart_in_the_order_of_births(tmp_path: Path) -> None:
    first = spool(tmp_path)
    for born_unix_s in (300, 100, 200):
        first.put(upload(born_unix_s, str(born_unix_s).encode()))
    second = spool(tmp_path)
    bodies = []
    for entry in second.entries():
        claimed = second.claim(entry.key)
        assert claimed is not None
        bodies.append(claimed.body)
        assert entry.size_bytes == len(claimed.body)
    assert bodies == [b"100", b"200", b"300"]


def test_who_has_claimed_a_file_has_it_alone_until_it_is_released(tmp_path: Path) -> None:
    one, other = spool(tmp_path), spool(tmp_path)
    one.put(upload(1))
    (entry,) = one.entries()
    assert one.claim(entry.key) is not None
    assert other.claim(entry.key) is None
    one.release(entry.key)
    assert other.claim(entry.key) is not None
    other.discard(entry.key)
    assert one.entries() == []
    assert files(tmp_path) == []


def test_only_the_user_can_read_what_is_in_it(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        spool(tmp_path).put(upload(1))
    finally:
        os.umask(previous)
    (file,) = files(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:10],
        lambda content: content[:-1],
        lambda content: content + b"x",
        lambda content: b"OTHER" + content[5:],
        lambda content: content[:-1] + bytes((content[-1] ^ 1,)),
    ],
    ids=["empty", "half a header", "cut", "longer", "other magic", "a bit"],
)
def test_a_damaged_file_is_removed_and_counted(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    queue = spool(tmp_path)
    queue.put(upload(1))
    (file,) = files(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    (entry,) = queue.entries()
    assert queue.claim(entry.key) is None
    assert queue.dropped == {"corrupt": 1}
    assert files(tmp_path) == []


def test_a_name_that_is_no_name_of_ours_is_removed_and_others_files_are_left_alone(tmp_path: Path) -> None:
    queue = spool(tmp_path)
    (tmp_path / "s" / "nonsense.push").write_bytes(b"x")
    (tmp_path / "s" / "README").write_bytes(b"x")
    assert queue.entries() == []
    assert queue.dropped == {"corrupt": 1}
    assert [file.name for file in files(tmp_path)] == ["README"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    queue = spool(tmp_path)
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * 100)
    key = upload(1).key
    (tmp_path / "s" / f"{key}.push").symlink_to(secret)
    assert queue.claim(key) is None


def test_room_is_made_at_the_cost_of_the_oldest(tmp_path: Path) -> None:
    queue = spool(tmp_path, max_bytes=10_000)
    for born_unix_s in range(1, 6):
        queue.put(upload(born_unix_s, bytes(3000)))
    assert [entry.key[:20] for entry in queue.entries()] == [f"{n * 10**9:020d}" for n in (3, 4, 5)]
    assert queue.dropped == {"spool_full": 2}


def test_what_is_being_sent_does_not_make_room(tmp_path: Path) -> None:
    queue, sender = spool(tmp_path, max_bytes=7_000), spool(tmp_path)
    for born_unix_s in (1, 2):
        queue.put(upload(born_unix_s, bytes(3000)))
    oldest, second = queue.entries()
    assert sender.claim(oldest.key) is not None
    queue.put(upload(3, bytes(3000)))
    assert second.key not in {entry.key for entry in queue.entries()}
    assert oldest.key in {entry.key for entry in queue.entries()}


def test_what_the_disk_refuses_waits_in_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    queue = spool(tmp_path)
    (tmp_path / "s").rename(tmp_path / "gone")
    queue.put(upload(1, b"kept"))
    (entry,) = queue.entries()
    claimed = queue.claim(entry.key)
    assert claimed is not None
    assert claimed.body == b"kept"
    assert queue.is_perishable(entry.key)
    assert "waits in memory" in caplog.text


def test_half_written_files_of_the_dead_are_swept_away(tmp_path: Path) -> None:
    spool(tmp_path)
    dead, alive = tmp_path / "s" / ".1-x.part", tmp_path / "s" / ".2-x.part"
    for file in (dead, alive):
        file.write_bytes(b"half")
    os.utime(dead, (1, 1))
    spool(tmp_path)
    assert files(tmp_path) == [alive]


def test_a_folder_in_which_others_may_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s").chmod(0o777)
    with pytest.raises(SpoolError, match="others may write"):
        spool(tmp_path)


def test_a_place_that_cannot_be_written_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"a file")
    with pytest.raises(SpoolError, match="s: File exists"):
        spool(tmp_path)


def test_uploads_to_another_tenant_or_server_are_kept_apart(tmp_path: Path) -> None:
    def folder_of(**given: object) -> str:
        before = set(tmp_path.iterdir())
        open_spool(options(spool_dir=str(tmp_path), **given), "/path")
        (made,) = set(tmp_path.iterdir()) - before
        return made.name

    names = {folder_of(), folder_of(tenant_id="t"), folder_of(server_url="http://other")}
    assert len(names) == 3
    assert all(len(name) == 16 for name in names)


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class ScriptedTransport:
    def __init__(self, *script: Answer | TransportError) -> None:
        self.script = list(script)
        self.bodies: list[bytes] = []

    def send(self, body: bytes, timeout_s: float) -> Answer:
        self.bodies.append(body)
        step = self.script.pop(0) if self.script else Answer(200, "OK")
        if isinstance(step, TransportError):
            raise step
        return step

    def fresh(self) -> Transport:
        raise AssertionError("only a fork child asks for a fresh transport")

    @property
    def values(self) -> list[list[int]]:
        return [[push.profile.total for push in read_push(gzip.decompress(body))] for body in self.bodies]


def options(**given: object) -> Options:
    return resolve({"service_name": "shop", **given}, {}, "app.py").options


def window(value: int) -> Window:
    frame = Frame("work", "app.py", 1, 2)
    pprof = encode(
        {(frame,): value}, value_type=CPU, period_type=CPU, period=1, time_unix_ns=1, duration_ns=2
    )
    return Window("cpu", pprof, 1, 2, 1)


def exporter(folder: Path, transport: ScriptedTransport, clock: Clock, **given: object) -> Exporter:
    return Exporter(
        options(**given),
        transport,
        queue=spool(folder),
        clock=clock,
        wall=clock,
        jitter=lambda _low, high: high,
    )


def test_what_a_session_leaves_the_next_one_delivers_and_nothing_counts_as_lost(tmp_path: Path) -> None:
    clock = Clock()
    down = ScriptedTransport(*[TransportError("refused", connected=False)] * 9)
    first = exporter(tmp_path, down, clock)
    for value in (1, 2, 3):
        first.submit(window(value))
        first.step()
        clock.now_s += 10
    assert not first.close(clock.now_s)
    assert (first.delivery().dropped_profiles, first.delivery().queued_profiles) == ({}, 3)
    up = ScriptedTransport()
    second = exporter(tmp_path, up, clock)
    assert second.step() is None
    assert up.values == [[1, 2, 3]]
    assert (second.delivery().pushed_profiles, second.delivery().queued_profiles) == (3, 0)
    assert second.close(clock.now_s)


def test_what_waits_for_longer_than_the_bound_is_dropped_and_counted(tmp_path: Path) -> None:
    clock = Clock()
    first = exporter(tmp_path, ScriptedTransport(), clock)
    first.submit(window(1))
    clock.now_s += 3601
    transport = ScriptedTransport()
    second = exporter(tmp_path, transport, clock)
    second.submit(window(2))
    second.step()
    assert transport.values == [[2]]
    assert second.delivery().dropped_profiles == {"expired": 1}


def test_a_closing_session_does_not_send_what_others_have_left(tmp_path: Path) -> None:
    clock, transport = Clock(), ScriptedTransport()
    exporter(tmp_path, ScriptedTransport(), clock).submit(window(1))
    clock.now_s += 1
    export = exporter(tmp_path, transport, clock)
    export.submit(window(2))
    export._closing_until_s = clock.now_s + 2
    assert export.step() is None
    assert transport.values == [[2]]


def test_two_sessions_at_once_send_each_profile_once(tmp_path: Path) -> None:
    clock = Clock()
    writer = exporter(tmp_path, ScriptedTransport(), clock)
    for value in range(1, 21):
        writer.submit(window(value))
        clock.now_s += 1

    class Interleaved(ScriptedTransport):
        def send(self, body: bytes, timeout_s: float) -> Answer:
            answer = super().send(body, timeout_s)
            assert others.step() in (None, 0.0)
            return answer

    mine, theirs = Interleaved(), ScriptedTransport()
    others = exporter(tmp_path, theirs, clock)
    first = exporter(tmp_path, mine, clock)
    first.step()
    sent = [value for values in mine.values + theirs.values for value in values]
    assert sorted(sent) == list(range(1, 21))
