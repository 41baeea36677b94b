"""Engine, worker, or both in one process for random trees of steps, to be killed.

Run as ``python -m tests.chaos.tree_runner ROLE SEED COUNT URL NAMESPACE BUCKET``; with the role
"both" the engine carries the steps out itself. Every other tree is a workflow function that walks
it, the rest are lists. They are made from the seed, so that the test has the same. How a step and
its undo behave is drawn with them; each run writes to the ledger.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sys
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from jobs import JobRegistry, PermanentFailure, StepContext
from jobs.engine import Engine
from jobs.inline import InlineSteps, inline_targets
from jobs.service import Supervisor
from jobs.steps import all_step_jobs
from jobs.worker import Worker
from sagas import SagaDefinition, WorkflowSaga, retry, step, steps, workflow
from sagas.definition import Registry
from sagas.programs.steps import AnyStep, Group, Item, walk
from server.running import run_until_signal
from store.jetstream import connect
from store.subjects import Names
from tests.chaos.app import LEDGER
from tests.chaos.step_runner import ACK_WAIT_S, write_down
from tests.step_trees import draw_tree
from tests.waiting import busy

RUN_FATES = ("good", "good", "good", "good", "good", "flaky", "refused", "too-long")
UNDO_FATES = ("good", "good", "good", "flaky", "broken", "unwilling")
PATIENT = retry(20, 0.05)  # a kill uses up attempts, too
ONCE = retry(1, 0.05)
TIMEOUT_S = 0.3


class Fate(Struct, frozen=True):
    """How a step behaves: an undo that is "unwilling" fails for good until it was tried again by an
    operator, one that is "broken" always.
    """

    run: str
    undo: str

    @property
    def fails(self) -> bool:
        """Whether the step fails for good."""
        return self.run in ("refused", "too-long")


class Tree(Struct, frozen=True):
    """A random tree as a list or a workflow, and the fates of its steps."""

    definition: SagaDefinition
    fates: dict[str, Fate]


def make_trees(seed: int, count: int) -> list[Tree]:
    """The random trees of a seed."""
    kinds = ("list", "flow")
    return [
        _tree(f"{kinds[number % 2]}-{number}", random.Random(f"{seed}-{number}"))
        for number in range(count)
    ]


def _tree(id: str, chance: random.Random) -> Tree:
    fates: dict[str, Fate] = {}

    def make_step(place: str) -> AnyStep:
        name = f"{id}.{place}"  # the steps of all workflows have one name space
        fate = fates[name] = Fate(chance.choice(RUN_FATES), chance.choice(UNDO_FATES))
        background = chance.random() < 0.1
        undo = _undo(fate.undo) if not background and chance.random() < 0.8 else None
        return step(
            name,
            _run(fate.run),
            undo,
            background=background,
            strict=chance.random() < 0.7,
            retry=ONCE if fate.fails else PATIENT,
            timeout=TIMEOUT_S if fate.run == "too-long" else 20.0,
            undo_retry=ONCE if fate.undo in ("broken", "unwilling") else PATIENT,
        )

    items = draw_tree(chance.randrange, make_step)
    policy = "park" if chance.random() < 0.6 else "continue"
    if id.startswith("list"):
        return Tree(steps(id, items, on_undo_failure=policy), fates)
    return Tree(_flow(id, items, policy), fates)


def _flow(id: str, items: list[Item], policy: Literal["park", "continue"]) -> SagaDefinition:
    known = [one for item in items for one in walk(item)]

    @workflow(id, steps=known, on_undo_failure=policy)
    async def flow(saga: WorkflowSaga, input: object) -> None:
        for item in items:
            await _walked(saga, item)

    return flow


async def _walked(saga: WorkflowSaga, item: Item) -> None:
    if not isinstance(item, Group):
        await item(saga, None)
    elif item.kind == "parallel":
        await asyncio.gather(*(_walked(saga, part) for part in item.items))
    else:
        for part in item.items:
            await _walked(saga, part)


def _run(fate: str) -> Any:
    async def run(ctx: StepContext[Any]) -> dict[str, str]:
        await write_down(ctx)
        if fate == "refused":
            raise PermanentFailure("no")
        if fate == "too-long":
            await busy(60)
        if fate == "flaky" and ctx.attempt == 1:
            raise RuntimeError("the first time it never works")
        return {ctx.step: ctx.command_id}

    return run


def _undo(fate: str) -> Any:
    async def undo(ctx: StepContext[Any]) -> None:
        before = _lines_of(f"-{ctx.step} {ctx.saga}/{ctx.key} ")
        await write_down(ctx)
        if fate == "broken" or (fate == "unwilling" and before == 0):
            raise PermanentFailure("it can't be undone")
        if fate == "flaky" and ctx.attempt == 1:
            raise RuntimeError("the first time it never works")

    return undo


def _lines_of(start: str) -> int:
    lines = Path(os.environ[LEDGER]).read_text().splitlines()
    return sum(line.startswith(start) for line in lines)


async def main(role: str, seed: str, count: str, url: str, namespace: str, bucket: str) -> int:
    """Run until told to stop, and say when it runs."""
    names = Names(namespace=namespace, bucket=bucket)
    definitions = [tree.definition for tree in make_trees(int(seed), int(count))]
    registry, jobs = Registry(definitions), JobRegistry(all_step_jobs(definitions))
    inline = InlineSteps(names, inline_targets(registry, jobs)) if role == "both" else None
    first, second = await connect(url, names), await connect(url, names)
    engine = Engine(first, names, registry, inline=inline)
    worker = Worker(second, names, jobs, ack_wait_s=ACK_WAIT_S, inline=inline)
    services = {"engine": [engine], "worker": [worker], "both": [engine, worker]}[role]
    try:
        supervisor = Supervisor(services, role)
        return await run_until_signal(supervisor, lambda: print("ready", flush=True))
    finally:
        await first.close()
        await second.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    sys.exit(asyncio.run(main(*sys.argv[1:])))
