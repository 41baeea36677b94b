"""Gates: limits on how many instances of a saga, or commands of a concurrency key, are at work at
once.

A gate is an instance of the built-in saga ``Snorri-Gate``, one for each key, so waiting and being
let in are transitions like any other: exactly once, in order, in history, and with no lock to
expire. Whoever wants a slot sends Acquire, is granted it by a signal, and sends Release when done.
"""

from __future__ import annotations

import types

import msgspec
from msgspec import Struct

from sagas.decision import Decision, Ignored, Undeliverable
from sagas.definition import SagaDefinition, correlate
from sagas.draft import ACQUIRE, GATE_SAGA, GRANTED, RELEASE, Draft
from sagas.errors import LimitExceeded
from sagas.instance import Gate
from sagas.messages import Address, Cause, Message, to_raw
from sagas.names import saga_gate

QUEUE_MAX = 5000
GRANTS_MAX = 200  # in one transition, since each is a message of its batch


class Slot(Struct, frozen=True, omit_defaults=True):
    """One that holds or wants a slot: an instance (``holder`` empty) or one of its commands (its
    id).
    """

    saga: str
    key: str
    holder: str = ""


class Ask(Slot, frozen=True, omit_defaults=True):
    """What Acquire and Release carry."""

    limit: int = 1


class GateState(Struct, frozen=True):
    """Who is inside and who waits, in order."""

    limit: int = 1
    held: tuple[Slot, ...] = ()
    queue: tuple[Slot, ...] = ()


def gate_definition() -> SagaDefinition:
    """The built-in saga of all gates."""
    nothing = types.MappingProxyType[str, object]({})
    return SagaDefinition(
        id=GATE_SAGA,
        initial=to_raw(GateState()),
        state_type=GateState,
        decode_state=msgspec.json.Decoder(GateState).decode,
        handlers=nothing,  # pyright: ignore[reportArgumentType]  an empty mapping fits every value type
        compensations=nothing,  # pyright: ignore[reportArgumentType]
        signals=nothing,  # pyright: ignore[reportArgumentType]
        queries=nothing,  # pyright: ignore[reportArgumentType]
        correlation=None,
        correlations=nothing,  # pyright: ignore[reportArgumentType]
        name="Concurrency gates",
        description="Lets in a limited number of instances or commands at once.",
        hash="1",
    )


def enter(draft: Draft, message: Message[object]) -> None:
    """Ask for the slot a new instance needs before its first message is handled; raises what the
    author's rule raises.
    """
    limit = draft.definition.concurrency
    if limit is None:
        return
    key = "" if limit.key is None else correlate(limit.key, message) or ""
    draft.gate = Gate(key=saga_gate(draft.definition.id, key))
    draft.ask_gate(ACQUIRE, draft.gate.key, "", limit.limit)


def work(draft: Draft, cause: Cause) -> Decision | None:
    """One Acquire or Release at a gate; grants as many slots as are free.

    A gate never parks, since everybody behind it would wait with it: what it can't take becomes a
    dead letter.
    """
    try:
        ask = msgspec.json.decode(cause.payload, type=Ask)
    except msgspec.MsgspecError as error:
        return Undeliverable(f"a gate can't read it: {error}; it is none of ours, discard it")
    slot = Slot(ask.saga, ask.key, ask.holder)
    before: GateState = draft.definition.decode_state(draft.state)
    held, queue, limit = list(before.held), list(before.queue), before.limit
    if cause.type == ACQUIRE:
        limit = ask.limit
        if slot not in held and slot not in queue:
            queue.append(slot)
    elif cause.type == RELEASE:
        held = [one for one in held if one != slot]
        queue = [one for one in queue if one != slot]
    else:
        return Undeliverable(f"a gate knows no {cause.type!r}; it is none of ours, discard it")
    if len(queue) > QUEUE_MAX:
        return Undeliverable(_full(QUEUE_MAX))
    granted = queue[: max(0, min(limit - len(held), GRANTS_MAX))]
    state = GateState(limit, (*held, *granted), tuple(queue[len(granted) :]))
    if state == before and draft.before is not None:
        return Ignored("moot", "nobody waits or goes in by it")
    for one in granted:
        draft.signal(Address(one.saga, one.key), GRANTED, one)
    try:
        draft.set_state(state)
    except LimitExceeded:
        return Undeliverable(_full(len(queue)))
    return None


def _full(count: int) -> str:
    return f"{count} wait at this gate already; raise the concurrency limit, then redrive this"
