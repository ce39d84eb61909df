"""Baskets, prices and receipts."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import zlib
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from shop.catalogue import Catalogue

VOUCHER = re.compile(r"(?P<campaign>[A-Z]{4})-(?P<percent>[0-9]{1,2})-(?P<check>[0-9a-f]{4})")
TIERS = ((Decimal(1000), Decimal("0.08")), (Decimal(500), Decimal("0.05")), (Decimal(100), Decimal("0.02")))
TAX = {"candle": Decimal("0.07"), "inkwell": Decimal("0.07")}
FULL_TAX = Decimal("0.19")
CENT = Decimal("0.01")
KEY = b"an example's key"


@dataclass(frozen=True)
class Line:
    """So many of one product."""

    name: str
    count: int
    price: Decimal

    @property
    def net(self) -> Decimal:
        """Price of the line without tax."""
        return self.price * self.count


@dataclass(frozen=True)
class Basket:
    """What somebody wants to buy."""

    lines: tuple[Line, ...]
    voucher: str

    @property
    def net(self) -> Decimal:
        """Price of all lines without tax and discount."""
        return sum((line.net for line in self.lines), Decimal(0))

    @classmethod
    def from_json(cls, text: str, catalogue: Catalogue) -> Basket:
        """Read `{"lines": [[number, count], ...], "voucher": ""}` and look the products up."""
        order = json.loads(text)
        lines = []
        for number, count in order["lines"]:
            product = catalogue.product(number)
            lines.append(Line(str(product["name"]), count, Decimal(product["price_cents"]) / 100))
        return cls(tuple(lines), order.get("voucher", ""))


@dataclass(frozen=True)
class Price:
    """What it costs."""

    net: Decimal
    discount: Decimal
    tax: Decimal

    @property
    def gross(self) -> Decimal:
        """What is to be paid."""
        return self.net - self.discount + self.tax


def price(basket: Basket) -> Price:
    """Add discounts and the tax of each line, rounded to cents per line as the law wants it."""
    rate = tier_discount(basket.net) + voucher_discount(basket.voucher)
    tax = Decimal(0)
    for line in basket.lines:
        thing = line.name.rpartition(" ")[2]
        taxed = line.net * (1 - rate)
        tax += (taxed * TAX.get(thing, FULL_TAX)).quantize(CENT, ROUND_HALF_UP)
    return Price(basket.net, (basket.net * rate).quantize(CENT, ROUND_HALF_UP), tax)


def tier_discount(net: Decimal) -> Decimal:
    """Return the discount of the highest tier that the sum reaches."""
    return next((rate for bound, rate in TIERS if net >= bound), Decimal(0))


def voucher_discount(voucher: str) -> Decimal:
    """Return the discount of a voucher whose check digits are right, else 0."""
    match = VOUCHER.fullmatch(voucher)
    if match is None or voucher_check(match["campaign"], match["percent"]) != match["check"]:
        return Decimal(0)
    return Decimal(match["percent"]) / 100


def voucher_check(campaign: str, percent: str) -> str:
    """Return the four check digits of a voucher."""
    return hashlib.pbkdf2_hmac("sha256", f"{campaign}{percent}".encode(), KEY, 200).hex()[:4]


def receipt(basket: Basket, total: Price) -> tuple[bytes, str]:
    """Return the receipt, compressed, and its signature."""
    rows = [f"{line.count:4} x {line.name:<24} {line.price:>10} {line.net:>12}" for line in basket.lines]
    rows.append(f"net {total.net}  discount {total.discount}  tax {total.tax}  to pay {total.gross}")
    body = zlib.compress("\n".join(rows * 20).encode(), 9)
    return body, hmac.new(KEY, body, "sha256").hexdigest()
