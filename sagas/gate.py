"""Gates: limits on how many instances of a saga, or commands of a concurrency key, are at work at
once.

A gate is an instance of the built-in saga ``Snorri-Gate``, one for each key, so waiting and being
let in are transitions like any other: exactly once, in order, in history, and with no lock to
expire. Whoever wants a slot sends Acquire, is granted it by a signal, and sends Release when done.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw, Struct

from sagas.definition import SagaDefinition, correlate
from sagas.draft import ACQUIRE, GATE_SAGA, GRANTED, RELEASE
from sagas.errors import HandlerFault
from sagas.instance import Gate
from sagas.messages import NULL, Address, Cause, Message, to_raw
from sagas.names import saga_gate

if TYPE_CHECKING:
    from sagas.draft import Draft

QUEUE_MAX = 5000


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


class ChildEnd(Struct, frozen=True):
    """What a child tells its parent at its end."""

    saga: str
    key: str
    result: Raw = NULL
    reason: str = ""


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
    """Ask for the slot a new instance needs before its first message is handled."""
    limit = draft.definition.concurrency
    if limit is None:
        return
    key = "" if limit.key is None else correlate(limit.key, message) or ""
    draft.gate = Gate(key=saga_gate(draft.definition.id, key))
    draft.ask_gate(ACQUIRE, draft.gate.key, "", limit.limit)


def work(draft: Draft, cause: Cause) -> None:
    """One Acquire or Release at a gate; grants as many slots as are free. Raises HandlerFault."""
    ask = msgspec.json.decode(cause.payload, type=Ask)
    slot = Slot(ask.saga, ask.key, ask.holder)
    state: GateState = draft.definition.decode_state(draft.state)
    held, queue, limit = list(state.held), list(state.queue), state.limit
    if cause.type == ACQUIRE:
        limit = ask.limit
        if slot not in held and slot not in queue:
            queue.append(slot)
    elif cause.type == RELEASE:
        held = [one for one in held if one != slot]
        queue = [one for one in queue if one != slot]
    else:
        raise HandlerFault(f"a gate knows no {cause.type!r}")
    if len(queue) > QUEUE_MAX:
        raise HandlerFault(
            f"{QUEUE_MAX} wait at this gate already; raise the concurrency limit or send fewer"
        )
    while queue and len(held) < limit:
        granted = queue.pop(0)
        held.append(granted)
        draft.signal(Address(granted.saga, granted.key), GRANTED, granted)
    draft.set_state(GateState(limit=limit, held=tuple(held), queue=tuple(queue)))
