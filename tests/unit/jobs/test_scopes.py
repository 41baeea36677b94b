"""Goal: what lives as long as a run is made once for it in a process and cleaned up in time.

Method: scopes opened as attempts open them; runs through an engine and a worker of one process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from jobs import DependencyError, JobContext, PermanentFailure, Providers, RunId, StepContext
from jobs.context import Command
from jobs.scopes import Scopes
from sagas import step, steps
from tests.steps_kit import Stage
from tests.waiting import eventually
from tests.worker_kit import WITHIN_S, memory_floor

pytestmark = pytest.mark.asyncio


class Cart:
    """What the steps of one run share."""

    def __init__(self, run: RunId) -> None:
        self.run = run


class Shop:
    """Providers that write down what they do."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.providers = Providers()
        self.providers.provide(Cart, self.cart, scope="run")
        self.providers.provide("name", "shared")

    async def cart(self, run: RunId, name: str) -> AsyncGenerator[Cart]:
        """Open one and close it."""
        self.told.append(f"+{run.key} {name}")
        try:
            yield Cart(run)
        finally:
            self.told.append(f"-{run.key} {name}")


def _context(key: str, tenant: str = "") -> JobContext[Any]:
    command = Command(
        id=f"S.{key}.1.0", target="t", key=key, key_token=key, idempotency_key="i", saga="S"
    )

    class Tenanted(JobContext[Any]):
        @property
        def tenant(self) -> str:
            return tenant

    desk: Any = None
    return Tenanted(command, 1, None, desk)


async def test_commands_of_one_run_share_a_value_and_those_of_others_do_not() -> None:
    shop = Shop()
    scopes = Scopes(shop.providers)
    first, second, other = (scopes.command(_context(key)) for key in ("a", "a", "b"))
    carts = [await one.resolve(Cart) for one in (first, second, other)]
    assert carts[0] is carts[1]
    assert [cart.run.key for cart in carts if isinstance(cart, Cart)] == ["a", "a", "b"]
    for one in (first, second, other):
        await one.close()
    assert shop.told == ["+a shared", "+b shared"]
    await scopes.close()
    assert shop.told[2:] == ["-a shared", "-b shared"]


async def test_a_run_that_has_ended_is_cleaned_up_after_its_last_command() -> None:
    shop = Shop()
    scopes = Scopes(shop.providers)
    at_work = scopes.command(_context("a"))
    await at_work.resolve(Cart)
    scopes.run_ended("S", "a")
    scopes.run_ended("S", "never seen")
    await asyncio.sleep(0)
    assert shop.told == ["+a shared"]
    await at_work.close()
    await eventually(lambda: shop.told == ["+a shared", "-a shared"], WITHIN_S, "the clean-up")
    again = scopes.command(_context("a"))  # an undo that an operator asked for
    await again.resolve(Cart)
    await again.close()
    await scopes.close()
    assert shop.told == ["+a shared", "-a shared"] * 2


async def test_a_run_that_went_on_elsewhere_is_cleaned_up_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop = Shop()
    scopes = Scopes(shop.providers)
    busy, idle = scopes.command(_context("busy")), scopes.command(_context("idle"))
    for one in (busy, idle):
        await one.resolve(Cart)
    await idle.close()
    scopes.sweep()
    assert shop.told == ["+busy shared", "+idle shared"]
    monkeypatch.setattr("jobs.scopes.RUN_IDLE_S", -1.0)
    scopes.sweep()
    await eventually(lambda: shop.told[2:] == ["-idle shared"], WITHIN_S, "the clean-up")
    await scopes.close()


async def test_tenants_have_values_of_their_own() -> None:
    shop = Shop()
    shop.providers.for_tenant("acme", {"name": "acme's"})
    scopes = Scopes(shop.providers)
    for tenant in ("acme", ""):
        one = scopes.command(_context("a", tenant))
        await one.resolve(Cart)
        await one.close()
    scopes.run_ended("S", "a")
    await scopes.close()
    assert sorted(shop.told) == ["+a acme's", "+a shared", "-a acme's", "-a shared"]


async def test_a_clean_up_that_fails_is_told_and_hinders_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(run: RunId) -> AsyncGenerator[str]:
        yield "x"
        raise OSError("no way out")

    shop = Shop()
    shop.providers.provide("broken", broken, scope="run")
    scopes = Scopes(shop.providers)
    one = scopes.command(_context("a"))
    await one.resolve(Cart)
    await one.resolve("broken")
    await one.close()
    await scopes.close()
    assert shop.told == ["+a shared", "-a shared"]
    assert "the clean-up of a provider of S/a failed" in caplog.text


@pytest.mark.parametrize(
    ("scope", "need", "told"),
    [
        ("app", RunId, "lives as long as the worker and can't ask for a RunId"),
        ("run", JobContext, "lives as long as a run and can't ask for a JobContext"),
        ("run", Cart, "lives as long as a run and can't ask for Cart, which lives for one"),
    ],
)
async def test_nothing_asks_for_what_lives_shorter(scope: Any, need: Any, told: str) -> None:
    def asks(one: Any) -> str:
        return "x"

    asks.__annotations__["one"] = need
    providers = Providers()
    providers.provide("asks", asks, scope=scope)
    if need is Cart:
        providers.provide(Cart, lambda: "cart", scope="command")
    with pytest.raises(DependencyError, match=told):
        providers.check()


@pytest.mark.parametrize("inline", [True, False])
async def test_steps_and_undos_of_a_run_share_a_value(inline: bool) -> None:
    shop, seen = Shop(), []

    async def take(ctx: StepContext[Any], *, cart: Cart) -> None:
        seen.append(cart)

    async def refuse(ctx: StepContext[Any], *, cart: Cart) -> None:
        seen.append(cart)
        raise PermanentFailure("no")

    async def undo(ctx: StepContext[Any], data: Any, *, cart: Cart) -> None:
        seen.append(cart)

    order = steps("order", [step("take", take, undo), step("refuse", refuse)])
    floor = memory_floor()
    stage = Stage(floor, [order], inline=inline)
    await stage.open(providers=shop.providers)
    ended = await stage.run("order", "o-1", {})
    assert ended.status == "compensated"
    assert len(seen) == 3
    assert len(set(map(id, seen))) == 1
    if inline:  # the engine of this process tells the end
        await eventually(lambda: shop.told == ["+o-1 shared", "-o-1 shared"], WITHIN_S, "its end")
    await stage.close()
    await floor.close()
    assert shop.told == ["+o-1 shared", "-o-1 shared"]
