"""The jobs of steps: which there are, what their functions may look like, what their ends mean.

Method: a manner is called directly, with a desk that has nothing on it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from msgspec import Raw, Struct

from jobs import (
    ErrorPolicy,
    PermanentFailure,
    StepContext,
    clear_terminal_errors,
    failure,
    register_terminal_errors,
    set_error_mapper,
    step_jobs,
    success,
    unregister_terminal_errors,
)
from jobs.context import Command
from jobs.dependencies import Need
from jobs.job import AnyJob
from jobs.outcome import Crash, Failure, Success
from jobs.steps import ANSWER_BYTES_MAX, all_step_jobs
from sagas import StepResponse, parallel, retry, step, steps
from sagas.definition import SagaDefinition
from sagas.errors import DefinitionError
from sagas.messages import to_raw
from sagas.programs.steps import StepCall, StepResult
from store.job_calls import JobCalls


class Order(Struct, forbid_unknown_fields=True):
    """An input that takes no other fields."""

    sku: str


class Bill(Struct):
    """An output."""

    total: int


class Repository:
    """A dependency."""


class Wrong(ValueError):
    """An error of the tests."""


class _Desk:
    def beat(self) -> None: ...

    async def publish(self, type: str, key: str, payload: bytes, msg_id: str) -> None: ...

    async def resolve(self, key: object) -> object:
        return f"the {key}"

    async def resolve_need(self, need: Need) -> tuple[bool, object]:
        return (False, None) if need.optional else (True, f"the {need.name}")

    @property
    def calls(self) -> JobCalls:
        raise AssertionError("no step here asks another job")


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    clear_terminal_errors()
    set_error_mapper(None)


async def _run(ctx: StepContext[Any]) -> None: ...


def _list(run: Callable[..., Any] = _run, undo: Any = None, **options: Any) -> SagaDefinition:
    return steps("order", [step("one", run, undo)], **options)


def _context(job: AnyJob, call: StepCall | None = None, **fields: Any) -> StepContext[Any]:
    made = call or StepCall(step="one", context=to_raw(fields))
    payload = job.decode(msgspec.json.encode(made))
    command = Command(
        id="order.o-1.1.0",
        target=job.target,
        key="o-1",
        key_token="o-1",
        idempotency_key="order.o-1.1.0",
        trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    context = job.manner.context(command, 1, payload, _Desk())
    assert isinstance(context, StepContext)
    return context


def _returned(value: object, set: dict[str, object] | None = None, **fields: Any) -> Any:
    (job,) = step_jobs(_list())
    context = _context(job, **fields)
    for name, one in (set or {}).items():
        context.set(name, one)
    return job.manner.returned(context, context.data if value is _run else value)


def _result(value: object, set: dict[str, object] | None = None, **fields: Any) -> StepResult:
    outcome = _returned(value, set, **fields)
    assert isinstance(outcome, Success), outcome
    return msgspec.json.decode(outcome.data, type=StepResult)


def _plain(raws: dict[str, Raw]) -> dict[str, Any]:
    return {name: msgspec.json.decode(raw) for name, raw in raws.items()}


def test_each_run_undo_and_callback_has_a_job_with_its_own_limits() -> None:
    async def told(ctx: Any, payload: Any) -> None: ...

    first = step(
        "a", _run, _run, retry=retry(2), timeout="3s", undo_retry=retry(9), undo_timeout=None
    )
    items = [first, parallel("p", [step("b", lambda ctx: None)])]
    jobs = {job.target: job for job in step_jobs(steps("order", items, on_failed=told))}
    assert list(jobs) == ["order.a", "order.a.undo", "order.b", "order.on_failed"]
    assert (jobs["order.a"].retry, jobs["order.a"].timeout_s) == (retry(2), 3.0)
    assert (jobs["order.a.undo"].retry, jobs["order.a.undo"].timeout_s) == (retry(9), None)
    assert jobs["order.b"].timeout_s == timedelta(minutes=5).total_seconds()
    assert (jobs["order.a"].threaded, jobs["order.b"].threaded) == (False, True)


def test_two_steps_of_one_target_are_refused() -> None:
    first, second = steps("a.b", [step("c", _run)]), steps("a", [step("b.c", _run)])
    with pytest.raises(DefinitionError, match=r"two steps have the job target 'a.b.c'"):
        all_step_jobs([first, second])


def test_the_input_of_a_list_is_read_out_of_its_context() -> None:
    def one(ctx: StepContext[Any], order: Order) -> None: ...

    (job,) = step_jobs(_list(one))
    context = _context(job, sku="x", charge=3)
    assert (context.second, context.input) == (Order("x"), Order("x"))
    (job,) = step_jobs(_list(input=Order))
    assert _context(job, sku="x", more=1).input == Order("x")
    (job,) = step_jobs(_list(input=list[int]))
    assert _context(job, input=[1, 2], more=1).input == [1, 2]


def test_an_input_that_does_not_fit_is_told_when_it_is_asked_for() -> None:
    (job,) = step_jobs(_list(input=Order))
    with pytest.raises(PermanentFailure, match=r"does not fit the step 'one'.*sku"):
        _ = _context(job, sku=3).input


def test_context_reads_sets_and_undo_facts() -> None:
    job, undo = step_jobs(_list(_run, _run))
    context = _context(job, sku="x")
    context.set("n", 1)
    found = (context.get("sku"), context.get("n"), context.get("z"), context.get("z", 2))
    assert found == ("x", 1, None, 2)
    assert (context.run_id, context.step) == ("o-1", "one")
    assert context.trace_id == "0af7651916cd43dd8448eb211c80319c"
    with pytest.raises(TypeError):
        context.data["sku"] = "y"  # type: ignore[index] # on purpose
    call = StepCall(step="one", undo=True, output=to_raw([1]), failed=True, error="broke")
    undoing = _context(undo, call)
    assert (undoing.failed, undoing.error, undoing.output, undoing.undo_data) == (
        *(True, "broke"),
        *([1], [1]),
    )
    with pytest.raises(PermanentFailure, match="an undo can't set 'n'"):
        undoing.set("n", 1)


def test_an_undo_takes_the_data_left_for_it_or_else_the_output() -> None:
    def undo(ctx: StepContext[Any], bill: Bill) -> None: ...

    _, job = step_jobs(_list(_run, undo))
    output, data = to_raw({"total": 1}), to_raw({"total": 2})
    assert _context(job, StepCall(step="one", undo=True, output=output)).second == Bill(1)
    call = StepCall(step="one", undo=True, output=output, data=data)
    assert _context(job, call).second == Bill(2)


@pytest.mark.asyncio
async def test_parameters_beyond_the_second_are_dependencies() -> None:
    def one(ctx: StepContext[Any], order: dict[str, Any], repo: Repository, *, n: int = 3) -> None:
        pass

    (job,) = step_jobs(_list(one))
    assert [need.keys[0] for need in job.needs] == [Repository, int]
    context = _context(job, sku="x")
    positional, named = await job.manner.arguments(context, job.takes_payload)
    assert positional == (context, {"sku": "x"})
    assert named == {"repo": "the repo"}


def test_partials_and_callable_objects_are_steps() -> None:
    class Caller:
        async def __call__(self, ctx: StepContext[Order]) -> None: ...

    async def partly(word: str, ctx: StepContext[Order]) -> None: ...

    for function in (Caller(), functools.partial(partly, "x")):
        (job,) = step_jobs(_list(function))
        assert not job.threaded
        assert _context(job, sku="x").input == Order("x")


def _yields(ctx: Any) -> Iterator[int]:
    yield 1


def _takes_repository(ctx: Any, repo: Repository) -> None: ...


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: _list(lambda: None), "must take a context first"),
        (lambda: _list(_yields), "yields; a step returns"),
        (lambda: _list(_takes_repository), "dependencies after a"),
        (lambda: steps("o", [step("a", _run, errors=ValueError)]), "is no ErrorPolicy"),
        (lambda: ErrorPolicy(terminal=("x",)), "no class of exceptions"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_work_is_told_at_the_start(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        step_jobs(make())


# --- what is returned


def test_a_dict_gives_its_keys_that_differ() -> None:
    result = _result({"a": 1, "b": [1, 2]}, a=1)
    assert msgspec.json.decode(result.output) == {"b": [1, 2]}
    assert _plain(result.added) == {"b": [1, 2]}
    same = _result({"ok": True}, ok=True)
    assert (msgspec.json.decode(same.output), same.added) == ({"ok": True}, {})


def test_the_context_handed_on_is_no_output_and_other_values_are_output_only() -> None:
    assert _result(_run, a=1) == StepResult()
    bill = _result(Bill(3), a=1)
    assert (msgspec.json.decode(bill.output), bill.added) == ({"total": 3}, {})
    assert _result(None, a=1) == StepResult()
    assert msgspec.json.decode(_result(success(4)).output) == 4


def test_what_is_set_comes_over_what_is_returned() -> None:
    result = _result({"a": 1, "b": 1}, set={"b": 2, "c": Bill(1)})
    assert _plain(result.added) == {"a": 1, "b": 2, "c": {"total": 1}}


def test_a_step_response_has_output_and_data_for_the_undo() -> None:
    result = _result(StepResponse({"id": 1}, {"refund": 1}))
    assert (_plain(result.added), msgspec.json.decode(result.data)) == ({"id": 1}, {"refund": 1})


@pytest.mark.parametrize(
    "value",
    [
        StepResponse.permanent_failure("no", {"half": 1}, code="Declined"),
        PermanentFailure("no", {"half": 1}, code="Declined"),
    ],
)
def test_a_permanent_failure_has_reason_data_and_code(value: Any) -> None:
    (job,) = step_jobs(_list())
    if isinstance(value, Exception):
        outcome = job.manner.raised(_context(job), value)
    else:
        outcome = job.manner.returned(_context(job), value)
    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.data) == ("no", {"data": {"half": 1}, "code": "Declined"})


def test_the_failure_of_a_job_is_one_of_a_step() -> None:
    assert _returned(failure("no", {"n": 1})) == Failure("no", {"data": {"n": 1}})


@pytest.mark.parametrize(
    ("value", "code", "words"),
    [
        ({"x": "a" * ANSWER_BYTES_MAX}, "OutputTooLarge", "return a reference"),
        ({"x": object()}, "BadOutput", "can't be written as JSON"),
        (StepResponse(1, {1j}), "BadOutput", "can't be written as JSON"),
    ],
)
def test_answers_that_cannot_be_kept_fail_clearly(value: object, code: str, words: str) -> None:
    outcome = _returned(value)
    assert isinstance(outcome, Failure)
    assert words in outcome.reason
    assert (outcome.data, outcome.defect) == ({"code": code, "done": True}, True)
    _, undo = step_jobs(_list(undo=_run))
    context = _context(undo, StepCall(step="one", undo=True))
    assert isinstance(undo.manner.returned(context, value), Success), "nobody reads it"


# --- what is raised


def _raised(error: Exception, definition: SagaDefinition | None = None, **more: Any) -> Any:
    (job,) = step_jobs(definition or _list(), **more)
    return job.manner.raised(_context(job), error)


def test_errors_are_tried_again_unless_they_are_terminal() -> None:
    assert isinstance(_raised(Wrong("x")), Crash)
    expected = Failure("x", {"code": "Wrong"}, "Wrong")
    assert _raised(Wrong("x"), errors=ErrorPolicy(terminal=(ValueError,))) == expected
    assert _raised(Wrong("x"), _list(errors=ErrorPolicy(terminal=(Wrong,)))) == expected
    register_terminal_errors([Wrong])
    assert _raised(Wrong("x")) == expected
    unregister_terminal_errors([Wrong])
    assert isinstance(_raised(Wrong("x")), Crash)


def test_the_nearest_policy_decides() -> None:
    def again(error: Exception) -> Any:
        return "retry" if isinstance(error, Wrong) else None

    own = steps("order", [step("one", _run, errors=ErrorPolicy(mapper=again))])
    everywhere = ErrorPolicy(terminal=(Wrong, OSError))
    assert isinstance(_raised(Wrong("x"), own, errors=everywhere), Crash)
    assert isinstance(_raised(OSError("x"), own, errors=everywhere), Failure)


def test_a_mapper_gives_code_and_data() -> None:
    set_error_mapper(lambda e: StepResponse.permanent_failure(f"mapped {e}", {"n": 1}, code="M"))
    outcome = _raised(Wrong("x"))
    assert outcome == Failure("mapped x", {"data": {"n": 1}, "code": "M"}, "Wrong")


def test_a_mapper_that_fails_leaves_the_error_to_be_tried_again() -> None:
    def mapper(error: Exception) -> Any:
        raise KeyError("oops")

    outcome = _raised(Wrong("x"), errors=ErrorPolicy(mapper=mapper))
    assert isinstance(outcome, Crash)
    assert outcome.reason == "Wrong: x; the error mapper failed at it: KeyError: 'oops'"


def test_what_was_left_goes_with_the_last_failure() -> None:
    (job,) = step_jobs(_list())
    context = _context(job)
    context.leave({"half": 1})
    outcome = job.manner.raised(context, Wrong("x"))
    assert outcome == Crash("Wrong: x", "Wrong", data={"data": {"half": 1}})
