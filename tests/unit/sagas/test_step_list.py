"""Step lists in the kernel: order, groups, merging, failing, undoing, and what operators may do."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from sagas import DefinitionError, parallel, retry, sequence, step, steps
from sagas.effects import Send
from sagas.testing import Scenario, given


async def _run(ctx: Any) -> None: ...


async def _undo(ctx: Any) -> None: ...


def _step(name: str, **options: Any) -> Any:
    return step(name, _run, compensate=_undo, **options)


ORDER = steps(
    "order",
    [
        _step("reserve", retry=retry(2, "1s"), timeout="10s"),
        parallel("validate", [_step("stock"), _step("card")]),
        step("tell", _run, background=True),
        _step("ship"),
    ],
    data={"currency": "EUR"},
)


def _begun() -> Scenario:
    return given(ORDER, key="o-1").when("order", {"total": 5})


def _open(scenario: Scenario) -> list[str]:
    return [command.target for command in scenario.instance.commands.values()]


def _undone(scenario: Scenario) -> list[tuple[str, str]]:
    return [(undo.type, undo.status) for undo in scenario.instance.undo]


def test_steps_go_in_order_and_their_outputs_join_the_context() -> None:
    run = _begun()
    assert _open(run) == ["order.reserve"]
    run.expect_state(total=5, currency="EUR")
    (command,) = run.instance.commands.values()
    assert (command.timeout_s, command.retry, command.step) == (None, retry(2, "1s"), "reserve")
    run.when_step("reserve", {"reservation": "r-1"}).expect_state(reservation="r-1")
    assert _open(run) == ["order.stock", "order.card"]
    run.when_step("card", {"ok": True})
    assert _open(run) == ["order.stock"]
    run.when_step("stock")
    assert _open(run) == ["order.tell", "order.ship"]
    run.when_step("ship", {"tracking": "t-1"}).expect_status("completed")
    run.expect_result({"tracking": "t-1"})
    run.when_step("tell").expect_status("completed")
    assert run.instance.steps["tell"].status == "completed"
    assert "tell" not in run.state


def test_a_failed_step_is_undone_backwards_one_at_a_time() -> None:
    run = _begun().when_step("reserve").when_step("card").when_step("stock")
    run.when_step_failed("ship", "no carrier").expect_status("compensating")
    assert _undone(run) == [("stock", "running"), ("card", "waiting"), ("reserve", "waiting")]
    assert "order.stock.undo" in _open(run)
    run.when_step("stock")
    assert _undone(run) == [("stock", "done"), ("card", "running"), ("reserve", "waiting")]
    run.when_step("card").when_step("reserve").expect_status("compensated")
    assert run.instance.error is not None
    assert (run.instance.error.type, run.instance.error.message) == (
        "StepFailed",
        "ship: no carrier",
    )


def test_a_run_with_nothing_to_undo_has_failed() -> None:
    run = _begun().when_step_failed("reserve", "none left", code="out_of_stock")
    run.expect_status("failed")
    assert run.instance.error is not None
    assert run.instance.error.type == "out_of_stock"


def test_a_group_waits_for_what_is_on_its_way_before_it_is_undone() -> None:
    run = _begun().when_step("reserve").when_step_failed("card", "expired")
    run.expect_status("running")
    run.when_step("stock").expect_status("compensating")
    assert _undone(run) == [("stock", "running"), ("reserve", "waiting")]


def test_a_step_that_is_not_strict_is_undone_though_it_failed_and_told_so() -> None:
    pay = steps("pay", [_step("charge", strict=False)])
    run = given(pay, key="p").when("pay", {})
    run.when_step_failed("charge", "no answer", data={"ref": "c-1"}).expect_status("compensating")
    (command,) = run.instance.commands.values()
    payload = bytes(command.payload).decode()
    assert '"failed":true' in payload
    assert '"data":{"ref":"c-1"}' in payload
    run.when_step("charge").expect_status("compensated")


def test_parallel_steps_must_not_set_one_key_to_two_values() -> None:
    run = _begun().when_step("reserve").when_step("stock", {"seen": 1})
    run.when_step("card", {"seen": 2}).expect_status("compensating")
    assert run.instance.error is not None
    assert run.instance.error.type == "MergeConflict"
    assert "'seen'" in run.instance.error.message
    # the step did its work, so it is undone like the others
    assert [name for name, _ in _undone(run)] == ["card", "stock", "reserve"]


def test_equal_values_of_parallel_steps_and_later_steps_are_no_conflict() -> None:
    run = _begun().when_step("reserve", {"seen": 0}).when_step("stock", {"seen": 1})
    run.when_step("card", {"seen": 1}).when_step("ship", {"seen": 3}).expect_status("completed")
    run.expect_state(seen=3)


def test_a_failed_undo_parks_and_an_operator_retries_just_that() -> None:
    run = _begun().when_step("reserve").when_step("stock").when_step("card")
    run.when_step_failed("ship", "no").when_step_failed("card", "bank is closed")
    run.expect_parked("bank is closed")
    assert _undone(run) == [("card", "failed"), ("stock", "waiting"), ("reserve", "waiting")]
    run.action("retry", reason="open again").expect_status("compensating")
    assert _open(run) == ["order.tell", "order.card.undo"]
    run.when_step("card").when_step("stock").when_step("reserve").expect_status("compensated")


@pytest.mark.parametrize(("by_hand", "how"), [(False, "skipped"), (True, "by_hand")])
def test_a_failed_undo_can_be_passed_over_and_the_rest_goes_on(by_hand: bool, how: str) -> None:
    run = _begun().when_step("reserve").when_step("stock").when_step("card")
    run.when_step_failed("ship").when_step_failed("card").action("skip", by_hand=by_hand)
    assert _undone(run) == [("card", how), ("stock", "running"), ("reserve", "waiting")]
    run.when_step("stock").when_step("reserve").expect_status("compensated")


def test_failed_undos_may_be_left_to_the_end() -> None:
    brave = steps("brave", [_step("a"), _step("b"), _step("c")], on_undo_failure="continue")
    run = given(brave, key="k").when("brave").when_step("a").when_step("b").when_step_failed("c")
    run.when_step_failed("b", "stuck").when_step("a").expect_status("failed")
    assert run.instance.error is not None
    assert "b: stuck" in run.instance.error.message


def test_undoing_may_stop_at_the_first_failure() -> None:
    careful = steps("careful", [_step("a"), _step("b"), _step("c")], on_undo_failure="stop")
    run = given(careful, key="k").when("careful").when_step("a").when_step("b")
    run.when_step_failed("c").when_step_failed("b", "stuck").expect_status("failed")
    assert _undone(run) == [("b", "failed"), ("a", "waiting")]
    assert _open(run) == []


def test_a_run_may_stop_at_a_failed_step_and_go_on_from_there() -> None:
    patient = steps("patient", [_step("a"), _step("b")], on_failure="park")
    run = given(patient, key="k").when("patient").when_step("a").when_step_failed("b", "down")
    run.expect_parked("down")
    run.action("retry")
    assert _open(run) == ["patient.b"]
    run.when_step("b").expect_status("completed")


def test_a_failed_step_can_be_skipped_by_an_operator() -> None:
    patient = steps("patient", [_step("a"), _step("b"), _step("c")], on_failure="park")
    run = given(patient, key="k").when("patient").when_step("a").when_step_failed("b", "down")
    run.action("skip", reason="not needed")
    assert run.instance.steps["b"].status == "skipped"
    run.when_step("c").expect_status("completed")


def test_after_a_pivot_a_run_only_goes_forward() -> None:
    line = steps("line", [_step("a"), _step("pay", pivot=True), _step("c")])
    run = given(line, key="k").when("line").when_step("a").when_step("pay")
    run.when_step_failed("c", "later").expect_parked("later")
    run.action("retry").when_step("c").expect_status("completed")


def test_an_operator_undoes_a_completed_run_or_a_part_of_it() -> None:
    run = _begun().when_step("reserve").when_step("stock").when_step("card").when_step("ship")
    run.when_step("tell").expect_status("completed")
    plan = run.plan("compensate", types=("ship", "card"), reason="called off")
    assert [effect.target for effect in plan.effects if isinstance(effect, Send)] == [
        "order.ship.undo"
    ]
    assert [send.target for send in plan.then] == ["order.card.undo"]
    assert plan.cannot_undo == (
        "reserve: not chosen",
        "stock: not chosen",
        "tell: it declares no undo",
    )
    run.action("compensate", types=("ship", "card"), reason="called off", plan=plan.hash)
    run.when_step("ship").when_step("card").expect_status("compensated")
    assert [name for name, _ in _undone(run)] == ["ship", "card"]
    run.action("compensate", types=("unknown",)).expect_refused("")


def test_a_run_is_undone_while_a_step_is_on_its_way() -> None:
    run = _begun().when_step("reserve").action("compensate", reason="stop it")
    run.expect_status("compensating")
    assert _undone(run) == [("reserve", "waiting")]
    run.when_step("stock").when_step_failed("card")
    assert _undone(run) == [("stock", "running"), ("reserve", "waiting")]
    run.when_step("stock").when_step("reserve").expect_status("compensated")


def test_a_second_start_is_ignored_and_a_late_answer_too() -> None:
    run = _begun().when("order", {"total": 6}).expect_ignored("no_handler")
    run.expect_state(total=5)


def test_callbacks_are_told_in_the_background() -> None:
    loud = steps(
        "loud",
        [_step("a"), _step("b")],
        on_step_completed=_run,
        on_compensating=_run,
        on_failed=_run,
    )
    run = given(loud, key="k").when("loud").when_step("a")
    assert _open(run) == ["loud.on_step_completed", "loud.b"]
    run.when_answer("loud.on_step_completed", "Snorri-Completed", {}).when_step_failed("b")
    assert _open(run) == ["loud.on_compensating", "loud.a.undo"]
    run.when_failed("loud.on_compensating", "nobody listens").expect_status("compensating")
    run.when_step("a").expect_status("compensated")
    assert _open(run) == ["loud.on_failed"]


def test_more_steps_than_one_transition_may_start_follow_as_others_end() -> None:
    wide = steps("wide", [parallel("all", [_step(f"s{n}") for n in range(500)])])
    run = given(wide, key="k").when("wide")
    for n in range(500):
        run.when_step(f"s{n}")
    run.expect_status("completed")
    assert max(len(version.commands) for version in run.history) == 350


def test_fifty_levels_of_groups() -> None:
    item = _step("core")
    for n in range(50):
        item = (parallel if n % 2 else sequence)(f"g{n}", [item, _step(f"s{n}")])
    deep = steps("deep", [item])
    run = given(deep, key="k").when("deep")
    while run.instance.status == "running":
        run.when_step(next(iter(run.instance.commands.values())).step)
    run.expect_status("completed")


def test_the_chain_builds_the_same_saga() -> None:
    chain = steps("chain").step("a", _run, _undo).with_data({"n": 1}).then(_step("b")).build()
    run = given(chain, key="k").when("chain").expect_state(n=1)
    run.when_step("a").when_step_failed("b").when_step("a").expect_status("compensated")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: steps("x", [_step("a"), _step("a")]), "named 'a'"),
        (lambda: steps("x", []), "no steps"),
        (lambda: steps("x", ["a"]), "is no step"),  # type: ignore[list-item]
        (lambda: steps("", [_step("a")]), "empty"),
        (lambda: steps("x" * 90, [_step("reserve")]), "shorten"),
        (lambda: steps("Snorri-x", [_step("a")]), "reserved"),
        (lambda: step("a#1", _run), "'#'"),
        (lambda: step("a", _run, _undo, background=True), "background"),
        (lambda: step("a", _run, _undo, nothing_to_undo=True), "needs none"),
        (lambda: step("a", "no function"), "is no function"),  # type: ignore[call-overload]
        (lambda: step("a", _run, timeout=0), "over 0"),
        (lambda: parallel("p", []), "no steps"),
    ],
)
def test_what_can_not_work_is_told_when_it_is_declared(make: Any, says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        make()


def test_the_hash_of_a_list_tells_its_shape() -> None:
    def made(*items: Any) -> str:
        return steps("x", list(items)).hash

    first = made(_step("a"), _step("b"))
    assert first == made(_step("a"), _step("b"))
    assert first != made(_step("b"), _step("a"))
    assert first != made(parallel("p", [_step("a"), _step("b")]))
    assert first != made(_step("a"), _step("b", strict=False))


def test_a_plan_made_elsewhere_holds_where_the_engine_carries_out_the_steps() -> None:
    run = _begun().when_step("reserve").when_step("stock").when_step("card").when_step("ship")
    chosen = ("ship", "card")
    elsewhere = run.plan("compensate", types=chosen, reason="called off")
    run.definition = structs.replace(ORDER, inline=frozenset({"order.ship.undo"}))
    run.action("compensate", types=chosen, reason="called off", plan=elsewhere.hash)
    run.expect_status("compensating")
    (sent,) = [effect for effect in run.instance.effects if isinstance(effect, Send)]
    assert sent.inline
