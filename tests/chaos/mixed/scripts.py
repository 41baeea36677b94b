"""What is published to one instance of a mixed run, in order; made by chance."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Literal, TypeAlias

from msgspec import Struct

from tests.chaos.app import fate

Via: TypeAlias = Literal["nats", "http"]


class Message(Struct, frozen=True, kw_only=True):
    """An event to publish ``after_s`` the one before it was acknowledged; its id names it."""

    type: str
    key: str
    id: str
    payload: object
    after_s: float = 0.0
    via: Via = "nats"


class Script(Struct, frozen=True, kw_only=True):
    """What is published to one instance, in order, ``begin_s`` after its round has begun."""

    saga: str
    key: str
    begin_s: float
    messages: tuple[Message, ...]


def make_script(number: int, chance: random.Random, begin_s: float) -> Script:
    """Six in ten are orders, two are timers, one is a list of steps, one a workflow."""
    lot = chance.random()
    if lot < 0.6:
        saga, key, messages = "ChaosOrder", f"o-{number}", _order(number, chance)
    elif lot < 0.8:
        saga, key, messages = "Bell", f"b-{number}", _bell(number, chance)
    else:
        saga = "Batch" if lot < 0.9 else "Parcel"
        body: object = {"number": number} if saga == "Batch" else number
        key, messages = f"r-{number}", [_message(saga, f"r-{number}", chance, payload=body)]
    if chance.random() < 1 / 3:
        # Sent again under its id: at once, or when the broker knows the id no more.
        messages.append(_again(messages[0], chance.choice([0.0, chance.uniform(1.5, 4.0)])))
    return Script(saga=saga, key=key, begin_s=begin_s, messages=tuple(messages))


def _order(number: int, chance: random.Random) -> list[Message]:
    key = f"o-{number}"
    payload = {"order": key, "fate": fate(number)}
    messages = [_message("OrderCreated", key, chance, payload=payload)]
    if chance.random() < 0.2:
        after_s = chance.uniform(0.0, 0.5)
        messages.append(_message("Viewed", key, chance, payload={"order": key}, after_s=after_s))
    return messages


def _bell(number: int, chance: random.Random) -> list[Message]:
    key, rings_s = f"b-{number}", round(chance.uniform(0.5, 8.0), 2)
    payload: Mapping[str, object] = {"bell": key, "after_s": rings_s}
    messages = [_message("BellSet", key, chance, payload=payload)]
    if chance.random() < 1 / 3:
        after_s = max(0.0, rings_s + chance.uniform(-0.2, 0.2))
        stop = _message("BellStopped", key, chance, payload={"bell": key}, after_s=after_s)
        messages.append(stop)
    return messages


def _message(
    type: str, key: str, chance: random.Random, *, payload: object, after_s: float = 0.0
) -> Message:
    via: Via = "http" if chance.random() < 0.4 else "nats"
    id = f"{type}-{key}"
    return Message(type=type, key=key, id=id, payload=payload, after_s=after_s, via=via)


def _again(first: Message, after_s: float) -> Message:
    return Message(
        type=first.type, key=first.key, id=first.id, payload=first.payload, after_s=after_s
    )
