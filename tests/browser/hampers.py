"""Step lists and a workflow of the browser tests: hampers that are packed, and greetings.

What a hamper's payload says goes wrong: ``ribbon`` "none" fails the last step, ``wine`` "drunk"
fails the undo of packing it, too.
"""

from __future__ import annotations

import asyncio
from typing import Any

from jobs import StepContext
from sagas import WorkflowSaga, parallel, retry, sequence, step, steps, workflow

ONCE = retry(1)


async def _reserve(ctx: StepContext) -> dict[str, str]:
    """Reserve a basket; its password is a secret field of the office."""
    return {"basket": "b-7", "password": "swordfish"}


async def _release(ctx: StepContext) -> None:
    pass


async def _pack(ctx: StepContext) -> dict[str, bool]:
    return {f"packed {ctx.step}": True}


async def _unpack_wine(ctx: StepContext) -> None:
    if ctx.get("wine") == "drunk":
        raise ValueError("the wine is gone")


async def _tell(ctx: StepContext) -> None:
    pass


async def _tie(ctx: StepContext) -> str:
    if ctx.get("ribbon") == "none":
        raise ValueError("no ribbon")
    return "tied"


hamper = steps(
    "Hamper",
    [
        step("reserve", _reserve, _release, retry=ONCE),
        parallel(
            "packing",
            [
                step("wine", _pack, _unpack_wine, retry=ONCE, undo_retry=ONCE),
                sequence("cheeses", [step("brie", _pack), step("cheddar", _pack)]),
            ],
        ),
        step("tell", _tell, background=True),
        step("ribbon", _tie, retry=ONCE),
    ],
    description="Packs a hamper step by step.",
)


@step("greet-guest")
async def greet_guest(ctx: StepContext, input: dict[str, Any]) -> dict[str, Any]:
    """Say hello."""
    return {"hello": input["name"]}


@workflow("Party")
async def party(saga: WorkflowSaga, input: dict[str, Any]) -> list[Any]:
    """Greets all guests at once, then waits for the end."""
    greeted = await asyncio.gather(
        *(greet_guest(saga, {"name": name}) for name in input.get("guests", ["Ann", "Bob"]))
    )
    await saga.sleep(input.get("lasts", "1h"))
    return list(greeted)
