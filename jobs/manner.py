"""How the function of a job is called and how its end is read: plainly, or as a step's.

An attempt (``execution``) owns limits, threads and scopes; a manner makes the context and the
arguments, and turns what was returned or raised into an outcome.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

from jobs.context import Command, Desk, JobContext
from jobs.outcome import Crash, Failure, Success, outcome_of, outcome_of_error

# Payloads and contexts are of the types that authors declare.
AnyContext: TypeAlias = JobContext[Any]
Arguments: TypeAlias = tuple[tuple[object, ...], Mapping[str, object]]

NO_NAMES: Mapping[str, object] = {}


class Manner(Protocol):
    """What differs between the kinds of jobs."""

    def context(self, command: Command, attempt: int, payload: Any, desk: Desk) -> AnyContext:
        """The first argument; ``payload`` is what the job's ``decode`` gave."""
        ...

    async def arguments(self, context: AnyContext, takes_payload: bool) -> Arguments:
        """What the function is called with; raises what providers of dependencies raise."""
        ...

    def returned(self, context: AnyContext, value: object) -> Success | Failure:
        """What a value that was returned means."""
        ...

    def raised(self, context: AnyContext, error: BaseException) -> Failure | Crash:
        """What an exception means."""
        ...

    async def given_up(self, context: AnyContext, failure: Failure) -> Success | Failure:
        """What a command comes to that is not run again, for the reason of ``failure``."""
        ...


class Plain:
    """A job takes its context and its payload, and returns data or an answer."""

    def context(self, command: Command, attempt: int, payload: Any, desk: Desk) -> AnyContext:
        """See Manner."""
        return JobContext(command, attempt, payload, desk)

    async def arguments(self, context: AnyContext, takes_payload: bool) -> Arguments:
        """See Manner."""
        return ((context, context.payload) if takes_payload else (context,)), NO_NAMES

    def returned(self, context: AnyContext, value: object) -> Success | Failure:
        """See Manner."""
        return outcome_of(value)

    def raised(self, context: AnyContext, error: BaseException) -> Failure | Crash:
        """See Manner."""
        return outcome_of_error(error)

    async def given_up(self, context: AnyContext, failure: Failure) -> Success | Failure:
        """See Manner."""
        return failure


PLAIN = Plain()
