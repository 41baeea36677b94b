"""Goal: the sample shop runs as its docstring says, its rows and its runs agreeing.

Method: loaded as an app, as `snorri dev` does it, on a database file that the test looks into.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import select
from sqlalchemy.ext.asyncio import create_async_engine

from jobs.examples.shop import ORDER, PERSON, PRODUCT
from server.loading import load_app
from store.run_result import failure_of, result_of
from tests.databases import sqlite_url
from tests.steps_kit import Stage
from tests.worker_kit import Floor

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def stage(
    floor: Floor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    """Engine and worker for the sample."""
    monkeypatch.setenv("SHOP_DATABASE_URL", sqlite_url(tmp_path))
    app = load_app(["jobs.examples.shop"])
    opened = await Stage(floor, list(app.registry)).open(providers=app.providers)
    yield opened
    await opened.close()


async def _rows(folder: Path, table: Any) -> list[tuple[Any, ...]]:
    engine = create_async_engine(sqlite_url(folder))
    async with engine.connect() as connection:
        found = (await connection.execute(select(table))).all()
    await engine.dispose()
    return [tuple(row) for row in found]


async def test_a_checkout_books_everything_together(stage: Stage, tmp_path: Path) -> None:
    ended = await stage.run("checkout", "r-1", {"id": "o-1", "product": "cup", "total": 5})
    assert ended.status == "completed", ended.error
    ((id, status, charge, shipment),) = await _rows(tmp_path, ORDER)
    assert (id, status) == ("o-1", "completed")
    assert charge.startswith("ch-")
    assert shipment.startswith("sh-")
    assert ("cup", 0) in await _rows(tmp_path, PRODUCT)
    sold_out = await stage.run("checkout", "r-2", {"id": "o-2", "product": "cup"})
    assert failure_of(result_of(sold_out)).code == "SOLD_OUT"


async def test_without_a_carrier_the_stock_is_back_and_the_money_too(
    stage: Stage, tmp_path: Path
) -> None:
    ended = await stage.run("checkout", "r-1", {"id": "o-1", "simulate": "no-carrier"})
    told = failure_of(result_of(ended))
    assert (told.failed_step, told.code) == ("create-shipment", "NO_CARRIER")
    assert told.compensated_steps == ("charge-payment", "open")
    assert ("tea", 10) in await _rows(tmp_path, PRODUCT)
    assert await _rows(tmp_path, ORDER) == []


async def test_an_import_adds_everybody_or_nobody(stage: Stage, tmp_path: Path) -> None:
    good = await stage.run("import-people", "i-1", [{"name": "Ada"}, {"name": "Bob"}])
    assert result_of(good).output == 2
    bad = await stage.run("import-people", "i-2", [{"name": "Cid"}, {"name": "Dan"}, {"name": ""}])
    assert bad.status == "compensated"
    told = failure_of(result_of(bad))
    assert told.code == "RowRefused"
    assert len(told.compensated_steps) == 2
    assert [name for _, name in await _rows(tmp_path, PERSON)] == ["Ada", "Bob"]
