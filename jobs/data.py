"""Ready-made steps that create, update or delete a row, each with its undo.

    sign_up = steps("sign-up", [
        create("create-user", "user", lambda ctx: {"email": ctx.get("email")}, store_as="userId"),
        update("set-role", "user", lambda ctx: ctx.get("userId"), {"role": "member"}),
    ])

Each runs in a database transaction: its own, or that of the sequence it stands in. Its output is
the row. An undo looks at the row first: what somebody else has changed meanwhile it leaves alone,
and parks.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from msgspec import Raw

from jobs.database import Row, RowError, RowKey
from jobs.step_context import StepContext
from sagas.messages import to_raw
from sagas.programs.steps import TIMEOUT, AnyStep, Duration, StepResponse, step
from sagas.retry import RetryPolicy

T = TypeVar("T")

# A value, or a function of the step's context that gives it, now or when awaited.
Given: TypeAlias = "T | Callable[[StepContext[Any]], T | Awaitable[T]]"


def create(
    name: str,
    entity: str,
    values: Given[Mapping[str, Any]],
    *,
    store_as: str = "",
    compensate: bool = True,
    database: object = True,
    retry: RetryPolicy | None = None,
    timeout: Duration | None = TIMEOUT,
) -> AnyStep:
    """A step that adds a row; its undo deletes it.

    ``store_as`` sets the new row's key in the context of the list: the bare value of a primary key
    of one column, else the whole key. ``database`` is what ``transactional=`` takes. Raises
    DefinitionError.
    """

    async def run(ctx: StepContext[Any]) -> StepResponse[Raw]:
        row = await ctx.transaction.insert(entity, await _value(values, ctx))
        if store_as:
            ctx.set(store_as, _short(ctx.transaction.key_of(entity, row)))
        return StepResponse(to_raw(row), {"after": row})

    async def undo(ctx: StepContext[Any], data: dict[str, Row]) -> None:
        after = data["after"]
        key = ctx.transaction.key_of(entity, after)
        now = await ctx.transaction.get(entity, key)
        if now is None:
            return  # it is gone already, which is all that is wanted
        _check_unchanged(ctx, entity, after, now, "created")
        await ctx.transaction.delete(entity, key)

    what = f"Create a row of {entity}"
    return _step(name, run, undo if compensate else None, what, database, retry, timeout)


def update(
    name: str,
    entity: str,
    key: Given[RowKey],
    values: Given[Mapping[str, Any]],
    *,
    compensate: bool = True,
    database: object = True,
    retry: RetryPolicy | None = None,
    timeout: Duration | None = TIMEOUT,
) -> AnyStep:
    """A step that changes columns of a row; its undo gives these columns back what they held.

    It fails for good when there is no such row. For the options see ``create``.
    """

    async def run(ctx: StepContext[Any]) -> StepResponse[Raw]:
        wanted, chosen = await _value(key, ctx), await _value(values, ctx)
        before = await _there(ctx, entity, wanted)
        after = await ctx.transaction.update(entity, wanted, chosen)
        data = {"before": _only(before, chosen), "after": _only(after, chosen)}
        return StepResponse(to_raw(after), {**data, "key": ctx.transaction.key_of(entity, after)})

    async def undo(ctx: StepContext[Any], data: dict[str, Row]) -> None:
        now = await ctx.transaction.get(entity, data["key"])
        if now is None:
            raise RowError(
                f"{entity}: the row that {ctx.step!r} had changed was deleted meanwhile; see to it"
                " by hand, then mark the undo as done by hand",
                code="RowChanged",
            )
        _check_unchanged(ctx, entity, data["after"], now, "changed")
        await ctx.transaction.update(entity, data["key"], data["before"])

    what = f"Update a row of {entity}"
    return _step(name, run, undo if compensate else None, what, database, retry, timeout)


def delete(
    name: str,
    entity: str,
    key: Given[RowKey],
    *,
    compensate: bool = True,
    database: object = True,
    retry: RetryPolicy | None = None,
    timeout: Duration | None = TIMEOUT,
) -> AnyStep:
    """A step that deletes a row; its undo inserts it again as it was.

    It fails for good when there is no such row. For the options see ``create``.
    """

    async def run(ctx: StepContext[Any]) -> StepResponse[Raw]:
        wanted = await _value(key, ctx)
        before = await _there(ctx, entity, wanted)
        await ctx.transaction.delete(entity, wanted)
        return StepResponse(to_raw(before), {"before": before})

    async def undo(ctx: StepContext[Any], data: dict[str, Row]) -> None:
        before = data["before"]
        now = await ctx.transaction.get(entity, ctx.transaction.key_of(entity, before))
        if now is None:
            await ctx.transaction.insert(entity, before)
            return
        _check_unchanged(ctx, entity, before, now, "deleted")

    what = f"Delete a row of {entity}"
    return _step(name, run, undo if compensate else None, what, database, retry, timeout)


def _step(
    name: str,
    run: Callable[..., Any],
    undo: Callable[..., Any] | None,
    description: str,
    database: object,
    retry: RetryPolicy | None,
    timeout: Duration | None,
) -> AnyStep:
    return step(
        name,
        run,
        compensate=undo,
        retry=retry,
        timeout=timeout,
        transactional=database,
        data_only=True,
        nothing_to_undo=undo is None,
        description=description,
    )


async def _value(given: Given[T], ctx: StepContext[Any]) -> T:
    if not callable(given):
        return given
    value: Any = given(ctx)
    return await value if inspect.isawaitable(value) else value


async def _there(ctx: StepContext[Any], entity: str, key: RowKey) -> Row:
    row = await ctx.transaction.get(entity, key)
    if row is None:
        raise RowError(f"{entity}: there is no row with this key", code="RowMissing")
    return row


def _short(key: Row) -> object:
    return next(iter(key.values())) if len(key) == 1 else key


def _only(row: Row, columns: Mapping[str, Any]) -> Row:
    return {name: value for name, value in row.items() if name in columns}


def _check_unchanged(ctx: StepContext[Any], entity: str, left: Row, now: Row, done: str) -> None:
    """Raise RowError, naming the columns and no values, when a row is not as the step left it."""
    changed = [name for name, value in left.items() if now.get(name) != value]
    if changed:
        raise RowError(
            f"{entity}: the row that {ctx.step!r} had {done} was changed meanwhile"
            f" ({', '.join(changed)}), so it is left as it is; see to it by hand, then skip the"
            " undo or mark it as done by hand",
            code="RowChanged",
        )
