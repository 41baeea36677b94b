"""Goal: runs go on as the page says when their list has changed under them, and no undo of a step
that was done is left out unseen.

Method: a run of three steps, the first done and the second on its way, goes on with another list of
the same name, as after a deployment.
"""

from __future__ import annotations

from typing import Any

import pytest

from sagas import DefinitionError, SagaDefinition, WorkflowSaga, entity, step, steps, workflow
from sagas.testing import Scenario, given


async def _run(ctx: Any) -> None: ...


async def _undo(ctx: Any) -> None: ...


def _list(*names: str) -> SagaDefinition:
    return steps("Batch", [step(name, _run, _undo) for name in names])


def _on_its_way(*names: str) -> Scenario:
    """``a`` is done, ``b`` was sent by the old list; the new one has ``names``."""
    run = given(_list("a", "b", "c")).when("Batch", {}).when_step("a")
    run.definition = _list(*names)
    return run


def _open(run: Scenario) -> list[str]:
    return [one.step for one in run.instance.commands.values() if one.step]


@pytest.mark.parametrize(
    ("names", "then"),
    [
        (("a", "b", "c"), ["c"]),
        (("a", "b", "x", "c"), ["x"]),  # a new step that is still to come
        (("x", "a", "b", "c"), ["x"]),  # and one before those that were done
        (("a", "b"), []),  # the last is gone
        (("a", "c", "b"), ["c"]),  # another order
        (("a", "c"), ["c"]),  # the one on its way is gone; its answer counts all the same
    ],
)
def test_the_next_step_is_the_first_that_has_not_run(
    names: tuple[str, ...], then: list[str]
) -> None:
    run = _on_its_way(*names).when_step("b")
    assert _open(run) == then
    run.expect_status("running" if then else "completed")


def test_what_was_done_is_undone_by_the_new_list() -> None:
    run = _on_its_way("x", "a", "b").when_step_failed("b")
    assert _open(run) == ["a"]
    run.when_step("a").expect_status("compensated")


@pytest.mark.parametrize("names", [("b", "c"), ("renamed", "b", "c")])
def test_a_step_that_was_done_and_is_gone_parks_the_run_that_would_undo_it(
    names: tuple[str, ...],
) -> None:
    run = _on_its_way(*names).when_step_failed("b").expect_parked("the step 'a' was done")
    assert [undo.type for undo in run.instance.undo] == []
    run.definition = _list("a", *names)
    run.action("retry")
    assert _open(run) == ["a"]
    run.when_step("a").expect_status("compensated")


def test_it_is_no_matter_while_the_run_goes_forward() -> None:
    run = _on_its_way("b", "c").when_step("b").when_step("c").expect_status("completed")
    run.action("compensate").expect_refused("the step 'a' was done")


def test_a_run_that_would_undo_what_is_gone_may_be_cancelled() -> None:
    run = _on_its_way("b", "c").when_step_failed("b").expect_parked()
    run.action("cancel", reason="undone by hand").expect_status("cancelled")


@workflow("Flow", version=2)
async def _flow(saga: WorkflowSaga, input: Any) -> None: ...


@pytest.mark.parametrize(
    "definition", [steps("Batch", [step("a", _run)], version=2), _flow, entity("Purse", version=2)]
)
def test_programs_have_versions_too(definition: SagaDefinition) -> None:
    assert definition.version == 2


def test_a_run_that_newer_code_has_gone_on_with_is_left_alone_by_older() -> None:
    run = given(_list("a", "b", "c")).when("Batch", {}).when_step("a")
    assert run.instance.definition_version == 1
    newer = steps("Batch", [step(name, _run, _undo) for name in "abcd"], version=2)
    run.definition = newer
    run.when_step("b")
    assert run.instance.definition_version == 2
    run.definition = _list("a", "b", "c")
    run.when_step("c").expect_parked("version 2 of Batch")
    run.definition = newer
    run.action("retry")
    assert _open(run) == ["d"]


def test_a_wrong_version_is_refused() -> None:
    with pytest.raises(DefinitionError, match="1 or more"):
        steps("Batch", [step("a", _run)], version=0)
