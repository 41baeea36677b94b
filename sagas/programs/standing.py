"""A workflow function kept where it waits, so that its next answer does not run it from its start.

It is a help and never needed: whoever has none runs the function from its start against history,
and decides the same to the byte. It stands for one document of one run and is good for going on
once. From time to time it is left unused on purpose (``is_proof``): a function that does not repeat
itself is then found early, and the cost of a run still grows with its length only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sagas.programs.workflow_execution import Execution


class Standing:
    """One execution that was left where its function waits."""

    __slots__ = ("_execution", "_program")

    def __init__(self, execution: Execution, program: object) -> None:
        self._execution: Execution | None = execution
        self._program = program

    def take(self, program: object) -> Execution | None:
        """The execution, the first time and for the same program; None otherwise."""
        if program is not self._program:
            return None
        execution, self._execution = self._execution, None
        return execution

    def __del__(self) -> None:
        if self._execution is not None:
            self._execution.drop()


def is_proof(heard: int) -> bool:
    """Whether a function that has heard of so many answers shall run from its start."""
    return heard & (heard - 1) == 0
