"""Each test here that asks for ``shop`` runs on SQLite and on a PostgreSQL server of the tests'."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from jobs import Providers
from sagas.definition import SagaDefinition
from tests.databases import NoPostgres, postgres_url, sqlite_url
from tests.integration.transactions.shop import Shop
from tests.steps_kit import Stage
from tests.worker_kit import Floor, memory_floor


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a server for the session."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(postgres_url())
        except NoPostgres as why:
            pytest.skip(f"not run on PostgreSQL: {why}")
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    return request.getfixturevalue("postgres")


@pytest_asyncio.fixture
async def shop(url: str) -> AsyncIterator[Shop]:
    """Its tables, empty."""
    shop = await Shop.open(url)
    yield shop
    await shop.close()


@pytest_asyncio.fixture
async def floor() -> AsyncIterator[Floor]:
    """A fresh installation in memory."""
    floor = memory_floor()
    yield floor
    await floor.close()


@pytest_asyncio.fixture(params=[False, True], ids=["by-workers", "inline"])
async def stage(
    floor: Floor, shop: Shop, request: pytest.FixtureRequest
) -> AsyncIterator[Callable[..., Any]]:
    """Opens engine and worker for definitions, with the shop's database."""
    opened: list[Stage] = []

    async def open(*definitions: SagaDefinition, providers: Providers | None = None) -> Stage:
        opened.append(Stage(floor, definitions, inline=request.param))
        return await opened[-1].open(providers=providers or shop.providers)

    yield open
    for one in opened:
        await one.close()
