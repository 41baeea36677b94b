"""What the kernel says to a program whose instances others call and wait for: an entity.

Nobody handles a call once the instance is over, so whoever waits for one has to be told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from sagas.draft import Draft
    from sagas.messages import Cause


@runtime_checkable
class Called(Protocol):
    """The part of such a program that is asked when an instance has ended."""

    def give_up(self, draft: Draft) -> None:
        """Answer all calls that are here: the instance has just ended."""
        ...

    def turn_away(self, draft: Draft, cause: Cause) -> bool:
        """Answer a call that came after the end; False when nobody waits for an answer."""
        ...


def give_up(draft: Draft) -> None:
    """The instance has ended: tell those who wait for its answers, if its program has any."""
    if isinstance(draft.definition.program, Called):
        draft.definition.program.give_up(draft)


def turn_away(draft: Draft, cause: Cause) -> bool:
    """Whether somebody waited for an answer to this message and has it now."""
    program = draft.definition.program
    return isinstance(program, Called) and program.turn_away(draft, cause)
