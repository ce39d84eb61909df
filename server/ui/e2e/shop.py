"""The profiles that the tests push: folded stacks, root first, and CPU nanoseconds."""

from __future__ import annotations

CART = {
    "<module>;main;handle;cart;Cart.load;loads": 300_000_000,
    "<module>;main;handle;cart;Cart.load;Cart.merge": 200_000_000,
    "<module>;main;handle;cart;dumps": 100_000_000,
    "<module>;main;handle;cart": 50_000_000,
}
SEARCH = {
    "<module>;main;handle;search;rank;bm25": 400_000_000,
    "<module>;main;handle;search;rank": 150_000_000,
    "<module>;main;handle;search;dumps": 50_000_000,
    "<module>;main;fib;fib;fib": 250_000_000,
}
DEEP_FRAMES = 900
