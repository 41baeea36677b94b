"""The lanes of an instance: order of moments, attempts, timers and open ends."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sagas.examples.checkout import checkout
from sagas.examples.reminder import reminder
from sagas.testing import Scenario, given
from tests.unit.ui.lives import revisions
from ui.timeline import LABEL, WIDTH, Attempt, Scale, timeline

ORDER = {"orderId": "o-1", "customerId": "c-7", "items": [], "total": 4999}
PAID = {"orderId": "o-1", "transactionId": "t-1"}


def _paid() -> Scenario:
    scenario = given(checkout).when("OrderCreated", ORDER)
    scenario.advance("2s")
    return scenario.when_answer("process-payment", "PaymentCompleted", PAID)


@pytest.mark.parametrize("scale", ["short", "true"])
def test_moments_keep_their_order_inside_the_picture(scale: Scale) -> None:
    scenario = _paid()
    scenario.advance("3d")
    drawn = timeline(revisions(scenario), [], scenario.now, scale)
    xs = [mark.x for mark in drawn.marks]
    assert xs == sorted(xs)
    assert xs[0] == LABEL
    for lane in drawn.lanes:
        for bar in lane.bars:
            assert LABEL <= bar.x <= bar.x + bar.width <= WIDTH


def test_a_long_wait_leaves_room_for_short_work_on_the_short_scale() -> None:
    scenario = _paid()
    scenario.advance("3d")
    long, short = (timeline(revisions(scenario), [], scenario.now, s) for s in ("true", "short"))
    work = [drawn.marks[1].x - drawn.marks[0].x for drawn in (long, short)]
    assert work[0] < 1
    assert work[1] > 100


def test_attempts_stand_between_waits() -> None:
    scenario = _paid()
    history = revisions(scenario)
    sent, answered = history[0].at, history[1].at
    command = next(iter(history[0].instance.commands))
    tries = [
        Attempt(
            command=command,
            attempt=number,
            worker="w-1",
            started_at=sent + timedelta(seconds=start),
            ended_at=sent + timedelta(seconds=start + 0.25),
            outcome=outcome,
            error=error,
        )
        for number, start, outcome, error in (
            (1, 0.5, "retried", "TimeoutError: bank"),
            (2, 1.5, "completed", ""),
        )
    ]
    lane = timeline(history, tries, answered, "true").lanes[1]
    assert lane.label == "process-payment"
    assert [bar.tone for bar in lane.bars] == [
        *("waiting", "retried", "waiting", "completed", "waiting"),
    ]
    assert lane.bars[1].title == "attempt 1 by w-1 retried in 250 ms: TimeoutError: bank"
    assert lane.bars[-1].title.startswith("answer on its way")


def test_an_open_command_reaches_to_now_and_an_answered_one_does_not() -> None:
    scenario = _paid()
    scenario.advance("10s")
    drawn = timeline(revisions(scenario), [], scenario.now, "true")
    payment, stock = drawn.lanes[1], drawn.lanes[2]
    assert payment.bars[-1].x + payment.bars[-1].width < stock.bars[-1].x + stock.bars[-1].width
    assert stock.bars[-1].title == "waiting for 10 s"


def test_timers_are_fired_cancelled_or_pending() -> None:
    cart = given(reminder).when("CartChanged", {"cartId": "k", "patience": "5m"})
    pending = timeline(revisions(cart), [], cart.now, "short").lanes[1]
    assert pending.bars[0].tone == "pending"
    assert pending.kind == "timer"
    cart.when("CartChanged", {"cartId": "k", "patience": "5m"})
    cart.advance("10m")
    lanes = timeline(revisions(cart), [], cart.now, "short").lanes
    [bars] = [lane.bars for lane in lanes if lane.kind == "timer"]  # set anew: the same lane
    assert [bar.tone for bar in bars] == ["cancelled", "fired"]
    assert [bar.title.split(",")[0] for bar in bars] == [
        *("CartAbandoned set anew", "CartAbandoned fired"),
    ]


def test_a_part_of_a_history_says_which_part_it_is() -> None:
    cart = given(reminder).when("CartChanged", {"cartId": "k"})
    for _ in range(3):
        cart.when("CartChanged", {"cartId": "k"})
    part = timeline(revisions(cart)[1:], [], cart.now, "short")
    assert part.words.startswith("versions 2 to 4 in")


def test_a_finished_instance_ends_with_its_last_version() -> None:
    scenario = given(checkout).when("OrderCreated", ORDER)
    scenario.when_failed("process-payment", "card declined", type="PaymentFailed", orderId="o-1")
    later = scenario.now + timedelta(days=9)
    drawn = timeline(revisions(scenario), [], later, "true")
    assert drawn.words.startswith("2 versions in ")
    assert drawn.words.endswith("cancelled at the end")
    assert drawn.lanes[0].bars[-1].tone == "cancelled"
