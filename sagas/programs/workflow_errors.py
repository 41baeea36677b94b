"""What a workflow function may meet: errors it can catch, and those that only new code mends."""

from __future__ import annotations

from sagas.errors import HandlerFault, SagaError


class WorkflowFailed(SagaError):
    """Raise it to end a workflow: what its steps have done is undone in reverse order."""

    def __init__(self, reason: str, *, code: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class StepFailed(WorkflowFailed):
    """A step, a job or a child that the workflow awaited has failed for good; it may be caught.

    ``step`` is its id in the run, ``data`` what it told beside the reason (any JSON).
    """

    def __init__(self, step: str, reason: str, *, code: str = "", data: object = None) -> None:
        super().__init__(reason, code=code)
        self.step = step
        self.data = data

    def __str__(self) -> str:
        return f"{self.step}: {self.reason}"


class WaitTimedOut(StepFailed, TimeoutError):
    """What was waited for did not come in time."""


class Diverged(HandlerFault):
    """The function asks for something else than its history has; the code was changed under it."""
