"""Goal: a chain builds the definition it says, and a wrong one is refused with what to do.

Method: chains that are right and wrong in one point each, and handlers of every shape.
"""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw, Struct

from sagas import (
    Context,
    DefinitionError,
    Message,
    Registry,
    SagaDefinition,
    SagaHandle,
    define_saga,
    send,
)
from sagas.definition import correlate
from sagas.errors import HandlerFault, UnknownQuery
from sagas.handlers import effects_of, make_handler


class Order(Struct):
    """A payload."""

    orderId: str
    amount: int = 0


class State(Struct):
    """A state."""

    n: int = 0


def _nothing(saga: SagaHandle[Any]) -> None: ...


def _saga(id: str = "S") -> Any:
    return define_saga(id).state(State())


def test_a_chain_says_all_there_is() -> None:
    definition = (
        define_saga("S")
        .name("Name")
        .description("Text")
        .topic("t")
        .tags("a", "b")
        .durability("t2")
        .retention("30d")
        .concurrency(3, "orderId")
        .schedule("0 0 2 * * *", "Europe/Berlin")
        .on_unknown("ignore")
        .state(State(5))
        .correlate("orderId")
        .on("First", _nothing)
        .on("Second", _nothing, correlate="id")
        .on("Third", _nothing, starts=True)
        .compensate("Undo", _nothing)
        .on_signal("Poke", _nothing)
        .on_query("n", lambda state, more=0: state.n + more)
        .build()
    )
    assert (definition.name, definition.description, definition.topic) == ("Name", "Text", "t")
    assert (definition.tags, definition.durability) == (("a", "b"), "t2")
    assert definition.starting == ("First", "Third")
    assert dict(definition.correlations) == {"Second": "id"}
    assert set(definition.compensations) == {"Undo"}
    assert bytes(definition.initial) == b'{"n":5}'
    assert definition.query("n", Raw(b'{"n":1}'), {"more": 2}) == 3
    with pytest.raises(UnknownQuery, match="declares: n"):
        definition.query("m", definition.initial, {})


def test_decorators_record_and_give_the_function_back() -> None:
    chain = _saga()

    @chain.on("A")
    def handler(saga: SagaHandle[State]) -> None: ...

    @chain.compensate("U")
    def undo(saga: SagaHandle[State]) -> None: ...

    @chain.on_query("q")
    def query(state: State) -> int:
        return state.n

    definition = chain.build()
    assert definition.handlers["A"].function is handler
    assert definition.compensations["U"].function is undo
    assert definition.queries["q"] is query
    assert definition.starting == ("A",)


def test_the_state_comes_first() -> None:
    with pytest.raises(DefinitionError, match=r"call \.state\(initial\) before \.on"):
        define_saga("S").on("A", _nothing)  # type: ignore[attr-defined]  that is the point


WRONG = [
    (lambda: _saga().build(), "at least one"),
    (lambda: _saga().on("A", _nothing, starts=False).build(), "no message starts"),
    (lambda: _saga().on("A", _nothing).on("A", _nothing), "given twice"),
    (lambda: _saga().compensate("A", _nothing).compensate("A", _nothing), "given twice"),
    (lambda: _saga().on_query("q", len).on_query("q", len), "two queries"),
    (lambda: _saga().topic("a").topic("b"), "given twice"),
    (lambda: _saga().on("Snorri-Drain", _nothing), "reserved"),
    (lambda: _saga().on_signal("Snorri-Failed", _nothing), "reserved"),
    (lambda: _saga().on("", _nothing), "empty"),
    (lambda: _saga().on("x" * 101, _nothing), "101 bytes"),
    (lambda: _saga().correlate(""), "field path"),
    (lambda: _saga().correlate(5), "field path"),
    (lambda: _saga().concurrency(0), "at least 1"),
    (lambda: _saga().durability("t9"), "t1, t2 or t3"),
    (lambda: _saga().on_unknown("explode"), "start, ignore or dead_letter"),
    (lambda: _saga().schedule("never"), "fields"),
    (lambda: _saga().retention("long"), "delay"),
    (lambda: define_saga(""), "empty"),
    (lambda: define_saga("Snorri-X"), "reserved"),
    (lambda: define_saga("S").state([]).on("A", _nothing).build(), "dict or a msgspec Struct"),
    (lambda: define_saga("S").state({"x": object()}).on("A", _nothing).build(), "JSON"),
    (lambda: define_saga("S").state({"x": "y" * 400_001}).on("A", _nothing).build(), "bytes"),
    (lambda: Registry([_saga().on("A", _nothing).build()] * 2), "two sagas"),
]


@pytest.mark.parametrize(("chain", "words"), WRONG, ids=[words for _, words in WRONG])
def test_a_wrong_chain_says_what_is_wrong(chain: Any, words: str) -> None:
    with pytest.raises((DefinitionError, ValueError), match=words):
        chain()


async def _async(saga: SagaHandle[State]) -> None: ...


def _four(a: Any, b: Any, c: Any, d: Any) -> None: ...


def _not_a_message(saga: Any, message: Order) -> None: ...


def _no_json(saga: Any, message: Message[type[int]]) -> None: ...


BAD_HANDLERS = [
    (_async, "async"),
    (_four, "must take"),
    (_not_a_message, "annotate"),
    (5, "called"),
]


@pytest.mark.parametrize(("function", "words"), BAD_HANDLERS, ids=[w for _, w in BAD_HANDLERS])
def test_what_can_not_handle_is_refused(function: Any, words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        make_handler("T", function)


def _typed(saga: SagaHandle[State], message: Message[Order], context: Context[State]) -> None: ...


def _defaults(saga: Any, message: Any = None, context: Any = None, extra: Any = 1) -> None: ...


def _anything(*arguments: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "arguments", "payload"),
    [(_nothing, 1, Any), (_typed, 3, Order), (_defaults, 3, Any), (_anything, 3, Any)],
)
def test_a_handler_takes_what_it_needs(function: Any, arguments: int, payload: object) -> None:
    handler = make_handler("T", function)
    assert (handler.arguments, handler.payload_type) == (arguments, payload)


def test_a_handler_returns_one_effect_many_or_none() -> None:
    one = send("job")
    assert effects_of(None, "T") == []
    assert effects_of(one, "T") == [one]
    assert effects_of((one, one), "T") == [one, one]
    assert effects_of((effect for effect in [one]), "T") == [one]


@pytest.mark.parametrize("returned", ["send", {"kind": "send"}, 5, [send("job"), "more"], [None]])
def test_anything_else_is_a_fault(returned: Any) -> None:
    with pytest.raises(HandlerFault):
        effects_of(returned, "T")


@pytest.mark.parametrize(
    ("rule", "payload", "key"),
    [
        ("orderId", {"orderId": "o-1"}, "o-1"),
        ("orderId", Order("o-1"), "o-1"),
        ("order.id", {"order": {"id": 7}}, "7"),
        (lambda message: message.payload["a"] + "!", {"a": "b"}, "b!"),
        ("orderId", {}, None),
        ("orderId", None, None),
        ("order.id", {"order": "text"}, None),
        ("orderId", {"orderId": ""}, None),
        ("orderId", {"orderId": True}, None),
        ("orderId", {"orderId": ["o"]}, None),
        ("amount", Order("o", 0), "0"),
    ],
)
def test_a_rule_finds_the_key(rule: Any, payload: object, key: str | None) -> None:
    assert correlate(rule, Message(type="T", payload=payload)) == key


def _definition(n: int) -> SagaDefinition:
    return define_saga("S").state({"n": n}).on("A", _nothing).build()


def test_the_hash_names_the_code() -> None:
    assert _definition(1).hash == _definition(1).hash
    assert _definition(1).hash != _definition(2).hash


def test_a_registry_finds_by_id_and_type() -> None:
    one, other = _saga("One"), _saga("Other")
    registry = Registry([one.on("A", _nothing).build(), other.on("A", _nothing).build()])
    assert [definition.id for definition in registry] == ["One", "Other"]
    assert [definition.id for definition in registry.routes("A")] == ["One", "Other"]
    assert registry.routes("B") == ()
    assert registry.get("None") is None
    assert (len(registry), registry.types) == (2, ("A",))
