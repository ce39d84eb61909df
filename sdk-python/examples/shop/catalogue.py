"""The products, in an SQLite database in memory."""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Iterator

WORD = re.compile(r"\w+")
ADJECTIVES = WORD.findall(
    "amber brass copper dusty early foldable gentle humming iron jade keen light mellow nimble oak"
)
THINGS = WORD.findall(
    "anvil bellows candle drum easel flute globe hammer inkwell jug kettle lantern mirror needle oven"
)
USES = WORD.findall(
    "baking camping drawing fishing gardening hiking knitting lighting mending painting sailing"
)

Product = dict[str, str | int]


class Catalogue:
    """Finds products; every question is an SQL statement."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.row_factory = sqlite3.Row

    @classmethod
    def filled(cls, products: int) -> Catalogue:
        """Return a catalogue with as many products, the same ones each time."""
        database = sqlite3.connect(":memory:")
        database.execute(
            "CREATE TABLE product (number INTEGER PRIMARY KEY, name TEXT, use TEXT, description TEXT,"
            " price_cents INTEGER, sold INTEGER)"
        )
        database.executemany("INSERT INTO product VALUES (?, ?, ?, ?, ?, ?)", make_products(products))
        database.commit()
        return cls(database)

    def __contains__(self, number: int) -> bool:
        found = self._database.execute("SELECT 1 FROM product WHERE number = ?", (number,))
        return found.fetchone() is not None

    def product(self, number: int) -> Product:
        """Return one product; raises KeyError where there is none."""
        row = self._database.execute("SELECT * FROM product WHERE number = ?", (number,)).fetchone()
        if row is None:
            raise KeyError(number)
        return dict(row)

    def best_sellers(self, limit: int) -> list[Product]:
        """Return what sold most within each use."""
        rows = self._database.execute(
            "SELECT * FROM (SELECT *, rank() OVER (PARTITION BY use ORDER BY sold DESC) AS place"
            " FROM product) WHERE place <= 5 ORDER BY sold DESC LIMIT ?",
            (limit,),
        )
        return [dict(row) for row in rows]

    def related(self, number: int, limit: int) -> list[Product]:
        """Return products of the same use and about the same price."""
        rows = self._database.execute(
            "SELECT other.* FROM product AS one JOIN product AS other ON other.use = one.use"
            " WHERE one.number = ? AND other.number <> one.number"
            " ORDER BY abs(other.price_cents - one.price_cents), other.sold DESC LIMIT ?",
            (number, limit),
        )
        return [dict(row) for row in rows]

    def descriptions(self) -> Iterator[tuple[int, str]]:
        """Yield (number, text) of every product."""
        yield from map(
            tuple, self._database.execute("SELECT number, name || ' ' || description FROM product")
        )


def make_products(count: int) -> Iterator[tuple[int, str, str, str, int, int]]:
    """Yield rows that look like a shop's; from a fixed seed."""
    chance = random.Random(4040)
    for number in range(count):
        name = f"{chance.choice(ADJECTIVES)} {chance.choice(THINGS)}"
        uses = chance.sample(USES, 4)
        words = chance.choices(ADJECTIVES + THINGS + USES, k=60)
        description = f"A {name} for {uses[0]} and {uses[1]}. " + " ".join(words)
        yield number, name, uses[0], description, chance.randrange(199, 99_999), chance.randrange(10_000)
