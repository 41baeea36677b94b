"""Routing: which instances a public event is for, found by correlation or by the command it
answers. Pure.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from sagas.definition import Registry, SagaDefinition, find, text
from sagas.errors import error_text
from sagas.handlers import to_message
from sagas.messages import Cause, unreadable
from sagas.names import BadName, check_key, parse_command_id


class Delivery(Struct, frozen=True, gc=False):
    """One event for one instance, with its payload as that definition's handler wants it (or
    UNSET).
    """

    definition: SagaDefinition
    key: str
    payload: object = msgspec.UNSET


class Misdelivery(Struct, frozen=True):
    """A saga the event can't reach, and why; it becomes a dead letter."""

    saga: str
    reason: str


def route(
    registry: Registry, cause: Cause, ordering_key: str | None, only_saga: str = ""
) -> tuple[list[Delivery], list[Misdelivery]]:
    """Where an event goes. Both lists empty: no saga handles its type.

    An event that answers a command goes to the instance that sent it, whatever its payload says.
    The other sagas that handle its type may overhear it where their correlation finds an instance;
    that one finds none is no fault then.
    """
    deliveries: list[Delivery] = []
    faults: list[Misdelivery] = []
    definitions = registry.routes(cause.type)
    if (definitions or cause.answers) and (fault := unreadable(cause.payload)):
        origin = parse_command_id(cause.answers)
        sagas = [origin[0]] if origin else [definition.id for definition in definitions]
        return [], [Misdelivery(saga, fault) for saga in sagas or [""]]
    asked = ""
    if cause.answers:
        asked = _route_answer(registry, cause, deliveries, faults)
        if not asked:
            return [], faults
    for definition in definitions:
        if definition.id == asked or (only_saga and definition.id != only_saga):
            continue
        found = _correlated(definition, cause, ordering_key)
        if isinstance(found, Delivery):
            deliveries.append(found)
        elif not cause.answers:
            faults.append(found)
    return deliveries, faults


def _route_answer(
    registry: Registry, cause: Cause, deliveries: list[Delivery], faults: list[Misdelivery]
) -> str:
    origin = parse_command_id(cause.answers)
    if origin is None:
        reason = f"it answers {cause.answers!r}, which is no id of a command"
        faults.append(Misdelivery("", f"{reason}; correct its header Snorri-Cause"))
        return ""
    definition = registry.get(origin[0])
    if definition is None:
        faults.append(
            Misdelivery(
                origin[0],
                f"it answers a command of the saga {origin[0]!r}, which this engine does not know;"
                " start one with the app that defines it, then redrive this",
            )
        )
        return origin[0]
    deliveries.append(Delivery(definition, origin[1]))
    return origin[0]


def _correlated(
    definition: SagaDefinition, cause: Cause, ordering_key: str | None
) -> Delivery | Misdelivery:
    handler = definition.handlers[cause.type]
    try:
        payload = handler.decode(cause.payload)
    except (msgspec.MsgspecError, RecursionError) as error:
        reason = f"its payload does not fit {definition.id}: {error}"
        return Misdelivery(definition.id, f"{reason}; correct it, then redrive this")
    rule = definition.correlations.get(cause.type, definition.correlation)
    if rule is None:
        key = ordering_key
        missing = (
            "it has no ordering key and the saga declares no .correlate rule; publish it with a key"
        )
    else:
        try:
            key = (
                find(rule, payload)
                if isinstance(rule, str)
                else text(rule(to_message(cause, payload)))
            )
        except (
            Exception
        ) as error:  # the author's rule may raise anything; it concerns this event only
            return Misdelivery(
                definition.id,
                f"the correlation rule raised {type(error).__name__}: {error_text(error)};"
                " correct the payload or the rule, then redrive this",
            )
        missing = (
            f"the correlation rule {rule!r} finds no value; add the field to the payload"
            if isinstance(rule, str)
            else "it correlates to nothing; add what the correlation rule looks for to the payload"
        )
    if not key:
        return Misdelivery(definition.id, missing)
    try:
        return Delivery(definition, check_key(key), payload)
    except BadName as error:
        return Misdelivery(definition.id, str(error))
