"""Goal: the kernel says which steps the engine carries out itself, and sends them elsewhere when
asked to.

Method: a list whose definition names inline targets, decided directly; documents are compared.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import structs

from sagas import step, steps
from sagas.decision import Ignored, Snapshot, Transition
from sagas.definition import SagaDefinition
from sagas.effects import Send
from sagas.instance import Instance, document_hash
from sagas.kernel import decide
from sagas.messages import Cause, to_raw
from sagas.replay import replay
from sagas.requeue import REQUEUE, inline_commands

NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def _run(ctx: Any) -> None:
    return None


def _order(inline: bool = True) -> SagaDefinition:
    order = steps("order", [step("reserve", _run, _run), step("ship", _run)])
    targets = frozenset({"order.reserve", "order.ship", "order.reserve.undo"})
    return structs.replace(order, inline=targets if inline else frozenset())


def _decided(definition: SagaDefinition, before: Instance | None, **cause: Any) -> Instance:
    snapshot = Snapshot("o-1")
    if before is not None:
        snapshot = Snapshot("o-1", before, document_hash(msgspec.json.encode(before)))
    told = {"kind": "event", "type": "order", "id": "", "seq": 1, "at": NOW} | cause
    decision = decide(definition, snapshot, Cause(**told), NOW)
    assert isinstance(decision, Transition), decision
    return decision.after


def _sends(instance: Instance) -> list[tuple[str, bool]]:
    return [(e.target, e.inline) for e in instance.effects if isinstance(e, Send)]


def test_a_step_whose_code_the_engine_has_is_inline() -> None:
    begun = _decided(_order(), None, payload=to_raw({}))
    assert _sends(begun) == [("order.reserve", True)]
    assert [command.target for _, command in inline_commands(begun)] == ["order.reserve"]
    assert _sends(_decided(_order(inline=False), None, payload=to_raw({}))) == [
        ("order.reserve", False)
    ]


def test_asked_to_it_goes_to_its_queue_under_the_same_id() -> None:
    begun = _decided(_order(), None, payload=to_raw({}))
    queued = _decided(_order(), begun, kind="signal", type=REQUEUE)
    assert _sends(queued) == [("order.reserve", False)]
    assert queued.commands.keys() == begun.commands.keys()
    assert inline_commands(queued) == []
    id = next(iter(queued.commands))
    done = _decided(_order(), queued, type="Snorri-Completed", answers=id, payload=to_raw({}))
    assert _sends(done) == [("order.ship", True)]


def test_with_nothing_begun_there_is_nothing_to_send() -> None:
    begun = _decided(_order(inline=False), None, payload=to_raw({}))
    snapshot = Snapshot("o-1", begun, "")
    cause = Cause(kind="signal", type=REQUEUE, id="", seq=0, at=NOW)
    assert isinstance(decide(_order(), snapshot, cause, NOW), Ignored)


def test_an_answer_that_parked_or_waits_is_no_step_to_begin() -> None:
    definition = structs.replace(
        steps("order", [step("reserve", _run), step("ship", _run)], on_failure="park"),
        inline=frozenset({"order.reserve"}),
    )
    begun = _decided(definition, None, payload=to_raw({}))
    id = next(iter(begun.commands))
    failed = {"answers": id, "failed": True, "payload": to_raw({"reason": "no"})}
    parked = _decided(definition, begun, type="Snorri-Failed", **failed)
    assert (parked.status, inline_commands(parked)) == ("parked", [])
    assert parked.commands[id].inline


def test_a_replay_by_an_engine_that_has_no_code_differs_in_nothing() -> None:
    history = [_decided(_order(), None, payload=to_raw({}))]
    history.append(_decided(_order(), history[-1], kind="signal", type=REQUEUE))
    id = next(iter(history[-1].commands))
    answer = {"type": "Snorri-Completed", "answers": id, "payload": to_raw({})}
    history.append(_decided(_order(), history[-1], **answer))
    again = replay(_order(inline=False), history)
    assert [step.differs for step in again.steps] == [(), (), ()]
