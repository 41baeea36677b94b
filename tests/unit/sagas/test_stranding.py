"""Goal: what changed code would strand is told from an instance's document, each reason once, and
nothing else is.

Method: instances begun by one definition and looked at with another that lacks one thing.
"""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Struct

from sagas import SagaDefinition, define_saga, parallel, schedule, send, spawn, step, steps
from sagas.instance import Instance
from sagas.stranding import lost_types, strands
from sagas.testing import Scenario, given


class Strict(Struct):
    """A state with a field that has no default."""

    must: str


def _raising(old: Any) -> Any:
    raise KeyError(old)


def _order(**without: bool) -> SagaDefinition:
    """An order; each keyword leaves one thing out."""
    chain: Any = define_saga("Order").state({})
    chain.on("Ordered", lambda saga: [send("pay"), schedule({"type": "Late"}, "1h", id="late")])
    chain.on("Grouped", lambda saga: spawn("Part", {}, key="p-1"))
    chain.on("Broken", lambda saga: 1 / 0)
    if not without.get("late"):
        chain.on("Late", lambda saga: None)
    if not without.get("paid"):
        chain.on("Paid", lambda saga: None)
    if not without.get("signal"):
        chain.on_signal("Poke", lambda saga: None)
    return chain.compensate("Undo", lambda saga: None).build()


def _instance(*events: str) -> Instance:
    scenario = given(_order()).when("Ordered")
    for event in events:
        scenario.when(event)
    return scenario.instance


def test_the_same_code_strands_nothing() -> None:
    assert strands(_order(), _instance("Grouped"), ["Order", "Part"]) == []


def test_a_timer_without_a_handler() -> None:
    assert strands(_order(late=True), _instance()) == ["its timer has no handler for 'Late'"]


def test_a_message_that_waits_without_a_handler() -> None:
    parked = given(_order()).when("Ordered").when("Broken").when("Paid").when("Paid")
    assert strands(_order(paid=True), parked.instance) == [
        "a message that waits has no handler: 'Paid'"
    ]


def test_a_child_without_code() -> None:
    assert strands(_order(), _instance("Grouped"), ["Order"]) == ["its child Part has no code"]
    assert strands(_order(), _instance("Grouped")) == []


def test_an_ended_instance_needs_nothing() -> None:
    ended = given(_order()).when("Ordered").action("cancel")
    assert strands(_order(late=True), ended.instance) == []


def _state(state: object, **version: Any) -> SagaDefinition:
    chain: Any = define_saga("Order").version(version.get("number", 1)).state(state)
    chain.on("Ordered", lambda saga: None).on("Late", lambda saga: None)
    if "upcast" in version:
        chain.upcast(1, version["upcast"])
    return chain.build()


@pytest.mark.parametrize(
    ("definition", "told"),
    [
        (_state(Strict("")), ["its state does not fit: Object missing required field `must`"]),
        (
            _state(Strict(""), number=2, upcast=_raising),
            ["an upcaster of its state raises KeyError"],
        ),
        (_state(Strict(""), number=2, upcast=lambda old: {"must": "x"}), []),
    ],
)
def test_a_state_that_cannot_be_read(definition: SagaDefinition, told: list[str]) -> None:
    assert strands(definition, _instance()) == told


def test_what_newer_code_wrote() -> None:
    newer = given(_state({}, number=3)).when("Ordered").instance
    assert strands(_order(), newer) == ["it is of version 3, this code is version 1"]


async def _run(ctx: Any) -> None: ...


async def _undo(ctx: Any) -> None: ...


def _list(*names: str) -> SagaDefinition:
    made: list[Any] = [step(name, _run, _undo) for name in names]
    return steps("Batch", [made[0], parallel("both", made[1:])])


@pytest.mark.parametrize(
    ("left", "told"),
    [
        (("a", "b", "c"), []),
        (("a", "b", "c", "d"), []),
        (("a", "b", "x"), ["it waits for the step 'Batch.c', which is gone"]),
        (("x", "b", "c"), ["it has done the step 'a', which is gone and can't be undone"]),
    ],
)
def test_steps_that_are_gone(left: tuple[str, ...], told: list[str]) -> None:
    run: Scenario = given(_list("a", "b", "c")).when("Batch", {}).when_step("a")
    assert strands(_list(*left), run.instance) == told


def test_names_that_are_gone() -> None:
    told = lost_types(
        _order(paid=True, signal=True), ("Ordered", "Paid"), ("Poke",), ("Undo", "Other")
    )
    assert told == [
        "nothing handles 'Paid' any more",
        "no signal 'Poke' any more",
        "no .compensate handler for 'Other' any more",
    ]
