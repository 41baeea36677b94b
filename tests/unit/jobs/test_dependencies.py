"""Providers: kinds, scopes, needs, overrides, and every misuse told before a job runs.

Method: resolvers are used directly; the order of set-up and clean-up is written to a list.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from jobs import DependencyError, JobContext, Providers
from jobs.dependencies import Resolver

if TYPE_CHECKING:
    from decimal import Decimal


class Settings:
    """Asked for by type."""

    def __init__(self) -> None:
        self.url = "db"


class Database:
    """Needs Settings, by its own annotation."""

    def __init__(self, settings: Settings) -> None:
        self.url = settings.url


def _answer() -> int:
    return 42


def _join(left: str, right: str) -> str:
    return left + right


async def _slow() -> str:
    await asyncio.sleep(0)
    return "slow"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        (7, 7),
        ("text", "text"),
        (_answer, 42),
        (_slow, "slow"),
        (functools.partial(_join, "a", right="b"), "ab"),
        ((1, 2), (1, 2)),
    ],
)
async def test_kinds_of_providers(provider: object, expected: object) -> None:
    providers = Providers()
    providers.provide("x", provider)
    assert await Resolver(providers).resolve("x") == expected


@pytest.mark.asyncio
async def test_a_callable_can_be_a_value() -> None:
    providers = Providers()
    providers.value("f", _answer)
    assert await Resolver(providers).resolve("f") is _answer
    with pytest.raises(DependencyError, match="override"):
        providers.value("f", 1)
    with pytest.raises(DependencyError, match="override"):
        providers.provide("f", 1)


@pytest.mark.asyncio
async def test_needs_are_met_by_type_by_name_or_by_default() -> None:
    providers = Providers()

    def both(database: Database, tenant: Any, limit: int = 3) -> tuple[str, str, int]:
        return database.url, tenant, limit

    providers.provide(Database, Database)
    providers.provide(Settings, Settings)
    providers.provide("tenant", "t-1")
    providers.provide("both", both)
    providers.check()
    assert await Resolver(providers).resolve("both") == ("db", "t-1", 3)


@pytest.mark.asyncio
async def test_scopes_and_order_of_clean_up() -> None:
    told: list[str] = []

    def pool() -> Iterator[str]:
        told.append("+pool")
        yield "pool"
        told.append("-pool")

    async def connection(pool: Any) -> AsyncIterator[str]:
        told.append("+connection")
        yield f"{pool}.connection"
        told.append("-connection")

    async def session(connection: Any) -> AsyncIterator[str]:
        told.append("+session")
        yield f"{connection}.session"
        told.append("-session")

    providers = Providers()
    providers.provide("pool", pool)
    providers.provide("connection", connection)
    providers.provide("session", session, scope="command")
    app = Resolver(providers)
    for _ in range(2):
        command = Resolver(providers, app)
        assert await command.resolve("session") == "pool.connection.session"
        assert await command.resolve("pool") == "pool"
        await command.close()
    await app.close()
    assert told == [
        "+pool",
        "+connection",
        *("+session", "-session") * 2,
        "-connection",
        "-pool",
    ]


@pytest.mark.asyncio
async def test_two_that_ask_together_get_the_same_value() -> None:
    made: list[object] = []

    async def thing() -> object:
        await asyncio.sleep(0)
        made.append(object())
        return made[-1]

    providers = Providers()
    providers.provide("thing", thing)
    app = Resolver(providers)
    first, second = await asyncio.gather(app.resolve("thing"), app.resolve("thing"))
    assert first is second
    assert len(made) == 1


@pytest.mark.asyncio
async def test_a_provider_that_fails_is_asked_again() -> None:
    calls: list[int] = []

    def shaky() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("not yet")
        return "up"

    providers = Providers()
    providers.provide("shaky", shaky)
    app = Resolver(providers)
    with pytest.raises(OSError, match="not yet"):
        await app.resolve("shaky")
    assert await app.resolve("shaky") == "up"


@pytest.mark.asyncio
async def test_clean_up_sees_the_error_and_goes_on_when_one_part_fails() -> None:
    told: list[str] = []

    async def first() -> AsyncIterator[int]:
        try:
            yield 1
        except RuntimeError as error:
            told.append(str(error))
            raise

    async def second() -> AsyncIterator[int]:
        try:
            yield 2
        finally:
            raise RuntimeError("clean-up broke")

    providers = Providers()
    providers.provide("first", first, scope="command")
    providers.provide("second", second, scope="command")
    scope = Resolver(providers, Resolver(providers))
    await scope.resolve("first")
    await scope.resolve("second")
    with pytest.raises(RuntimeError, match="clean-up broke"):
        await scope.close(ValueError("the job's"))
    assert told == ["clean-up broke"]


@pytest.mark.asyncio
async def test_override_leaves_the_original_alone() -> None:
    providers = Providers()
    providers.provide(Settings, Settings)
    providers.provide(Database, Database, scope="command")
    other = providers.override({Database: "fake", "new": _answer})
    app = Resolver(other)
    assert await Resolver(other, app).resolve(Database) == "fake"
    assert await app.resolve("new") == 42
    with pytest.raises(DependencyError, match="nobody provides 'new'"):
        await Resolver(providers).resolve("new")


def _needs_b(b: Any) -> None: ...


def _needs_a(a: Any) -> None: ...


def _needs_context(ctx: JobContext[Any]) -> str:
    return "made"


def _unreadable(x: Decimal) -> None: ...


def test_what_cannot_work_is_told_by_check() -> None:
    circle = Providers()
    circle.provide("a", _needs_b)
    circle.provide("b", _needs_a)
    with pytest.raises(DependencyError, match="'a' -> 'b' -> 'a'"):
        circle.check()
    absent = Providers()
    absent.provide("a", _needs_b)
    with pytest.raises(DependencyError, match="nobody provides 'b', which 'a' asks for"):
        absent.check()
    shorter = Providers()
    shorter.provide("a", _needs_b)
    shorter.provide("b", _answer, scope="command")
    with pytest.raises(DependencyError, match="scope='command'"):
        shorter.check()
    context = Providers()
    context.provide("a", _needs_context)
    with pytest.raises(DependencyError, match="JobContext"):
        context.check()
    with pytest.raises(DependencyError, match="can't be read"):
        Providers().provide("a", _unreadable)
    fine = Providers()
    fine.provide("a", _needs_context, scope="command")
    fine.check()


@pytest.mark.asyncio
async def test_what_cannot_work_is_told_by_resolve_too() -> None:
    circle = Providers()
    circle.provide("a", _needs_b)
    circle.provide("b", _needs_a)
    with pytest.raises(DependencyError, match="break the circle"):
        await Resolver(circle).resolve("a")
    command = Providers()
    command.provide("a", _answer, scope="command")
    with pytest.raises(DependencyError, match="ask for it in a job"):
        await Resolver(command).resolve("a")
    absent = Providers()
    absent.provide("a", _needs_b)
    with pytest.raises(DependencyError, match="nobody provides 'b'"):
        await Resolver(absent).resolve("a")
