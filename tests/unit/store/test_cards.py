"""What the card of a definition tells of its steps."""

from __future__ import annotations

from typing import Any

import msgspec

from sagas import parallel, retry, sequence, step, steps, workflow
from sagas.examples.checkout import checkout
from sagas.programs.entity import entity
from store.cards import SagaCard, made_of, parts_of


async def _work(ctx: Any, given: Any = None) -> None:
    """Do it."""


greet = step("greet", _work, _work)
order = steps(
    "order",
    [
        step("reserve", _work, _work, retry=retry(3, "1s"), timeout="5s"),
        parallel("checks", [step("fraud", _work), sequence("paper", [step("print", _work)])]),
        step("mail", _work, background=True),
    ],
)


@workflow("Hello")
async def hello(saga: Any, input: Any) -> None:
    await greet(saga, input)


wallet = entity("Wallet")


@wallet.handler("pay")
async def _pay(saga: Any, input: dict[str, Any]) -> None:
    await greet(saga, input)


def test_a_list_tells_its_steps_and_groups_as_declared() -> None:
    reserve, checks, mail = parts_of(order.program)
    assert (reserve.name, reserve.target, reserve.undo) == ("reserve", "order.reserve", True)
    assert (reserve.retry, reserve.timeout_s) == (retry(3, "1s"), 5.0)
    assert reserve.description == "Do it."
    assert (checks.kind, [part.kind for part in checks.parts]) == ("parallel", ["step", "sequence"])
    assert (mail.background, mail.undo) == (True, False)
    names = [one.name for part in parts_of(order.program) for one in part.steps()]
    assert names == ["reserve", "fraud", "print", "mail"]


def test_a_transaction_is_a_group_with_the_step_that_runs_it_first() -> None:
    booked = sequence("book", [step("pay", _work, _work), step("ship", _work)], transactional=True)
    (card,) = parts_of(steps("booking", [booked]).program)
    assert (card.kind, card.name) == ("transaction", "book")
    assert [(one.kind, one.target) for one in card.parts] == [
        *(("step", "booking.book"), ("step", "booking.pay"), ("step", "booking.ship"))
    ]


def test_workflows_and_entities_tell_the_steps_they_may_call() -> None:
    for definition in (hello, wallet):
        (found,) = parts_of(definition.program)
        assert (found.name, found.target, found.undo) == ("greet", "greet", True)


def test_every_kind_of_definition_has_its_name() -> None:
    kinds = [made_of(one.program) for one in (checkout, order, hello, wallet)]
    assert kinds == ["handlers", "steps", "workflow", "entity"]
    assert parts_of(checkout.program) == ()


def test_a_card_written_before_there_were_steps_is_read() -> None:
    fields = ("types", "starting", "signals", "queries", "compensations", "tags")
    texts = ("id", "name", "description", "topic", "durability", "hash")
    old = {name: [] for name in fields} | dict.fromkeys(texts, "x")
    card = msgspec.json.decode(msgspec.json.encode(old), type=SagaCard)
    assert (card.made_of, card.parts) == ("handlers", ())
