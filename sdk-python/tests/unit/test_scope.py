"""The promises of flamewire.tags, kept by the pure Python types and by the native ones alike."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from flamewire import log
from flamewire import scope as scope_module

Tags = Callable[..., Any]


def _implementations() -> list[object]:
    pure = (scope_module._PythonTags, scope_module._python_labels)
    chosen = (scope_module.tags, scope_module.current_labels)
    native = chosen != pure
    return [
        pytest.param(pure, id="python"),
        pytest.param(
            chosen, id="native", marks=pytest.mark.skipif(not native, reason="built without the native core")
        ),
    ]


@pytest.fixture(params=_implementations())
def implementation(request: pytest.FixtureRequest) -> tuple[Tags, Callable[[], dict[str, str]]]:
    return request.param


@pytest.fixture
def tags(implementation: tuple[Tags, Any]) -> Tags:
    return implementation[0]


@pytest.fixture
def labels(implementation: tuple[Any, Callable[[], dict[str, str]]]) -> Callable[[], dict[str, str]]:
    return lambda: dict(implementation[1]())


Labels = Callable[[], dict[str, str]]


def test_labels_hold_within_and_are_gone_after(tags: Tags, labels: Labels) -> None:
    assert labels() == {}
    with tags(route="/cart"):
        assert labels() == {"route": "/cart"}
    assert labels() == {}


def test_inner_values_win_and_outer_ones_come_back(tags: Tags, labels: Labels) -> None:
    with tags(route="/cart", region="eu"):
        with tags(route="/pay", step=2):
            assert labels() == {"route": "/pay", "region": "eu", "step": "2"}
        assert labels() == {"route": "/cart", "region": "eu"}


def test_an_exception_passes_through_and_the_labels_are_restored(tags: Tags, labels: Labels) -> None:
    with pytest.raises(KeyError), tags(route="/cart"):
        raise KeyError
    assert labels() == {}


def test_values_that_are_no_strings_are_turned_into_such(tags: Tags, labels: Labels) -> None:
    with tags(count=3, none=None, ratio=0.5):
        assert labels() == {"count": "3", "none": "None", "ratio": "0.5"}


def test_lone_surrogates_are_replaced(tags: Tags, labels: Labels) -> None:
    with tags(path="a\udce9b"):
        assert labels() == {"path": "a?b"}


def test_a_value_that_cannot_say_what_it_is_is_left_out(tags: Tags, labels: Labels) -> None:
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError("no words")

    with tags(mute=Mute(), route="/cart"):
        assert labels() == {"route": "/cart"}


def test_long_values_are_cut_to_what_servers_take(
    tags: Tags, labels: Labels, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their limit is 2048 bytes, and a character is up to four."""
    monkeypatch.setattr("flamewire.log._limiter", log._CauseLimiter())
    longest = "x" * 512
    values = {"longer": longest + "y", "bytes": "\U0001f525" * 600, "number": 10**600, "odd": "\udce9" * 600}
    with tags(longest=longest, **values):
        found = labels()
    assert {name: len(value) for name, value in found.items()} == dict.fromkeys(found, 512)
    assert (found["longest"], found["longer"]) == (longest, longest)
    assert max(len(value.encode()) for value in found.values()) == 2048
    assert [record.msg for record in caplog.records if "is cut" in record.msg], caplog.text
    assert len(caplog.records) == 1


def test_any_name_is_taken(tags: Tags, labels: Labels) -> None:
    with tags(**{"http.route": "/cart", "self": "x", "größe": "1"}):
        assert labels() == {"http.route": "/cart", "self": "x", "größe": "1"}


def test_one_object_may_be_nested_in_itself(tags: Tags, labels: Labels) -> None:
    cart = tags(route="/cart")
    with cart, cart:
        pass
    assert labels() == {}


def test_tasks_keep_their_own_labels(tags: Tags, labels: Labels) -> None:
    async def task(name: str) -> bool:
        with tags(task=name):
            for _ in range(5):
                await asyncio.sleep(0)
                if labels() != {"task": name}:
                    return False
        return labels() == {}

    async def main() -> list[bool]:
        return await asyncio.gather(*(task(str(number)) for number in range(8)))

    assert all(asyncio.run(main()))


def test_a_task_inherits_the_labels_at_its_start(tags: Tags, labels: Labels) -> None:
    async def main() -> dict[str, str]:
        async def child() -> dict[str, str]:
            return labels()

        with tags(request="1"):
            task = asyncio.create_task(child())
        return await task

    assert asyncio.run(main()) == {"request": "1"}


def test_threads_share_one_object_without_mixing(tags: Tags, labels: Labels) -> None:
    shared = tags(route="/cart")
    barrier = threading.Barrier(4, timeout=30)

    def work(number: int) -> bool:
        with tags(worker=number), shared:
            barrier.wait()
            right = labels() == {"worker": str(number), "route": "/cart"}
            barrier.wait()
        return right and labels() == {}

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_decorates_functions(tags: Tags, labels: Labels) -> None:
    @tags(route="/cart")
    def cart(number: int) -> tuple[int, dict[str, str]]:
        """Sell."""
        return number, labels()

    assert cart(7) == (7, {"route": "/cart"})
    assert (cart.__name__, cart.__doc__) == ("cart", "Sell.")
    assert labels() == {}


def test_decorates_methods(tags: Tags, labels: Labels) -> None:
    class Shop:
        @tags(route="/cart")
        def cart(self) -> dict[str, str]:
            return labels()

    assert Shop().cart() == {"route": "/cart"}


def test_decorates_coroutine_functions(tags: Tags, labels: Labels) -> None:
    @tags(route="/cart")
    async def cart() -> dict[str, str]:
        await asyncio.sleep(0)
        return labels()

    async def main() -> tuple[dict[str, str], dict[str, str]]:
        return await cart(), labels()

    assert inspect.iscoroutinefunction(cart)
    assert asyncio.run(main()) == ({"route": "/cart"}, {})


def test_decorates_partials_of_coroutine_functions(tags: Tags, labels: Labels) -> None:
    async def cart(number: int) -> tuple[int, dict[str, str]]:
        return number, labels()

    assert asyncio.run(tags(route="/cart")(partial(cart, 5))()) == (5, {"route": "/cart"})


def test_a_generator_is_labelled_and_its_consumer_is_not(tags: Tags, labels: Labels) -> None:
    @tags(route="/cart")
    def rows() -> Generator[dict[str, str], str, str]:
        got = yield labels()
        assert got == "sent"
        try:
            yield labels()
        except ValueError:
            yield {"thrown": "yes", **labels()}
        return "end"

    generator = rows()
    assert next(generator) == {"route": "/cart"}
    assert labels() == {}
    assert generator.send("sent") == {"route": "/cart"}
    assert generator.throw(ValueError()) == {"thrown": "yes", "route": "/cart"}
    with pytest.raises(StopIteration) as ended:
        next(generator)
    assert ended.value.value == "end"
    assert labels() == {}


def test_closing_a_generator_runs_its_clean_up_within_the_labels(tags: Tags, labels: Labels) -> None:
    seen: list[dict[str, str]] = []

    @tags(route="/cart")
    def rows() -> Generator[int, None, None]:
        try:
            yield 1
        finally:
            seen.append(labels())

    generator = rows()
    next(generator)
    generator.close()
    assert seen == [{"route": "/cart"}]
    assert labels() == {}


def test_an_asynchronous_generator_is_labelled_and_its_consumer_is_not(tags: Tags, labels: Labels) -> None:
    @tags(route="/cart")
    async def rows() -> AsyncGenerator[dict[str, str], None]:
        for _ in range(2):
            await asyncio.sleep(0)
            yield labels()

    async def main() -> list[tuple[dict[str, str], dict[str, str]]]:
        return [(inner, labels()) async for inner in rows()]

    assert asyncio.run(main()) == [({"route": "/cart"}, {})] * 2


def test_leaving_in_a_context_that_was_never_entered_is_harmless(tags: Tags, labels: Labels) -> None:
    cart = tags(route="/cart")
    contextvars.copy_context().run(cart.__enter__)
    cart.__exit__(None, None, None)
    assert labels() == {}


def test_leaving_twice_is_harmless(tags: Tags, labels: Labels) -> None:
    with tags(region="eu"):
        cart = tags(route="/cart")
        with cart:
            pass
        cart.__exit__(None, None, None)
        assert labels() == {"region": "eu"}
