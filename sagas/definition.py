"""A finished saga definition, its correlation rules, and the registry of all definitions of a
program.

A definition is data plus handlers and never changes. Its ``hash`` covers what it declares and the
code of its handlers, and is recorded with each transition, so history tells which code decided it.
Its ``version`` is the author's count of changes that older code must not meddle with; upcasters
bring the state of older versions to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import msgspec
from msgspec import Raw, Struct, structs

from sagas.errors import DefinitionError, UnknownQuery
from sagas.handlers import Handler
from sagas.messages import Message
from sagas.secrets import secret_names
from sagas.source import source_of
from sagas.upcasting import Upcaster

if TYPE_CHECKING:
    from sagas.programs.program import Program

OnUnknown: TypeAlias = Literal["start", "ignore", "dead_letter"]
Durability: TypeAlias = Literal["t1", "t2", "t3"]
CorrelationRule: TypeAlias = str | Callable[[Message[Any]], object]
Query: TypeAlias = Callable[..., object]


class Concurrency(Struct, frozen=True, kw_only=True):
    """At most ``limit`` instances at work, for each value of ``key`` (a rule like a correlation) or
    in all.
    """

    limit: int
    key: CorrelationRule | None = None


class Cron(Struct, frozen=True, kw_only=True):
    """When new instances start by themselves: six fields, seconds first, in a time zone (default
    UTC).
    """

    expression: str
    time_zone: str = ""


class SagaDefinition(Struct, frozen=True, kw_only=True):
    """What a saga is; made by ``define_saga(…).build()`` and passed to a Registry.

    ``upcasters`` are by the version of the state that they take.
    """

    id: str
    initial: Raw
    state_type: object
    decode_state: Callable[[Raw], Any]  # the state's type is the author's
    handlers: Mapping[str, Handler]
    compensations: Mapping[str, Handler]
    signals: Mapping[str, Handler]
    queries: Mapping[str, Query]
    correlation: CorrelationRule | None
    correlations: Mapping[str, CorrelationRule]
    on_unknown: OnUnknown = "dead_letter"
    name: str = ""
    description: str = ""
    topic: str = ""
    tags: tuple[str, ...] = ()
    durability: Durability = "t1"
    concurrency: Concurrency | None = None
    cron: Cron | None = None
    retention: str = ""
    version: int = 1
    upcasters: Mapping[int, Upcaster] = {}
    hash: str = ""
    program: Program | None = None
    inline: frozenset[str] = frozenset()  # targets of steps that the engine itself carries out

    @property
    def starting(self) -> tuple[str, ...]:
        """The message types that may start an instance; the first is what spawn, start and cron
        deliver.
        """
        return tuple(type for type, handler in self.handlers.items() if handler.starts)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The names of the secret fields of its state and of the messages it takes, sorted."""
        groups = (self.handlers, self.compensations, self.signals)
        payloads = [handler.payload_type for group in groups for handler in group.values()]
        return tuple(sorted(secret_names(self.state_type, *payloads)))

    def query(self, name: str, state: Raw, arguments: Mapping[str, object]) -> object:
        """The answer of a declared query about ``state``; raises UnknownQuery."""
        function = self.queries.get(name)
        if function is None:
            known = ", ".join(sorted(self.queries)) or "none"
            raise UnknownQuery(f"{self.id} has no query {name!r}; it declares: {known}")
        return function(self.decode_state(state), **arguments)


def correlate(rule: CorrelationRule, message: Message[Any]) -> str | None:
    """The key a rule finds in a message, or None when it finds nothing; whatever a function raises
    goes through.

    A text rule is a path of field names joined by dots into the payload.
    """
    return find(rule, message.payload) if isinstance(rule, str) else text(rule(message))


def find(path: str, payload: object) -> str | None:
    """The key at a path of field names in a payload, or None."""
    return text(_field(path, payload))


def text(value: object) -> str | None:
    """What a rule found as a key: text and numbers can be one, nothing else."""
    if type(value) is str:
        return value or None
    if value is None or value == "" or isinstance(value, (dict, list, bool)):
        return None
    return str(value)


def _field(path: str, payload: object) -> object:
    value = payload
    for name in path.split(".") if "." in path else (path,):
        if isinstance(value, dict):
            fields = cast("dict[str, object]", value)
            value = fields.get(name)
        else:
            value = getattr(value, name, None)
        if value is None:
            return None
    return value


class Registry:
    """All definitions of a program, found by id and by the message types they handle.

    Never changes.
    """

    def __init__(self, definitions: Iterable[SagaDefinition] = ()) -> None:
        self._by_id: dict[str, SagaDefinition] = {}
        self._by_type: dict[str, tuple[SagaDefinition, ...]] = {}
        for definition in definitions:
            self._add(definition)

    def _add(self, definition: SagaDefinition) -> None:
        if definition.id in self._by_id:
            raise DefinitionError(f"two sagas have the id {definition.id!r}; rename one of them")
        if definition.program is not None:
            # What it calls may stand below it in its module, so it is known only now.
            definition = structs.replace(definition, hash=definition_hash(definition))
        self._by_id[definition.id] = definition
        for type in definition.handlers:
            self._by_type[type] = (*self._by_type.get(type, ()), definition)

    def __iter__(self) -> Iterator[SagaDefinition]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, id: str) -> SagaDefinition | None:
        """The definition with this id, or None."""
        return self._by_id.get(id)

    def routes(self, type: str) -> tuple[SagaDefinition, ...]:
        """The definitions that handle a message type, in the order they were registered."""
        return self._by_type.get(type, ())

    @property
    def types(self) -> tuple[str, ...]:
        """All message types that some definition handles, sorted."""
        return tuple(sorted(self._by_type))


def definition_hash(definition: SagaDefinition) -> str:
    """Sixteen hex digits over what a definition declares and what its functions do.

    Descriptions, comments and docstrings don't count, nor do queries, which decide nothing.
    """
    digest = hashlib.sha256()
    parts: list[object] = [
        definition.id,
        definition.version,
        bytes(definition.initial),
        definition.on_unknown,
        definition.concurrency.limit if definition.concurrency else 0,
        definition.cron.expression if definition.cron else "",
        source_of(definition.correlation),
        *((type, source_of(rule)) for type, rule in definition.correlations.items()),
        _schema(definition.state_type),
        *((old, source_of(one.function)) for old, one in sorted(definition.upcasters.items())),
    ]
    for group in (definition.handlers, definition.compensations, definition.signals):
        parts.extend(
            (h.type, h.starts, source_of(h.function), _schema(h.payload_type))
            for h in group.values()
        )
    if definition.program is not None:
        parts.extend(
            source_of(part) if callable(part) else part for part in definition.program.parts
        )
    for part in parts:
        digest.update(repr(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def _schema(type: object) -> str:
    if type is Any or type is dict:
        return "any"
    try:
        return repr(msgspec.json.schema(type))
    except TypeError:
        return repr(type)
