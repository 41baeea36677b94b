"""What reaches a workflow function beside the answers of its steps: signals, events, replies.

Signals and events go to whoever waits first for their name; an entity's reply to who has called.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from sagas.messages import NULL, Address, Cause
from sagas.programs.run import Run
from sagas.programs.steps import StepFailure, StepResult
from sagas.programs.workflow_execution import HANDLED

SIGNAL = "signal:"
REPLY = "Snorri-Reply"


class ReplyTo(Struct, frozen=True):
    """Who waits for the result of a call: a run, its record, and the version that called."""

    address: Address
    step: str
    version: int


class EntityCall(Struct, frozen=True, omit_defaults=True):
    """The payload of the event that calls an entity; the event's type is the entity's id.

    ``callers`` are the instances that wait for this call (``sagas.programs.entity_waits``).
    """

    handler: str
    input: Raw = NULL
    reply: ReplyTo | None = None
    callers: tuple[str, ...] = ()


class Reply(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a call has ended: with ``failure`` it has failed, and what it did is undone."""

    to: ReplyTo
    output: Raw = NULL
    failure: StepFailure | None = None


def replied(run: Run, cause: Cause) -> bool:
    """Take an entity's reply; False when the message is none."""
    if cause.type != REPLY:
        return False
    reply = msgspec.json.decode(cause.payload, type=Reply)
    id = reply.to.step
    record = run.records.get(id)
    if record is None or record.kind != "entity" or record.status != "running":
        return True  # nobody waits for it any more
    if bytes(record.output) != str(reply.to.version).encode():
        return True
    if reply.failure is None:
        run.complete_step(id, StepResult(output=reply.output))
    else:
        run.fail_step(id, reply.failure)
    return True


def signal_id(name: str) -> str:
    """What the ids of waits for a signal are made of."""
    return f"{SIGNAL}{name}"


def arrive(run: Run, name: str, payload: Raw) -> None:
    """Answer the first wait for this name, or keep it for the next one."""
    waiting = [
        (record.place, id)
        for id, record in run.records.items()
        if record.kind == "signal" and record.step == name and record.status == "running"
    ]
    id = min(waiting)[1] if waiting else _keep(run, name, "signal", signal_id(name))
    run.complete_step(id, StepResult(output=payload))
    run.draft.unschedule(id)


def hand_over(run: Run, name: str, payload: Raw) -> None:
    """Put a signal on record that a handler of the workflow takes."""
    id = _keep(run, name, HANDLED, f"{HANDLED}:{name}")
    run.complete_step(id, StepResult(output=payload))


def _keep(run: Run, name: str, kind: str, base: str) -> str:
    count = sum(record.kind == kind and record.step == name for record in run.records.values())
    id = base if count == 0 else f"{base}#{count + 1}"
    run.put(id, run.record(name, kind=kind))
    return id
