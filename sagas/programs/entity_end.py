"""What becomes of the calls of an entity that an operator has ended: each has failed, and whoever
waits is told.
"""

from __future__ import annotations

import msgspec
from msgspec import structs

from sagas.draft import Draft
from sagas.messages import Cause
from sagas.programs.entity_state import Call, CallResult, EntityState, answer, state_of, with_result
from sagas.programs.run import Run
from sagas.programs.workflow_signals import EntityCall

ENDED = "Ended"


def give_up(draft: Draft) -> None:
    """Answer the calls in line and those that wait in the backlog."""
    run, result = Run(draft), _result(draft)
    for cause in draft.backlog:
        turn_away(draft, cause)
    if run.begun:
        kept: EntityState = structs.replace(state_of(run), calls=())
        for call in state_of(run).calls:
            answer(run, call, result)
            kept = with_result(kept, call.id, result)
        run.state = kept


def turn_away(draft: Draft, cause: Cause) -> bool:
    """Answer a call that comes after the end; False when it is none or nobody waits for it."""
    if cause.kind not in ("event", "spawn") or cause.type != draft.definition.id:
        return False
    try:
        asked = msgspec.json.decode(cause.payload, type=EntityCall)
    except msgspec.MsgspecError:
        return False
    if asked.reply is None:
        return False
    call = Call(id=cause.id, handler=asked.handler, reply=asked.reply)
    answer(Run(draft), call, _result(draft))
    return True


def _result(draft: Draft) -> CallResult:
    reason = (
        f"{draft.address} is {draft.status} and handles no calls any more; call one that is not"
    )
    return CallResult(error=reason, code=ENDED)
