"""The server compacts by itself, while it answers."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from server_process import DEADLINE_S, ServerProcess
from stored_profiles import EVER, Question, StoredProfiles, draw_profile

ALWAYS = Question("", EVER.start_ns, EVER.end_ns)


def test_a_started_server_merges_what_an_earlier_one_left(tmp_path: Path) -> None:
    stored = StoredProfiles(tmp_path)
    stored.now_s = time.time() - 60
    for number in range(3):
        stored.push(draw_profile(random.Random(number), int(stored.now_s * 1e9)))
    answer = stored.answer(ALWAYS)
    stored.close()
    server = ServerProcess(tmp_path)
    try:
        deadline_s = time.monotonic() + DEADLINE_S
        while server.metric("flamewire_compacted_blocks_total") < 3:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        assert server.ask("GET", "/ready").status == 200
    finally:
        server.kill()
    stored = StoredProfiles(tmp_path)
    assert set(stored.levels()) == {1}
    assert stored.answer(ALWAYS) == answer
    stored.close()
