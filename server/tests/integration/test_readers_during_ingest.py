"""Fifty readers while profiles pour in: nothing fails, nothing is missed, memory stays bounded."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from server_process import CPU, PROTO, ServerProcess, make_profile, make_push, now_ms, recent

from flamewire_server._proto.querier.v1 import querier_pb2

READERS, WRITERS = 50, 4
QUERIES_OF_A_READER = 20
MAX_PEAK_BYTES = 600 << 20
SERVICES = 20


def draw_paths(seed: int) -> list[str]:
    """Draw the stacks that a service has, as programs have: some hundreds, again and again."""
    chance = random.Random(seed)
    lengths = [chance.randrange(2, 30) for _ in range(400)]
    return sorted({";".join(f"f{chance.randrange(200)}" for _ in range(length)) for length in lengths})


PATHS = [draw_paths(seed) for seed in range(SERVICES)]


@pytest.mark.deep
def test_readers_and_writers_do_not_disturb_each_other(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server()
    done, acknowledged = threading.Event(), [0] * SERVICES
    locks = [threading.Lock() for _ in range(SERVICES)]

    def write(seed: int) -> int:
        chance, pushed = random.Random(seed), 0
        while not done.is_set():
            number = chance.randrange(SERVICES)
            stacks = dict.fromkeys(chance.sample(PATHS[number], 100), 1)
            profile = make_profile(stacks, time_ns=(now_ms() - chance.randrange(600_000)) * 10**6)
            assert server.push(make_push(f"s{number}", profile)).status == 200
            with locks[number]:
                acknowledged[number] += len(stacks)
            pushed += 1
        return pushed

    def read(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(QUERIES_OF_A_READER):
            number = chance.randrange(SERVICES)
            with locks[number]:
                least = acknowledged[number]
            services = (f'{{service_name="s{number}"}}', f'{{service_name=~"s{number}"}}')
            selector = chance.choice(["{}", *services])
            fields = {"profileTypeID": CPU, "labelSelector": selector, **recent()}
            kind = chance.choice(["graph", "series", "pprof", "labels"])
            if kind == "graph":
                graph = server.query("SelectMergeStacktraces", **fields)["flamegraph"]
                assert int(graph["total"]) >= least
            elif kind == "series":
                series = server.query("SelectSeries", **fields, step=3600).get("series", [])
                # The last step ends before now; what is counted may be less, never more than was sent.
                assert all(point["value"] > 0 for one in series for point in one["points"])
            elif kind == "pprof":
                one = {**fields, "label_selector": services[0], "profile_typeID": CPU}
                request = querier_pb2.SelectMergeProfileRequest(
                    **{name: one[name] for name in ("profile_typeID", "label_selector", "start", "end")}
                )
                reply = server.query_raw("SelectMergeProfile", request.SerializeToString(), PROTO)
                assert reply.status == 200
            else:
                names = server.query("LabelValues", name="service_name", **recent()).get("names", [])
                assert not least or f"s{number}" in names

    with ThreadPoolExecutor(READERS + WRITERS) as threads:
        writers = [threads.submit(write, seed) for seed in range(WRITERS)]
        readers = [threads.submit(read, 1000 + seed) for seed in range(READERS)]
        try:
            for one in readers:
                one.result(timeout=1800)
        finally:
            done.set()
        assert sum(one.result(timeout=120) for one in writers) > 0
    assert server.peak_rss_bytes() < MAX_PEAK_BYTES
    whole = server.query("SelectMergeStacktraces", profileTypeID=CPU, labelSelector="{}", **recent())[
        "flamegraph"
    ]
    assert int(whole["total"]) == sum(acknowledged)
    assert server.metric("flamewire_queries_stopped_total") == 0
