"""``define_saga``: a chain that collects what a saga is and builds its frozen definition.

The state comes first: until ``.state(…)`` is called the chain has no ``.on``, for the type checker
and at run time. Handlers can be given in the chain or as decorators; both only record.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, TypeVar, cast, overload

import msgspec
from msgspec import Raw

from sagas.cron import check_cron
from sagas.definition import (
    Concurrency,
    CorrelationRule,
    Cron,
    Durability,
    OnUnknown,
    Query,
    SagaDefinition,
    definition_hash,
)
from sagas.durations import seconds
from sagas.errors import DefinitionError
from sagas.handlers import Handler, HandlerFunction, Returned, make_handler
from sagas.instance import STATE_BYTES_MAX
from sagas.messages import to_raw
from sagas.names import check_name
from sagas.upcasting import Upcaster, check_upcasters, make_upcaster

S = TypeVar("S")
P = TypeVar("P")
F = TypeVar("F", bound=Callable[..., Any])  # a decorator gives back the very function it got

RESERVED = "Snorri-"


class _Chain:
    """What every stage of the chain has: metadata and rules that need no state."""

    def __init__(self, id: str) -> None:
        self._id = id
        # Keyword arguments of SagaDefinition, each checked in its own method.
        self._meta: dict[str, Any] = {}

    @property
    def id(self) -> str:
        """The id of the saga in the making."""
        return self._id

    def name(self, name: str) -> Self:
        """A name for people; default: the id."""
        return self._set("name", name)

    def description(self, text: str) -> Self:
        """What the saga is for, in a sentence or two."""
        return self._set("description", text)

    def topic(self, topic: str) -> Self:
        """A word to group sagas by."""
        return self._set("topic", topic)

    def tags(self, *tags: str) -> Self:
        """Words to find the saga by."""
        return self._set("tags", tuple(tags))

    def durability(self, tier: Durability) -> Self:
        """``t1``: one file replica; ``t2``: three; ``t3``: three and an archive.

        More than the bucket gives is refused.
        """
        if tier not in ("t1", "t2", "t3"):
            raise DefinitionError(f"{self._id}: durability is t1, t2 or t3, not {tier!r}")
        return self._set("durability", tier)

    def correlate(self, rule: CorrelationRule) -> Self:
        """How a message names its instance: a field path such as ``"order.id"`` or a function of
        the message.
        """
        if not rule or not (isinstance(rule, str) or callable(rule)):
            raise DefinitionError(
                f"{self._id}: correlate by a field path or a function, not {rule!r}"
            )
        return self._set("correlation", rule)

    def concurrency(self, limit: int, key: CorrelationRule | None = None) -> Self:
        """At most ``limit`` instances at work at once, for each value of ``key``; the others wait
        in order.
        """
        if limit < 1:
            raise DefinitionError(f"{self._id}: a concurrency limit is at least 1, not {limit}")
        return self._set("concurrency", Concurrency(limit=limit, key=key))

    def schedule(self, cron: str, time_zone: str = "") -> Self:
        """Start an instance at each tick of a cron expression (6 fields, seconds first; 5 are taken
        as minutes on).
        """
        return self._set("cron", Cron(expression=check_cron(cron), time_zone=time_zone))

    def on_unknown(self, policy: OnUnknown) -> Self:
        """What a message does that may not start an instance and finds none.

        Default: ``dead_letter``.
        """
        if policy not in ("start", "ignore", "dead_letter"):
            raise DefinitionError(
                f"{self._id}: on_unknown is start, ignore or dead_letter, not {policy!r}"
            )
        return self._set("on_unknown", policy)

    def retention(self, age: str) -> Self:
        """How long a finished instance stays before it may be archived, e.g. ``"30d"``."""
        seconds(age)
        return self._set("retention", age)

    def version(self, number: int) -> Self:
        """The version of the saga, 1 if not said. Raise it with each change that older code must
        not meddle with; ``.upcast`` brings the state of older versions along.
        """
        return self._set("version", number)

    def _set(self, field: str, value: object) -> Self:
        if field in self._meta:
            raise DefinitionError(f"{self._id}: .{field}(…) is given twice; keep one")
        self._meta[field] = value
        return self


class Draft(_Chain):
    """The chain before its state is known; call ``.state(initial)`` next."""

    def state(self, initial: S) -> SagaBuilder[S]:
        """The state a new instance begins with: a dict or a msgspec Struct.

        Each instance gets its own copy.
        """
        return SagaBuilder(self._id, self._meta, initial)

    if (
        not TYPE_CHECKING
    ):  # a type checker must see that .on is missing; a person at run time gets told why

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("__"):
                raise AttributeError(name)
            raise DefinitionError(f"{self._id}: call .state(initial) before .{name}(…)")


class SagaBuilder(_Chain, Generic[S]):
    """The chain with a state: register handlers, then ``.build()``."""

    def __init__(self, id: str, meta: dict[str, Any], initial: S) -> None:
        super().__init__(id)
        self._meta = meta
        self._initial: S = initial
        self._handlers: dict[str, Handler] = {}
        self._compensations: dict[str, Handler] = {}
        self._signals: dict[str, Handler] = {}
        self._queries: dict[str, Query] = {}
        self._correlations: dict[str, CorrelationRule] = {}
        self._upcasters: dict[int, Upcaster] = {}

    @overload
    def on(
        self,
        type: str,
        handler: HandlerFunction[S, P],
        *,
        starts: bool | None = None,
        correlate: CorrelationRule | None = None,
    ) -> Self: ...

    @overload
    def on(
        self, type: str, *, starts: bool | None = None, correlate: CorrelationRule | None = None
    ) -> Callable[[F], F]: ...

    def on(
        self,
        type: str,
        handler: Callable[..., Returned] | None = None,
        *,
        starts: bool | None = None,
        correlate: CorrelationRule | None = None,
    ) -> Any:
        """Handle a message type; ``starts`` lets it begin an instance (default: only the first type
        does).
        """
        if correlate is not None:
            self._correlations[type] = correlate
        first = not self._handlers if starts is None else starts
        return self._record(self._handlers, "on", type, handler, starts=first)

    @overload
    def compensate(self, type: str, handler: HandlerFunction[S, P]) -> Self: ...

    @overload
    def compensate(self, type: str) -> Callable[[F], F]: ...

    def compensate(self, type: str, handler: Callable[..., Returned] | None = None) -> Any:
        """Undo: runs when a handler returns ``compensate({"type": type, …})`` or an operator asks
        for it.
        """
        return self._record(self._compensations, "compensate", type, handler)

    @overload
    def on_signal(self, name: str, handler: HandlerFunction[S, P]) -> Self: ...

    @overload
    def on_signal(self, name: str) -> Callable[[F], F]: ...

    def on_signal(self, name: str, handler: Callable[..., Returned] | None = None) -> Any:
        """Handle a signal that a person or another service sends to one instance by its key."""
        return self._record(self._signals, "on_signal", name, handler)

    @overload
    def on_query(self, name: str, handler: Callable[..., object]) -> Self: ...

    @overload
    def on_query(self, name: str) -> Callable[[F], F]: ...

    def on_query(self, name: str, handler: Callable[..., object] | None = None) -> Any:
        """Answer a read-only question about the state: ``(state, **arguments) -> value``."""
        if handler is None:

            def decorate(function: F) -> F:
                self.on_query(name, function)
                return function

            return decorate
        if name in self._queries:
            raise DefinitionError(f"{self._id}: two queries are called {name!r}; rename one")
        self._queries[name] = handler
        return self

    @overload
    def upcast(self, version: int, function: Callable[[Any], object]) -> Self: ...

    @overload
    def upcast(self, version: int) -> Callable[[F], F]: ...

    def upcast(self, version: int, function: Callable[[Any], object] | None = None) -> Any:
        """Take the state that ``version`` of this saga left to the next: a pure function of the old
        state, annotated with its old type, that returns the new one.
        """
        if function is None:

            def decorate(function: F) -> F:
                self.upcast(version, function)
                return function

            return decorate
        if version in self._upcasters:
            raise DefinitionError(f"{self._id}: .upcast({version}) is given twice; keep one")
        self._upcasters[version] = make_upcaster(version, function)
        return self

    def build(self) -> SagaDefinition:
        """The frozen definition; raises DefinitionError for what contradicts itself."""
        if not self._handlers:
            raise DefinitionError(
                f"{self._id}: a saga needs at least one .on(type, handler) before .build()"
            )
        check_upcasters(self._id, self._meta.get("version", 1), self._upcasters)
        initial, state_type = self._check_state()
        declared: dict[str, Any] = {"correlation": None, "name": self._id, **self._meta}
        definition = SagaDefinition(
            id=self._id,
            initial=initial,
            state_type=state_type,
            decode_state=msgspec.json.Decoder(state_type).decode,
            handlers=types.MappingProxyType(dict(self._handlers)),
            compensations=types.MappingProxyType(dict(self._compensations)),
            signals=types.MappingProxyType(dict(self._signals)),
            queries=types.MappingProxyType(dict(self._queries)),
            correlations=types.MappingProxyType(dict(self._correlations)),
            upcasters=types.MappingProxyType(dict(self._upcasters)),
            **declared,
        )
        if not definition.starting:
            raise DefinitionError(
                f"{self._id}: no message starts an instance; give one .on(…, starts=True)"
            )
        return msgspec.structs.replace(definition, hash=definition_hash(definition))

    def _check_state(self) -> tuple[Raw, object]:
        given = cast("object", self._initial)
        if not isinstance(given, (dict, msgspec.Struct)):
            raise DefinitionError(
                f"{self._id}: a state is a dict or a msgspec Struct, not {given!r:.60}"
            )
        state_type: object = dict[str, Any] if isinstance(given, dict) else type(given)
        try:
            initial = to_raw(self._initial)
            msgspec.json.Decoder(state_type).decode(initial)
        except (TypeError, msgspec.ValidationError) as error:
            raise DefinitionError(
                f"{self._id}: the initial state can't be stored as JSON and read back: {error}"
            ) from None
        if len(bytes(initial)) > STATE_BYTES_MAX:
            raise DefinitionError(
                f"{self._id}: the initial state is over {STATE_BYTES_MAX} bytes; keep references"
            )
        return initial, state_type

    def _record(
        self,
        group: dict[str, Handler],
        method: str,
        type: str,
        function: Callable[..., Returned] | None,
        *,
        starts: bool = False,
    ) -> Any:
        if function is None:

            def decorate(function: F) -> F:
                self._record(group, method, type, function, starts=starts)
                return function

            return decorate
        results = ("Snorri-Completed", "Snorri-Failed") if method == "on" else ()
        if type.startswith(RESERVED) and type not in results:
            raise DefinitionError(
                f"{self._id}: message types that begin with {RESERVED} are reserved; rename"
                f" {type!r}"
            )
        if type in group:
            raise DefinitionError(
                f"{self._id}: .{method}({type!r}) is given twice; merge the two handlers"
            )
        group[type] = make_handler(type, function, starts=starts)
        return self


def define_saga(id: str) -> Draft:
    """Begin a saga; ``id`` is 1 to 100 bytes and stays for as long as the saga has instances."""
    try:
        check_name(id, "saga id")
    except ValueError as error:
        raise DefinitionError(str(error)) from None
    if id.startswith(RESERVED):
        raise DefinitionError(f"saga ids that begin with {RESERVED} are reserved; rename {id!r}")
    return Draft(id)
