"""Goal: a workflow function is kept where it waits, runs on from there once, and is closed at last.

Method: a workflow that counts how often its lines run, its transitions decided one after the other,
with what the one before has left standing and without.
"""

from __future__ import annotations

import asyncio
from typing import Any

from sagas import WorkflowSaga, step, workflow
from sagas.instance import document_hash, encode
from sagas.kernel import Snapshot, Transition, decide
from sagas.testing import Scenario, given

STEPS = 40
passed: list[int] = []
closed: list[str] = []


@step("one", nothing_to_undo=True)
async def one(ctx: Any, number: int) -> int: ...


@workflow("Long")
async def long(saga: WorkflowSaga, count: int) -> int:
    try:
        for number in range(count):
            passed.append(number)
            await one(saga, number)
    finally:
        closed.append(saga.key)
    return count


@workflow("Other")
async def other(saga: WorkflowSaga, count: int) -> int:
    return sum([await one(saga, number) for number in range(count)])


def _run(count: int) -> Scenario:
    run = given(long, key="k").when("Long", count)
    for number in range(count):
        run.when_step("one" if number == 0 else f"one#{number + 1}", number)
    return run


def _decided(run: Scenario, until: int) -> tuple[Snapshot, list[bytes]]:
    """All but the last transitions of a history once more, each with what the one before left."""
    left, documents = Snapshot("k"), []
    for recorded in run.history[:until]:
        decision = decide(long, left, recorded.cause, recorded.at)
        assert isinstance(decision, Transition)
        documents.append(decision.document)
        hash = document_hash(decision.document)
        left = Snapshot("k", decision.after, hash, decision.standing)
    return left, documents


def test_a_function_runs_from_its_start_only_now_and_then() -> None:
    run = _run(STEPS)
    assert len(passed) > STEPS * STEPS / 2
    passed.clear()
    _, documents = _decided(run, len(run.history))
    assert documents == [encode(one) for one in run.history]
    assert len(passed) < 4 * STEPS


def test_what_stands_is_used_once_and_only_for_its_own_program() -> None:
    run = _run(STEPS)
    left, _ = _decided(run, 12)
    standing, program = left.standing, long.program
    assert standing is not None
    assert standing.take(other.program) is None
    cause, at = run.history[12].cause, run.history[12].at
    first, second = (decide(long, left, cause, at) for _ in range(2))
    assert isinstance(first, Transition)
    assert isinstance(second, Transition)
    assert first.document == second.document == encode(run.history[12])
    assert standing.take(program) is None


def test_a_function_that_stands_nowhere_any_more_is_closed() -> None:
    run = _run(STEPS)
    left, _ = _decided(run, 12)
    closed.clear()
    del left
    assert closed == ["k"]


def test_a_run_that_waits_for_room_is_not_kept() -> None:
    @workflow("Wide")
    async def wide(saga: WorkflowSaga, count: int) -> None:
        await asyncio.gather(*(one(saga, number) for number in range(count)))

    run = given(wide, key="k").when("Wide", 1000)
    for number in range(2, 6):
        run.when_step(f"one#{number}", number)
    assert isinstance(run.last, Transition)
    assert run.last.standing is None
