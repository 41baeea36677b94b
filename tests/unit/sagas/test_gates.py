"""Goal: limits let in as many as they say, in order, and nobody keeps a slot or a place in vain.

Method: gates as instances of their own, fed with what instances send them; then whole sagas with a
limit in the harness, and two instances that share one gate.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from sagas import SagaDefinition, complete, define_saga, send
from sagas.actions import act
from sagas.draft import ACQUIRE, RELEASE
from sagas.effects import Send, Signal
from sagas.gate import GRANTS_MAX, QUEUE_MAX, gate_definition
from sagas.kernel import Decision, Ignored, Snapshot, Transition, Undeliverable, decide
from sagas.messages import Cause
from sagas.testing import given
from tests.unit.sagas.factories import AT, after, cause, event

GATE = gate_definition()


def _ask(type: str, who: str, limit: int = 1) -> Cause:
    return cause("signal", type, {"saga": "S", "key": who, "holder": "", "limit": limit})


def _granted(decision: Decision) -> list[str]:
    assert isinstance(decision, Transition)
    return [one.to.key for one in decision.after.effects if isinstance(one, Signal)]


def test_a_gate_lets_in_its_limit_in_order() -> None:
    gate = Snapshot("g")
    entered: list[list[str]] = []
    for who in ("a", "b", "c", "d"):
        decision = decide(GATE, gate, _ask(ACQUIRE, who, limit=2), AT)
        entered.append(_granted(decision))
        gate = after(decision)
    assert entered == [["a"], ["b"], [], []]
    decision = decide(GATE, gate, _ask(RELEASE, "a"), AT)
    assert _granted(decision) == ["c"]
    assert _granted(decide(GATE, after(decision), _ask(RELEASE, "b"), AT)) == ["d"]


def test_who_leaves_the_queue_is_not_let_in() -> None:
    gate = after(decide(GATE, Snapshot("g"), _ask(ACQUIRE, "a"), AT))
    gate = after(decide(GATE, gate, _ask(ACQUIRE, "b"), AT))
    gate = after(decide(GATE, gate, _ask(RELEASE, "b"), AT))
    assert _granted(decide(GATE, gate, _ask(RELEASE, "a"), AT)) == []


def test_asking_twice_is_asking_once() -> None:
    gate = after(decide(GATE, Snapshot("g"), _ask(ACQUIRE, "a"), AT))
    assert isinstance(decide(GATE, gate, _ask(ACQUIRE, "a"), AT), Ignored)
    assert isinstance(decide(GATE, gate, _ask(RELEASE, "stranger"), AT), Ignored)


def test_a_higher_limit_lets_in_many_but_not_more_than_fit_a_batch() -> None:
    gate = Snapshot("g")
    for n in range(GRANTS_MAX + 10):
        gate = after(decide(GATE, gate, _ask(ACQUIRE, f"k{n}"), AT))
    decision = decide(GATE, gate, _ask(ACQUIRE, "last", limit=10_000), AT)
    assert len(_granted(decision)) == GRANTS_MAX
    rest = decide(GATE, after(decision), _ask(RELEASE, "k0"), AT)
    assert len(_granted(rest)) == 10


@pytest.mark.parametrize("bad", [cause("signal", "Snorri-What"), cause("signal", ACQUIRE, "text")])
def test_a_gate_never_parks(bad: Cause) -> None:
    gate = after(decide(GATE, Snapshot("g"), _ask(ACQUIRE, "a"), AT))
    assert isinstance(decide(GATE, gate, bad, AT), Undeliverable)


def test_a_full_gate_makes_dead_letters() -> None:
    waiting = [{"saga": "S", "key": f"k{n}"} for n in range(QUEUE_MAX)]
    state = {"limit": 1, "held": [{"saga": "S", "key": "a"}], "queue": waiting}
    first = decide(GATE, Snapshot("g"), _ask(ACQUIRE, "a"), AT)
    assert isinstance(first, Transition)
    full = after(act(GATE, after(first), cause("operator", "patch", {"state": state}), AT))
    decision = decide(GATE, full, _ask(ACQUIRE, "one more"), AT)
    assert isinstance(decision, Undeliverable)
    assert "raise the concurrency limit" in decision.reason


# --- whole sagas


def _limited() -> SagaDefinition:
    return (
        define_saga("S")
        .concurrency(1, "shop")
        .state({})
        .correlate("id")
        .on("Start", lambda saga: send("job"))
        .on("Done", lambda saga: complete())
        .build()
    )


def test_an_instance_with_a_limit_is_let_in_by_itself() -> None:
    scenario = given(_limited()).when("Start", {"id": "a", "shop": "x"}).expect(send("job"))
    assert scenario.instance.gate is not None
    scenario.when_answer("job", "Done").expect(complete())
    assert scenario.instance.gate is None


def test_a_cron_start_waits_at_the_gate_like_any_other() -> None:
    saga = define_saga("S").concurrency(1).state({}).on("Start", lambda saga: send("job")).build()
    given(saga).when_tick().expect(send("job"))


def _broken(message: Any) -> str:
    raise RuntimeError("no key")


def test_a_limit_whose_key_can_not_be_found_is_a_dead_letter() -> None:
    saga = define_saga("S").concurrency(1, _broken).state({}).on("Start", lambda saga: None).build()
    given(saga).when("Start").expect_refused("RuntimeError: no key")


class Shop:
    """Two instances of one saga, their gate, and the signals between them."""

    def __init__(self, definition: SagaDefinition) -> None:
        self.definition = definition
        self.at: dict[tuple[str, str], Snapshot] = {}
        self.signals: deque[tuple[str, str, Cause]] = deque()
        self.sent: list[str] = []

    def tell(self, saga: str, key: str, message: Cause) -> None:
        """Deliver a message, and then all signals it leads to."""
        self.signals.append((saga, key, message))
        while self.signals:
            saga, key, message = self.signals.popleft()
            definition = GATE if saga == GATE.id else self.definition
            snapshot = self.at.get((saga, key), Snapshot(key))
            decision = decide(definition, snapshot, message, AT)
            if isinstance(decision, Transition):
                self.at[saga, key] = after(decision)
                self.emit(decision)

    def emit(self, decision: Transition) -> None:
        """Put what a transition emits on its way."""
        for effect in decision.after.effects:
            if isinstance(effect, Signal):
                self.signals.append((effect.to.saga, effect.to.key, effect.cause))
            elif isinstance(effect, Send) and not effect.gated:
                self.sent.append(decision.after.key)


def test_the_second_one_works_when_the_first_is_done() -> None:
    shop = Shop(_limited())
    for key in ("a", "b"):
        shop.tell("S", key, event("Start", {"id": key, "shop": "x"}, id=f"start-{key}"))
    shop.tell("S", "c", event("Start", {"id": "c", "shop": "other"}, id="start-c"))
    assert shop.sent == ["a", "c"]
    shop.tell("S", "a", event("Done", answers="S.a.2.0", id="done"))
    assert shop.sent == ["a", "c", "b"]


def test_a_limited_key_of_commands_lets_one_command_out_at_a_time() -> None:
    saga = (
        define_saga("S")
        .state({})
        .on("Start", lambda saga: send("charge", concurrency_key="card-1"))
        .on("Charged", lambda saga: complete())
        .build()
    )
    shop = Shop(saga)
    for key in ("a", "b"):
        shop.tell("S", key, event("Start", id=f"start-{key}"))
    assert shop.sent == ["a"]
    shop.tell("S", "a", event("Charged", answers="S.a.1.0", id="charged"))
    assert shop.sent == ["a", "b"]


def test_a_command_sent_before_the_end_still_gets_its_turn() -> None:
    saga = (
        define_saga("S")
        .state({})
        .on("Start", lambda saga: [send("charge", concurrency_key="card-1"), complete()])
        .on("Charged", lambda saga: None)
        .build()
    )
    shop = Shop(saga)
    for key in ("a", "b"):
        shop.tell("S", key, event("Start", id=f"start-{key}"))
    assert shop.sent == ["a"]
    shop.tell("S", "a", event("Charged", answers="S.a.1.0", id="charged"))
    assert shop.sent == ["a", "b"]


def test_a_paused_instance_keeps_the_slot_it_was_given() -> None:
    shop = Shop(_limited())
    for key in ("a", "b"):
        shop.tell("S", key, event("Start", {"id": key, "shop": "x"}, id=f"start-{key}"))
    waiting = shop.at["S", "b"]
    shop.at["S", "b"] = after(act(shop.definition, waiting, cause("operator", "pause"), AT))
    shop.tell("S", "a", event("Done", answers="S.a.2.0", id="done"))
    paused = shop.at["S", "b"].instance
    assert paused is not None
    assert paused.gate is not None
    assert paused.gate.held
    resumed = act(shop.definition, shop.at["S", "b"], cause("operator", "resume", id="r"), AT)
    assert isinstance(resumed, Transition)
    shop.at["S", "b"] = after(resumed)
    shop.emit(resumed)
    shop.tell("S", "b", event("Nothing", id="n"))
    assert shop.sent == ["a", "b"]
