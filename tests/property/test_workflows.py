"""Goal: a replayed workflow repeats itself to the byte, whatever it does, and undoes what it did.

Method: random programs of steps, sequences, gathers, task groups, loops and try blocks are run by
one workflow function; jobs answer or fail in random order. Each answer starts from the stored
document alone, so a crash between any two of them changes nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given as given_that
from hypothesis import settings
from hypothesis import strategies as st

from sagas import StepFailed, WorkflowSaga, step, workflow
from sagas.actions import act
from sagas.instance import document_hash, encode
from sagas.kernel import Snapshot, Transition, decide
from sagas.replay import replay
from sagas.testing import Scenario, given


async def _run(ctx: Any, input: Any) -> Any: ...


async def _undo(ctx: Any, data: Any) -> None: ...


STEPS = [
    step("strict", _run, _undo),
    step("hybrid", _run, _undo, strict=False),
    step("plain", _run),
]
BY_NAME = {one.name: one for one in STEPS}

_leaf = st.sampled_from(["strict", "hybrid", "plain", "sleep", "signal", "drawn"])
PROGRAMS = st.recursive(
    _leaf,
    lambda inner: st.one_of(
        st.tuples(st.just("sequence"), st.lists(inner, min_size=1, max_size=4)),
        st.tuples(st.just("gather"), st.lists(inner, min_size=1, max_size=4)),
        st.tuples(st.just("group"), st.lists(inner, min_size=1, max_size=3)),
        st.tuples(st.just("try"), inner),
        st.tuples(st.just("twice"), inner),
    ),
    max_leaves=10,
)


@workflow("Random", steps=STEPS, signals={"signal": int})
async def _random(saga: WorkflowSaga, input: Any) -> Any:
    saga.state["done"] = []
    await _play(saga, input)
    return saga.state["done"]


async def _play(saga: WorkflowSaga, program: Any) -> None:
    if isinstance(program, str):
        saga.state["done"].append([program, await _leaf_of(saga, program), saga.random()])
        return
    kind, inner = program
    if kind == "gather":
        await asyncio.gather(*(_play(saga, one) for one in inner))
    elif kind == "group":
        async with asyncio.TaskGroup() as group:
            for one in inner:
                group.create_task(_play(saga, one))
    elif kind == "try":
        try:
            await _play(saga, inner)
        except* StepFailed as errors:
            saga.publish("Caught", len(errors.exceptions))
    else:
        for one in inner if kind == "sequence" else (inner, inner):
            await _play(saga, one)


async def _leaf_of(saga: WorkflowSaga, name: str) -> object:
    if name == "sleep":
        return await saga.sleep("1m")
    if name == "signal":
        return await saga.wait_for_signal("signal", timeout="10m")
    return str(saga.uuid()) if name == "drawn" else await BY_NAME[name](saga, saga.now())


def _open(run: Scenario) -> list[tuple[str, bool]]:
    return [(one.step, bool(one.undo)) for one in run.instance.commands.values() if one.step]


@settings(deadline=None, max_examples=60)
@given_that(data=st.data(), program=PROGRAMS)
def test_every_replay_repeats_history_and_what_was_done_is_undone(
    data: st.DataObject, program: Any
) -> None:
    run = given(_random, key="k").when("Random", program)
    ended: list[str] = []
    undone: list[str] = []
    signals = data.draw(st.integers(0, 4))
    for turn in range(400):
        moves = _open(run)
        assert run.instance.status != "parked", run.instance.error
        if signals and data.draw(st.booleans()):
            signals -= 1
            run.signal("signal", turn)
        elif not moves:
            if not run.instance.timers:
                break
            run.advance("1m")
        else:
            name, undo = data.draw(st.sampled_from(moves))
            if undo:
                undone.append(name)
                run.when_step(name)
            elif data.draw(st.integers(0, 4)) == 0:
                run.when_step_failed(name, "by chance")
            else:
                ended.append(name)
                run.when_step(name, turn)
    _check_kept(run, data)
    again = replay(_random, run.history)
    assert [one.after and encode(one.after) for one in again.steps] == list(
        map(encode, run.history)
    )
    _check_end(run, ended, undone)


def _check_kept(run: Scenario, data: st.DataObject) -> None:
    """A function that is kept where it waits, and now and then lost, decides the same bytes."""
    left = Snapshot("k")
    for recorded in run.history:
        for _ in range(data.draw(st.sampled_from([1, 1, 1, 2]))):  # decided again: a failed commit
            way = act if recorded.cause.kind == "operator" else decide
            decision = way(_random, left, recorded.cause, recorded.at)
        assert isinstance(decision, Transition)
        assert decision.document == encode(recorded)
        lost = data.draw(st.integers(0, 4)) == 0
        standing = None if lost else decision.standing
        left = Snapshot("k", decision.after, document_hash(decision.document), standing)


def _check_end(run: Scenario, ended: list[str], undone: list[str]) -> None:
    records = run.instance.steps
    failed = run.instance.error is not None
    assert run.instance.status in ("completed", "compensated", "failed")
    assert failed == (run.instance.status != "completed")
    done = [id for id in reversed(ended) if records[id].step != "plain"]
    assert [id for id in undone if records[id].order] == (done if failed else [])
    hybrids = {id for id, one in records.items() if one.step == "hybrid" and one.status == "failed"}
    assert {id for id in undone if not records[id].order} == (hybrids if failed else set())
    assert len(undone) == len(set(undone))
