"""Whatever jobs do and whatever the broker loses, each command gets its one answer.

Method: hypothesis writes a script for each command (what its attempts do, one after the other) and
faults for the publishing of results; a real worker runs them on a memory broker. Answers of one
command must be equal, there must be one unless a reply was lost, and it must be the one that the
script and the retry policy say.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal, TypeAlias

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import JobContext, PermanentFailure, failure, job
from sagas.retry import RetryPolicy
from store import codec
from store.memory import Answer, Fault, LoseReply, LoseRequest, ScriptedFaults
from store.port import Busy, Invalid
from tests.worker_kit import Result, memory_floor

Step: TypeAlias = Literal["ok", "raise", "no", "stolen", "unwritable"]

ATTEMPTS_MAX = 3
STEPS: tuple[Step, ...] = ("ok", "raise", "raise", "no", "stolen", "unwritable")
FAULTS: tuple[tuple[str, Fault], ...] = (
    ("door.publish", LoseRequest()),
    ("door.publish", LoseReply()),
    ("door.publish_batch", LoseRequest()),
    ("door.publish_batch", LoseReply()),
    ("door.publish_batch", Answer(Busy("full"))),
    ("door.publish_batch", Answer(Invalid(10199, "odd"))),
)

Scripts = st.lists(
    st.lists(st.sampled_from(STEPS), min_size=ATTEMPTS_MAX, max_size=ATTEMPTS_MAX),
    min_size=1,
    max_size=6,
)


def _expected(script: list[Step]) -> tuple[str, int, bool]:
    """Type of the answer, the attempt that gives it, and whether it is a dead letter."""
    for number, step in enumerate(script, 1):
        if step == "ok":
            return "Paid", number, False
        if step != "raise":
            return "NotPaid", number, step == "unwritable"
    return "NotPaid", ATTEMPTS_MAX, True


def _act(step: Step) -> object:
    match step:
        case "ok":
            return {"fine": True}
        case "raise":
            raise OSError("again")
        case "no":
            return failure("no")
        case "stolen":
            raise PermanentFailure("stolen")
        case "unwritable":
            return object()


async def _run(scripts: list[list[Step]], faults: list[tuple[str, Fault]]) -> list[list[Result]]:
    scripted = ScriptedFaults()
    for name, fault in faults:
        scripted.on(name, fault)
    floor = memory_floor(faults=scripted)

    @job(
        "pay",
        retry=RetryPolicy(attempts_max=ATTEMPTS_MAX, delay_s=0.0),
        on_success="Paid",
        on_failure="NotPaid",
    )
    async def pay(ctx: JobContext[Any], payload: list[Step]) -> object:
        return _act(payload[ctx.attempt - 1])

    try:
        ids = [await floor.send(script, key=f"k{i}") for i, script in enumerate(scripts)]
        worker = await floor.worker(pay)
        found: list[Result] = []
        while {r.headers.get(codec.CAUSE) for r in found} & set(ids) != set(ids):
            found = await floor.results(len(found) + 1)
        await worker.stop()
        found = await floor.results(len(found))
        return [[r for r in found if r.execution.command == id] for id in ids]
    finally:
        await floor.close()


@settings(max_examples=80, deadline=None)
@given(Scripts, st.lists(st.sampled_from(FAULTS), max_size=4))
def test_each_command_gets_the_one_answer_its_script_says(
    scripts: list[list[Step]], faults: list[tuple[str, Fault]]
) -> None:
    lost = any(isinstance(fault, LoseReply) for _, fault in faults)
    for script, results in zip(scripts, asyncio.run(_run(scripts, faults)), strict=True):
        answers = [r for r in results if codec.CAUSE in r.headers]
        tries = [r for r in results if r.type == codec.ATTEMPTED]
        type, attempt, dead = _expected(script)
        assert answers
        assert lost or len(answers) == 1
        assert len({msgspec.json.encode(answer) for answer in answers}) == 1
        answer = answers[0]
        assert (answer.type, answer.execution.attempt) == (type, attempt)
        assert (codec.DEAD_LETTER in answer.headers) == dead
        assert {r.execution.attempt for r in tries} == set(range(1, attempt))
        assert lost or len(tries) == attempt - 1
