"""The outcome of a run as its caller reads it, made from the document of its instance. Pure."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, cast

import msgspec
from msgspec import Raw, Struct, structs

from sagas.errors import SagaError
from sagas.instance import Instance, Status, StepRecord, StepStatus
from sagas.messages import NULL
from sagas.programs.transactions import failed_step

O = TypeVar("O")  # noqa: E741 - the output of a run

ACTION_ERROR = "ACTION_ERROR"  # the code of a failure that names none of its own
UNDONE = frozenset({"done", "by_hand"})


class RunFailed(SagaError):
    """A run whose output was wanted did not end well; ``result`` says how it stands."""

    def __init__(self, result: RunResult[Any]) -> None:
        where = f" at {result.failed_step!r}" if result.failed_step else ""
        why = f": {result.error}" if result.error else ""
        super().__init__(f"{result.saga}/{result.key} is {result.status}{where}{why}")
        self.result = result


class UnexpectedOutput(SagaError):
    """What a run completed with is not of the type that its definition says."""


class StepOutcome(Struct, frozen=True, kw_only=True, rename="camel"):
    """How one step ended; ``background`` when nobody waited for it, ``attempts`` how often it was
    tried.
    """

    status: StepStatus
    output: Any = None
    background: bool = False
    attempts: int = 1
    error: str = ""
    code: str = ""


class RunResult(Struct, Generic[O], frozen=True, kw_only=True):
    """How a run ended, or where it stopped.

    ``output`` is what it completed with: of a list its last step's output. ``context`` is what it
    has gathered (of a workflow: its input and its state), ``steps`` how each of its steps stands,
    ``attempts`` how often it was set going. Of a run without ``success``: ``error`` and its
    ``code``, the step that failed, and the steps undone, in the order of their undoing.
    """

    saga: str
    key: str
    version: int
    status: Status
    success: bool
    output: O | None
    context: dict[str, Any]
    steps: dict[str, StepOutcome]
    error: str = ""
    code: str = ""
    failed_step: str = ""
    compensated_steps: tuple[str, ...] = ()
    attempts: int = 1
    trace_id: str = ""

    def unwrap(self) -> O:
        """The output; raises RunFailed for a run that did not end well."""
        if not self.success:
            raise RunFailed(self)
        return cast("O", self.output)

    def typed(self, type: Any) -> RunResult[Any]:
        """The same with its plain output as a value of ``type``; raises UnexpectedOutput."""
        if type is Any or not self.success:
            return self
        try:
            output = msgspec.convert(self.output, type, str_keys=True)
        except msgspec.ValidationError as error:
            raise UnexpectedOutput(
                f"{self.saga}/{self.key} completed with something else than its definition says:"
                f" {error}; correct the annotation or what it returns"
            ) from None
        return structs.replace(self, output=output)


class RunFailure(Struct, frozen=True, kw_only=True, rename="camel"):
    """A run that did not end well, as an HTTP client reads it."""

    error: str
    code: str
    failed_step: str
    compensated_steps: tuple[str, ...]


def result_of(instance: Instance) -> RunResult[Any]:
    """The outcome that a document tells; of a run that goes on, how it stands."""
    state: object = _plain(instance.state)
    failed = _failed(instance)
    error = instance.error.message if instance.error else ""
    code = instance.steps[failed].code if failed else ""
    return RunResult(
        saga=instance.saga,
        key=instance.key,
        version=instance.version,
        status=instance.status,
        success=instance.status == "completed",
        output=_plain(instance.result),
        context=cast("dict[str, Any]", state) if isinstance(state, dict) else {},
        steps={id: _outcome(record) for id, record in instance.steps.items()},
        error=error,
        code=(code or ACTION_ERROR) if error else "",
        failed_step=failed,
        compensated_steps=tuple(undo.type for undo in instance.undo if undo.status in UNDONE),
        attempts=instance.attempts,
        trace_id=instance.trace.split("-")[1] if instance.trace.count("-") == 3 else "",
    )


def failure_of(result: RunResult[Any]) -> RunFailure:
    """What an answer says of a run without success."""
    return RunFailure(
        error=result.error or f"it is {result.status}",
        code=result.code or ACTION_ERROR,
        failed_step=result.failed_step,
        compensated_steps=result.compensated_steps,
    )


def _failed(instance: Instance) -> str:
    """The step that failed; of a parked run the one whose command it is parked with."""
    failed = failed_step(instance.steps)
    if failed:
        return failed
    parked = instance.commands.get(instance.parked.command) if instance.parked else None
    return parked.step if parked is not None and not parked.undo else ""


def _outcome(record: StepRecord) -> StepOutcome:
    return StepOutcome(
        status=record.status,
        output=_plain(record.output),
        background=record.background,
        attempts=record.attempts,
        error=record.error,
        code=record.code,
    )


def _plain(raw: Raw) -> Any:
    return msgspec.json.decode(raw or NULL)
