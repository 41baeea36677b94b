"""What a handler is given and what is known of it: the saga handle, the context, its payload's
type.

A handler is ``(saga, message, context) -> effects`` and may leave out what it doesn't need from the
right. It is plain synchronous code: it sets ``saga.state`` and returns effects, and touches nothing
else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import islice
from typing import Any, Generic, TypeAlias, TypeVar, cast, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Raw, Struct

from sagas.effects import EFFECT_TYPES, EFFECTS_MAX, Effect
from sagas.errors import DefinitionError, HandlerFault
from sagas.messages import Cause, Message
from sagas.names import check_name

S = TypeVar("S")
P = TypeVar("P")

Returned: TypeAlias = Effect | Iterable[Effect] | None


class SagaHandle(Generic[S]):
    """The instance as its handler holds it: read ``id``, ``key``, ``version``; set ``state``."""

    __slots__ = ("id", "key", "state", "version")

    def __init__(self, id: str, key: str, version: int, state: S) -> None:
        self.id = id
        self.key = key
        self.version = version
        self.state = state


class Context(Struct, Generic[S], frozen=True, kw_only=True, gc=False):
    """What a handler may know beside its message: ``now`` is the only clock (UTC), ``attempt``
    counts from 1.
    """

    saga_id: str
    key: str
    state: S
    message: Message[Any]  # handlers of every payload type share one context type
    attempt: int
    now: datetime
    version: int
    traceparent: str

    @property
    def instance_id(self) -> str:
        """Saga and key in one text."""
        return f"{self.saga_id}/{self.key}"


HandlerFunction: TypeAlias = (
    Callable[[SagaHandle[S], Message[P], Context[S]], Returned]
    | Callable[[SagaHandle[S], Message[P]], Returned]
    | Callable[[SagaHandle[S]], Returned]
)


class Handler(Struct, frozen=True, kw_only=True):
    """A registered handler: how many arguments it takes and how it gets its payload decoded."""

    type: str
    function: Callable[..., Returned]
    arguments: int
    payload_type: object
    decode: Callable[[Raw], object]
    starts: bool = False


def make_handler(type: str, function: Callable[..., Returned], *, starts: bool = False) -> Handler:
    """The Handler of a function; raises DefinitionError when it can't be one."""
    what = f"the handler of {type!r} ({getattr(function, '__qualname__', function)!s})"
    check_type(type)
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise DefinitionError(
            f"{what} is async; handlers are plain functions, move the I/O into a job"
        )
    arguments = _count_arguments(function, what)
    payload_type = _payload_type(function, arguments, what)
    try:
        decode = msgspec.json.Decoder(payload_type).decode
    except TypeError as error:
        raise DefinitionError(
            f"{what}: payloads can't be decoded to {payload_type!r}: {error}"
        ) from None
    return Handler(
        type=type,
        function=function,
        arguments=arguments,
        payload_type=payload_type,
        decode=decode,
        starts=starts,
    )


def check_type(type: str) -> str:
    """A message type that authors may use; raises DefinitionError."""
    try:
        return check_name(type, "message type")
    except ValueError as error:
        raise DefinitionError(str(error)) from None


def call(
    handler: Handler, handle: SagaHandle[Any], message: Message[Any], context: Context[Any] | None
) -> list[Effect]:
    """Run a handler and normalise what it returns; raises HandlerFault, or whatever the handler
    raises. ``context`` is only needed by one that takes three arguments.
    """
    if handler.arguments == 3:
        returned = handler.function(handle, message, context)
    elif handler.arguments == 2:
        returned = handler.function(handle, message)
    else:
        returned = handler.function(handle)
    return effects_of(returned, handler.type)


def effects_of(returned: Returned, type: str) -> list[Effect]:
    """One effect, many or none as a list; raises HandlerFault for anything else."""
    if returned is None:
        return []
    if not isinstance(returned, (list, tuple)):  # these two are told apart cheaply
        if isinstance(returned, EFFECT_TYPES):
            return [returned]
        if isinstance(returned, (str, bytes, dict)) or not isinstance(returned, Iterable):
            raise HandlerFault(
                f"the handler of {type!r} returned {returned!r:.80}; return effects such as"
                " [send(…)], one effect or None"
            )
    many = cast("Iterable[Effect]", returned)
    effects = list(islice(many, EFFECTS_MAX + 1))  # a generator may never end
    for effect in effects:
        if not isinstance(effect, EFFECT_TYPES):
            raise HandlerFault(
                f"the handler of {type!r} returned {effect!r:.80} among its effects; it is none"
            )
    return effects


def to_message(cause: Cause, payload: object) -> Message[Any]:
    """The message a handler sees for a recorded cause."""
    return Message(
        type=cause.type,
        payload=payload,
        id=cause.id,
        kind=cause.kind,
        seq=cause.seq,
        at=cause.at,
        by=cause.by,
        reason=cause.reason,
        answers=cause.answers,
        traceparent=cause.trace,
    )


def _count_arguments(function: Callable[..., Returned], what: str) -> int:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise DefinitionError(f"{what} can't be called; pass a function") from None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in positional if p.default is p.empty]
    if any(p.kind == p.VAR_POSITIONAL for p in parameters):
        return 3
    if not positional or len(required) > 3:
        raise DefinitionError(
            f"{what} must take (saga), (saga, message) or (saga, message, context)"
        )
    return min(len(positional), 3)


def _payload_type(function: Callable[..., Returned], arguments: int, what: str) -> object:
    if arguments < 2:
        return Any
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) < 2:
        return Any
    try:
        hints = get_type_hints(function)
    except (NameError, TypeError, AttributeError) as error:
        raise DefinitionError(f"{what}: its annotations can't be read: {error}") from None
    annotation = hints.get(parameters[1], Any)
    if get_origin(annotation) is Message:
        return get_args(annotation)[0]
    if annotation is Message or annotation is Any or annotation is inspect.Parameter.empty:
        return Any
    raise DefinitionError(
        f"{what}: annotate its message as Message[YourPayload], not {annotation!r}"
    )
