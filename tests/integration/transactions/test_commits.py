"""Goal: whatever happens around a commit, a transaction is effective once and its run knows it.

Method: the real database with a connection that is lost before or after chosen commits, or that
can't be had.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from jobs import Providers
from jobs.database import Database
from jobs.sql_database import SqlDatabase
from sagas import retry, step, steps, transaction
from sagas.definition import SagaDefinition
from tests.integration.transactions.kit import Outside, insert_user, retried
from tests.integration.transactions.shop import Shop

pytestmark = pytest.mark.asyncio

Open = Callable[..., Any]


class Breaking:
    """A database that raises at chosen commits, before or after they are done."""

    def __init__(self, inner: SqlDatabase, plan: list[str]) -> None:
        self._inner = inner
        self._plan = plan

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Any]:
        what = self._plan.pop(0) if self._plan else ""
        if what == "away":
            raise ConnectionError("the database is away")
        async with self._inner.transaction() as made:
            yield made
            if what == "before":
                raise ConnectionError("lost before the commit")
        if what == "after":
            raise ConnectionError("lost after the commit")


def _broken(shop: Shop, *plan: str) -> Providers:
    return shop.providers.override({Database: Breaking(shop.database, list(plan))})


def _order(attempts: int, outside: Outside) -> SagaDefinition:
    return steps(
        "order",
        [step("user", insert_user), step("charge", outside.do, outside.undo)],
        transactional=transaction(retry=retry(attempts, 0.01)),
    )


@pytest.mark.parametrize(
    ("attempts", "plan", "calls"),
    [
        (2, ("before",), 2),
        (2, ("after",), 1),
        (2, ("away",), 1),
        (1, ("after",), 1),  # the last attempt: what is on record counts
        (2, ("before", "after"), 2),
    ],
)
async def test_a_connection_lost_around_the_commit_does_not_double_or_lose_it(
    stage: Open, shop: Shop, attempts: int, plan: tuple[str, ...], calls: int
) -> None:
    outside = Outside()
    opened = await stage(_order(attempts, outside), providers=_broken(shop, *plan))
    ended = await opened.run("order", "o-1", {"email": "a@b.com"})
    assert ended.status == "completed", ended.error
    assert len(await shop.rows("user")) == 1
    assert len(outside.lines) == calls


async def test_a_database_that_stays_away_parks_the_run_and_a_retry_finds_out(
    stage: Open, shop: Shop
) -> None:
    outside = Outside()
    opened = await stage(_order(1, outside), providers=_broken(shop, "after", "away"))
    parked = await opened.run("order", "o-1", {"email": "a@b.com"})
    assert parked.status == "parked"
    assert parked.error is not None
    assert "can't tell whether an attempt was committed" in parked.error.message
    assert (await retried(opened, "order", "o-1")).status == "completed"
    assert outside.lines == ["charge 1"]
    assert len(await shop.rows("user")) == 1


@pytest.mark.parametrize(
    ("plan", "status", "told"),
    [
        (("after",), "completed", ""),
        (("before",), "failed", "workers died"),
        (("after", "away"), "parked", "can't tell whether an attempt was committed"),
    ],
    ids=["committed", "not committed", "nobody knows"],
)
async def test_a_command_given_up_because_its_workers_died_asks_the_database_first(
    stage: Open,
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
    plan: tuple[str, ...],
    status: str,
    told: str,
) -> None:
    monkeypatch.setattr("jobs.execution.DELIVERIES_EXTRA_MAX", -1)  # the second delivery is refused
    outside = Outside()
    opened = await stage(_order(2, outside), providers=_broken(shop, *plan))
    ended = await opened.run("order", "o-1", {"email": "a@b.com"})
    assert ended.status == status, ended.error
    assert told in (ended.error.message if ended.error else "")
    assert len(await shop.rows("user")) == (status != "failed")
