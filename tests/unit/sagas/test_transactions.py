"""Goal: a transaction of several steps is one command, and every step in it has its own record.

Method: lists through the pure kernel; answers are written as the worker writes them. What is no
transaction is refused when it is declared.
"""

from __future__ import annotations

from typing import Any

import pytest

from sagas import DefinitionError, parallel, retry, sequence, step, steps, transaction
from sagas.effects import Send
from sagas.testing import Scenario, given
from store.run_result import failure_of, result_of


async def _run(ctx: Any) -> None: ...


async def _undo(ctx: Any) -> None: ...


PAID = steps(
    "paid",
    [
        step("reserve", _run, _undo),
        sequence(
            "book",
            [
                step("charge", _run, _undo),
                sequence("rows", [step("row", _run, _undo, data_only=True)]),
                step("total", _run, nothing_to_undo=True),
            ],
            transactional=transaction("orders-db", retry=retry(3, "2s"), timeout="30s"),
        ),
        step("ship", _run),
    ],
)
CHARGED = {"step": "charge", "output": {"id": "ch-1"}, "set": {"charge": "ch-1"}}
ROW = {"step": "row", "output": {"id": 7}}


def _begun() -> Scenario:
    return given(PAID, key="o-1").when("paid", {"total": 5}).when_step("reserve", {"held": True})


def _booked(*parts: dict[str, Any]) -> Scenario:
    return _begun().when_answer("paid.book", "Snorri-Completed", {"parts": list(parts)})


def _undone(run: Scenario) -> list[str]:
    """Undo everything; the steps in the order in which that was asked for."""
    while run.instance.status == "compensating":
        run.when_step(next(undo.type for undo in run.instance.undo if undo.status == "running"))
    return [undo.type for undo in run.instance.undo]


def test_a_transaction_is_one_command_with_its_own_retry() -> None:
    run = _begun()
    (command,) = run.instance.commands.values()
    assert (command.target, command.step) == ("paid.book", "book")
    assert command.retry is not None
    assert command.retry.attempts_max == 3
    record = run.instance.steps["book"]
    assert (record.kind, record.status) == ("transaction", "running")
    assert "charge" not in run.instance.steps


def test_parts_are_on_record_with_output_and_context_in_their_order() -> None:
    run = _booked(CHARGED, ROW, {"step": "total", "output": 12}).when_step("ship", {"sent": True})
    result = result_of(run.instance)
    assert result.success
    assert result.context["charge"] == "ch-1"
    assert [(id, one.output) for id, one in result.steps.items()] == [
        *(("reserve", {"held": True}), ("book", None), ("charge", {"id": "ch-1"})),
        *(("row", {"id": 7}), ("total", 12), ("ship", {"sent": True})),
    ]
    records = run.instance.steps
    order = sorted(records, key=lambda id: records[id].order)
    assert order == ["reserve", "book", "charge", "row", "total", "ship"]


def test_the_output_of_a_list_that_is_a_transaction_is_that_of_its_last_step() -> None:
    whole = steps("whole", [step("one", _run), step("two", _run)], transactional=True)
    parts = [{"step": "one", "output": 1}, {"step": "two", "output": 2}]
    run = (
        given(whole, key="w")
        .when("whole")
        .when_answer("whole.transaction", "Snorri-Completed", {"parts": parts})
    )
    assert run.instance.status == "completed"
    assert result_of(run.instance).output == 2


def test_committed_parts_are_undone_in_reverse_among_the_others() -> None:
    run = _booked(CHARGED, ROW).when_step_failed("ship", "no carrier")
    assert _undone(run) == ["row", "charge", "reserve"]
    assert run.instance.status == "compensated"
    assert failure_of(result_of(run.instance)).failed_step == "ship"


def test_after_a_rollback_only_what_was_done_elsewhere_is_undone() -> None:
    run = _begun().when_failed(
        "paid.book", "no row", code="NoRow", step="total", parts=[CHARGED, ROW]
    )
    assert run.instance.steps["charge"].rolled_back
    assert result_of(run.instance).context["charge"] == "ch-1"  # its undo may read it
    (command,) = run.instance.commands.values()
    assert b'"rolled_back":true' in bytes(command.payload)
    assert _undone(run) == ["charge", "reserve"]
    told = failure_of(result_of(run.instance))
    assert (told.failed_step, told.code) == ("total", "NoRow")
    assert told.error == "total: no row"
    assert told.compensated_steps == ("charge", "reserve")
    assert run.instance.steps["book"].error == "total: no row"


def test_a_transaction_that_fails_by_itself_is_the_failed_step() -> None:
    run = _begun().when_failed("paid.book", "the database is away")
    assert _undone(run) == ["reserve"]
    assert result_of(run.instance).failed_step == "book"


def test_parts_that_nobody_declared_are_passed_over() -> None:
    run = _booked({"step": "reserve", "output": "forged"}, {"step": "stranger"}, CHARGED)
    assert result_of(run.instance).steps["reserve"].output == {"held": True}
    assert "stranger" not in run.instance.steps


def test_an_unknown_outcome_parks_and_a_retry_asks_again() -> None:
    run = _begun().when_failed("paid.book", "lost in the commit", code="OutcomeUnknown")
    assert run.instance.status == "parked"
    run.action("retry").when_answer("paid.book", "Snorri-Completed", {"parts": [CHARGED]})
    assert run.instance.status == "running"
    assert run.instance.steps["charge"].status == "completed"


def test_a_parked_transaction_can_be_undone_or_tried_again() -> None:
    careful = steps(
        "careful",
        [step("one", _run, _undo), step("two", _run)],
        transactional=True,
        on_failure="park",
    )
    one = {"step": "one", "output": 1}
    run = (
        given(careful, key="c")
        .when("careful")
        .when_failed("careful.transaction", "no", step="two", parts=[one])
    )
    assert run.instance.status == "parked"
    assert run.instance.steps["one"].rolled_back
    sent = [effect.step for effect in run.plan("compensate").effects if isinstance(effect, Send)]
    assert sent == ["one"]
    run.action("retry").when_answer(
        "careful.transaction", "Snorri-Completed", {"parts": [one, {"step": "two"}]}
    )
    assert run.instance.status == "completed"
    assert not run.instance.steps["one"].rolled_back


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([parallel("p", [step("a", _run)])], "one after the other on one connection"),
        ([sequence("s", [step("a", _run)], transactional=True)], "one after the other"),
        ([step("a", _run, background=True)], "runs in the background"),
        ([step("a", _run, retry=retry(3))], "tried again as a whole"),
        ([step("a", _run, transactional="other")], "another database"),
        ([step("transaction", _run)], "two steps are named 'transaction'"),
    ],
)
def test_what_can_not_be_in_a_transaction_is_refused(items: list[Any], text: str) -> None:
    with pytest.raises(DefinitionError, match=text):
        steps("refused", items, transactional=True)


def test_the_hash_tells_a_transaction_from_a_sequence() -> None:
    items = [step("a", _run), step("b", _run)]
    plain = steps("same", [sequence("g", list(items))])
    joined = steps("same", [sequence("g", list(items), transactional=True)])
    assert plain.hash != joined.hash


def test_the_chain_takes_a_database() -> None:
    chain = steps("chain").step("a", _run).with_data({"size": 2}).transactional().build()
    assert chain.program is not None
    assert [*chain.program.steps] == ["transaction", "a"]


def test_a_time_limit_of_nothing_is_refused() -> None:
    with pytest.raises(DefinitionError, match="over 0"):
        transaction(timeout=0)
