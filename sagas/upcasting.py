"""State that older code has written, brought to the shape that the handlers of today take. Pure.

A document tells which version of its definition made the state in it. An upcaster takes the state
of one version to the next; one after the other they lead to the version at hand, and only then is
it decoded to the author's type. It is stored in the new shape with the transition that a handler
makes of it, and the history before stays as it was written.

A state of a newer version is never touched: this code does not know what it means.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec
from msgspec import Raw, Struct

from sagas.errors import DefinitionError, HandlerFault, NewerVersion
from sagas.messages import to_raw

if TYPE_CHECKING:
    from sagas.definition import SagaDefinition


class Upcaster(Struct, frozen=True, kw_only=True):
    """Takes the state of ``version`` to the next: ``function`` is pure and gets it ``decode``d."""

    version: int
    function: Callable[[Any], object]  # the author's types, old and new
    decode: Callable[[Raw], Any]


def make_upcaster(version: int, function: Callable[[Any], object]) -> Upcaster:
    """The Upcaster of a function of one argument, whose annotation says what the old state is
    decoded to (default: plain JSON data); raises DefinitionError.
    """
    what = f"the upcaster of version {version} ({getattr(function, '__qualname__', function)!s})"
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise DefinitionError(f"{what} must be a plain function of the old state")
    try:
        parameters = list(inspect.signature(function).parameters)
        hints = get_type_hints(function)
    except (TypeError, ValueError, NameError, AttributeError) as error:
        raise DefinitionError(f"{what}: its annotations can't be read: {error}") from None
    if len(parameters) != 1:
        raise DefinitionError(f"{what} must take (state), the old one, and return the new one")
    try:
        decode = msgspec.json.Decoder(hints.get(parameters[0], Any)).decode
    except TypeError as error:
        raise DefinitionError(f"{what}: a state can't be decoded to that: {error}") from None
    return Upcaster(version=version, function=function, decode=decode)


def check_upcasters(id: str, version: int, upcasters: Mapping[int, Upcaster]) -> None:
    """Raises DefinitionError for a version that is none, and for upcasters that lead past it."""
    if version < 1:
        raise DefinitionError(f"{id}: a version is 1 or more, not {version}")
    for old in sorted(upcasters):
        if not 1 <= old < version:
            raise DefinitionError(
                f"{id}: .upcast({old}, …) leads from version {old} to {old + 1}, and the saga is"
                f" version {version}; say .version({old + 1}) or correct the number"
            )


def current_state(definition: SagaDefinition, state: Raw, version: int) -> Any:
    """The state that code of ``version`` wrote, as the handlers of ``definition`` take it.

    Raises NewerVersion, HandlerFault when it does not fit after its upcasters, and whatever an
    upcaster raises.
    """
    if version == definition.version:
        return definition.decode_state(state)
    raw = upcast(definition, state, version)
    try:
        return definition.decode_state(raw)
    except msgspec.ValidationError as error:
        raise HandlerFault(
            f"the state of version {version} does not fit version {definition.version} of"
            f" {definition.id}: {error}; give an upcaster that makes it fit, then retry"
        ) from None


def upcast(definition: SagaDefinition, state: Raw, version: int) -> Raw:
    """The state through all upcasters from ``version`` on, as it would be stored now; raises
    NewerVersion, and whatever an upcaster raises.
    """
    check_known(definition, version)
    for old in range(version, definition.version):
        upcaster = definition.upcasters.get(old)
        if upcaster is not None:
            state = to_raw(upcaster.function(upcaster.decode(state)))
    return state


def check_known(definition: SagaDefinition, version: int) -> None:
    """Raises NewerVersion for what newer code than ``definition`` has written."""
    if version > definition.version:
        raise NewerVersion(newer_text(definition, version))


def newer_text(definition: SagaDefinition, version: int) -> str:
    """What to tell of a state that newer code wrote, and what to do."""
    return (
        f"its state is of version {version} of {definition.id}, this code is version"
        f" {definition.version}; run the newer code again, then retry"
    )
