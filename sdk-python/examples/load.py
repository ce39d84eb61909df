"""A bounded load for the shop: `python load.py --url http://127.0.0.1:8080 --seconds 20 --concurrency 6`."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp

PRODUCTS = 1200
PAUSE_S = 0.004
QUERIES = (
    "amber lantern for hiking",
    "brass kettle and iron oven for baking",
    "gentle drum",
    "copper mirror, oak easel, painting",
)
VOUCHERS = ("", "SALE-10-0000", "LAMP-15-beef")


@dataclass(frozen=True)
class Visit:
    """One request: what to ask, and how often in relation to the others."""

    share: int
    method: str
    path: Callable[[random.Random], str]
    body: Callable[[random.Random], object] | None = None


def basket(chance: random.Random) -> object:
    """Return a basket of 20 lines."""
    lines = [[chance.randrange(PRODUCTS), chance.randrange(1, 9)] for _ in range(20)]
    return {"lines": lines, "voucher": chance.choice(VOUCHERS)}


VISITS = (
    Visit(2, "GET", lambda chance: "/"),
    Visit(5, "GET", lambda chance: f"/search?q={chance.choice(QUERIES)}"),
    Visit(6, "GET", lambda chance: f"/product/{chance.randrange(PRODUCTS)}"),
    Visit(1, "GET", lambda chance: f"/product/{chance.randrange(PRODUCTS)}/thumbnail"),
    Visit(4, "POST", lambda chance: "/cart", basket),
    Visit(3, "POST", lambda chance: "/checkout", basket),
)


@dataclass
class Tally:
    """What came of it."""

    answers: Counter[int] = field(default_factory=Counter)
    failures: int = 0

    def __str__(self) -> str:
        answers = ", ".join(f"{count} x {status}" for status, count in sorted(self.answers.items()))
        return f"{self.answers.total()} requests ({answers}), {self.failures} failures"


async def visit_until(end_s: float, url: str, seed: int, tally: Tally) -> None:
    """Visit the shop with short pauses, as one customer, until the time is up."""
    chance = random.Random(seed)
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(url, timeout=timeout) as client:
        while time.monotonic() < end_s:
            visit = chance.choices(VISITS, [visit.share for visit in VISITS])[0]
            body = visit.body(chance) if visit.body else None
            try:
                async with client.request(visit.method, visit.path(chance), json=body) as response:
                    await response.read()
                    tally.answers[response.status] += 1
            except (aiohttp.ClientError, TimeoutError):
                tally.failures += 1
            await asyncio.sleep(PAUSE_S)


async def run(url: str, seconds: float, concurrency: int) -> Tally:
    """Send that many customers for that long."""
    tally, end_s = Tally(), time.monotonic() + seconds
    await asyncio.gather(*(visit_until(end_s, url, seed, tally) for seed in range(concurrency)))
    return tally


def main() -> int:
    """Run the load and say what came of it; fails where any request did."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--concurrency", type=int, default=6)
    options = parser.parse_args()
    tally = asyncio.run(run(options.url, options.seconds, options.concurrency))
    print(tally, flush=True)
    return 0 if not tally.failures and set(tally.answers) == {200} else 1


if __name__ == "__main__":
    sys.exit(main())
