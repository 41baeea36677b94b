"""What the tests of transactional steps share: steps, work outside of the database, a retry."""

from __future__ import annotations

from typing import Any

from jobs import StepContext
from sagas.instance import Instance
from store.client import SagaClient
from tests.steps_kit import Stage
from tests.waiting import eventually
from tests.worker_kit import WITHIN_S


async def insert_user(ctx: StepContext[Any]) -> dict[str, Any]:
    """A row with the email of the run."""
    row = await ctx.transaction.insert("user", {"email": ctx.get("email")})
    return {"userId": row["id"]}


class Outside:
    """Work that no database rolls back."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def do(self, ctx: StepContext[Any]) -> dict[str, Any]:
        """A run."""
        self.lines.append(f"{ctx.step} {ctx.attempt}")
        return {"charge": ctx.idempotency_key}

    async def undo(self, ctx: StepContext[Any], data: Any) -> None:
        """Its undo."""
        rolled_back = " rolled back" if ctx.rolled_back else ""
        self.lines.append(f"-{ctx.step}{rolled_back} {ctx.get('charge') == data['charge']}")


async def retried(stage: Stage, saga: str, key: str) -> Instance:
    """A parked run at its end, after an operator's retry."""
    client = SagaClient(stage.floor.backend, stage.floor.names)
    reply = await client.act(saga, key, "retry", by="tester")
    assert reply.done, reply.reason

    async def moved() -> Instance | None:
        found = await stage.look(saga, key)
        return found if found and found.status in ("completed", "failed") else None

    found = await eventually(moved, WITHIN_S, "the end after the retry")
    assert found is not None
    return found
