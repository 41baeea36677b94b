"""A program becomes a saga definition: what steps, workflows and entities have in common there."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from sagas.definition import SagaDefinition
from sagas.durations import seconds
from sagas.errors import DefinitionError
from sagas.handlers import Handler, check_type
from sagas.messages import NULL
from sagas.programs.program import Program
from sagas.upcasting import check_upcasters

D = TypeVar("D", bound=SagaDefinition)


def program_definition(
    kind: type[D],
    id: str,
    program: Program,
    input_type: object,
    description: str = "",
    retention: str = "",
    *,
    signals: Mapping[str, object] | None = None,
    events: Mapping[str, object] | None = None,
    **more: Any,
) -> D:
    """The definition of a program: an event of type ``id`` starts an instance under its ordering
    key. ``signals`` and ``events`` (what it takes beside its start) are names with the types of
    their payloads, ``more`` goes to ``kind``. Its hash is made by the registry, when all that it
    calls is known. Raises DefinitionError.
    """
    if id.startswith("Snorri-"):
        raise DefinitionError(f"ids that begin with Snorri- are reserved; rename {id!r}")
    if retention:
        seconds(retention)
    check_upcasters(id, more.get("version", 1), {})
    start = taken(id, input_type, starts=True)
    declared = {name: taken(name, type) for name, type in (signals or {}).items()}
    told = {name: taken(name, type) for name, type in (events or {}).items()}
    return kind(
        id=id,
        name=id,
        initial=NULL,
        state_type=dict[str, Any],
        decode_state=msgspec.json.Decoder(dict[str, Any] | None).decode,
        handlers=types.MappingProxyType({id: start, **told}),
        compensations=types.MappingProxyType({}),
        signals=types.MappingProxyType(declared),
        queries=types.MappingProxyType({}),
        correlation=None,
        correlations=types.MappingProxyType({}),
        description=description,
        retention=retention,
        program=program,
        **more,
    )


def taken(type: str, payload_type: object, *, starts: bool = False) -> Handler:
    """A message type that a program takes; its function is never called."""
    check_type(type)
    try:
        decode = msgspec.json.Decoder(payload_type).decode  # type: ignore[arg-type] # told at run time
    except TypeError as error:
        raise DefinitionError(
            f"{type}: inputs can't be decoded to {payload_type!r}: {error}; use a Struct or a dict"
        ) from None
    return Handler(
        type=type,
        function=_never,
        arguments=3,
        payload_type=payload_type,
        decode=decode,
        starts=starts,
    )


def _never(*_: object) -> None:
    raise AssertionError("a program takes this message, not a handler")
