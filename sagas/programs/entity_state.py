"""What an entity keeps: the author's state, the calls in line, the results of the last ones."""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import Raw, Struct, structs

from sagas.messages import EPOCH, NULL
from sagas.programs.run import Run
from sagas.programs.steps import StepFailure
from sagas.programs.workflow_signals import REPLY, Reply, ReplyTo

RESULTS_MAX = 50
RESULT_BYTES_MAX = 100_000  # of all results that are kept


class Call(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A call that waits for its turn or is being handled; ``failure`` while it is undone."""

    id: str
    handler: str
    input: Raw = NULL
    at: datetime = EPOCH
    reply: ReplyTo | None = None
    callers: tuple[str, ...] = ()
    failure: StepFailure | None = None


class CallResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a call has ended; with an ``error`` it has failed and was undone."""

    output: Raw = NULL
    error: str = ""
    code: str = ""


class EntityState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state of an instance as it is kept: the author's, the calls in line, the last results."""

    state: Raw = NULL
    calls: tuple[Call, ...] = ()
    results: dict[str, CallResult] = {}


def state_of(run: Run) -> EntityState:
    """The state of a run."""
    return msgspec.json.decode(run.draft.state, type=EntityState)


def answer(run: Run, call: Call, result: CallResult) -> None:
    """Tell whoever waits for a call how it has ended."""
    if call.reply is not None:
        failure = StepFailure(reason=result.error, code=result.code) if result.error else None
        reply = Reply(to=call.reply, output=result.output, failure=failure)
        run.draft.signal(call.reply.address, REPLY, reply)


def with_result(kept: EntityState, id: str, result: CallResult) -> EntityState:
    """The last results are kept for whoever asks, as many as there is room for."""
    results = dict(list({**kept.results, id: result}.items())[-RESULTS_MAX:])
    while len(results) > 1 and sum(len(one.output) for one in results.values()) > RESULT_BYTES_MAX:
        results.pop(next(iter(results)))
    return structs.replace(kept, results=results)
