"""Jobs as authors declare them: ``@job(target, …)`` on a function, and their registry. Pure.

A declaration is checked when it is made: what can't work is a DefinitionError that says what to
change. Nothing here runs a job or knows a broker.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, ParamSpec, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from jobs.context import JobContext
from jobs.dependencies import Need
from jobs.manner import PLAIN, Manner
from sagas.durations import seconds
from sagas.errors import DefinitionError
from sagas.names import BadName, check_name
from sagas.retry import RetryPolicy, retry
from sagas.secrets import secret_names

P = ParamSpec("P")
R = TypeVar("R")

Duration: TypeAlias = float | str | timedelta

CONCURRENCY_MAX = 1000
TIMEOUT = "5m"
RETRY = retry(5, "1s")


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Job(Generic[P, R]):
    """A function bound to a command target. Calling it calls the function, so it is tested as one.

    Times are seconds; ``threaded`` jobs are plain functions and run in a thread of their own;
    ``needs`` are the dependencies that its function takes as parameters. Without ``letters`` a
    command that is given up is no dead letter, since whoever sent it takes the failure: a run of
    steps, which undoes or parks.
    """

    target: str
    function: Callable[P, R]
    payload_type: object
    decode: Callable[[bytes], object]
    takes_payload: bool
    threaded: bool
    retry: RetryPolicy
    timeout_s: float | None
    heartbeat_s: float | None
    concurrency: int
    concurrency_total: int | None
    on_success: str | None
    on_failure: str | None
    description: str
    enabled: bool
    manner: Manner = PLAIN
    needs: tuple[Need, ...] = ()
    letters: bool = True

    @property
    def secrets(self) -> tuple[str, ...]:
        """The names of the secret fields of its payload, sorted."""
        return tuple(sorted(secret_names(self.payload_type)))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself."""
        return self.function(*args, **kwargs)


# A worker holds jobs of every signature.
AnyJob: TypeAlias = Job[Any, Any]


def job(
    target: str,
    *,
    retry: RetryPolicy | None = None,
    timeout: Duration | None = TIMEOUT,
    concurrency: int = 16,
    concurrency_total: int | None = None,
    heartbeat: Duration | None = None,
    on_success: str | None = None,
    on_failure: str | None = None,
    description: str = "",
    enabled: bool = True,
) -> Callable[[Callable[P, R]], Job[P, R]]:
    """Make ``async def (ctx, payload)`` or ``async def (ctx)`` the job of a command target.

    The payload is decoded to its annotation. ``retry`` is five attempts from one second on unless
    given (a retry of the send wins over both); ``timeout`` limits one attempt, None is no limit;
    ``concurrency`` counts in one worker process, ``concurrency_total`` over all of them;
    ``heartbeat`` is how long the job may stay silent before it counts as dead; ``on_success`` and
    ``on_failure`` name the result events. The commands of a job that is not ``enabled`` wait.

    A plain ``def`` runs in a thread. A thread can't be stopped: after a time-out it runs on while
    its command is tried again, so give such a job time limits of its own.
    """
    name = _checked(check_name, target, "target")
    for type in filter(None, (on_success, on_failure)):
        _checked(check_name, type, "event type")
    if not 1 <= concurrency <= CONCURRENCY_MAX:
        raise DefinitionError(
            f"the job {name!r} has concurrency {concurrency}; give it 1 to {CONCURRENCY_MAX}"
        )
    if concurrency_total is not None and concurrency_total < 1:
        raise DefinitionError(f"the job {name!r} needs a concurrency_total of 1 or more, or None")

    def bind(function: Callable[P, R]) -> Job[P, R]:
        takes_payload, payload_type = _signature(function, name)
        return Job(
            target=name,
            function=function,
            payload_type=payload_type,
            decode=_decoder(payload_type, name),
            takes_payload=takes_payload,
            threaded=not inspect.iscoroutinefunction(function),
            retry=retry or RETRY,
            timeout_s=_limit(timeout, name, "timeout"),
            heartbeat_s=_limit(heartbeat, name, "heartbeat"),
            concurrency=concurrency,
            concurrency_total=concurrency_total,
            on_success=on_success,
            on_failure=on_failure,
            description=description or _first_line(function),
            enabled=enabled,
        )

    return bind


class JobRegistry:
    """The jobs a process knows, by target; raises DefinitionError for a target told twice."""

    def __init__(self, jobs: Iterable[AnyJob] = ()) -> None:
        self._jobs: dict[str, AnyJob] = {}
        for one in jobs:
            self.add(one)

    def add(self, one: AnyJob) -> None:
        """Add a job; raises DefinitionError when its target is taken or it is no job."""
        if not isinstance(one, Job):
            raise DefinitionError(f"{one!r} is no job; decorate the function with @job(target)")
        known = self._jobs.get(one.target)
        if known is not None and known is not one:
            raise DefinitionError(
                f"the target {one.target!r} has two jobs, {_name(known.function)} and"
                f" {_name(one.function)}; give one of them another target"
            )
        self._jobs[one.target] = one

    def get(self, target: str) -> AnyJob | None:
        """The job of a target, None when there is none."""
        return self._jobs.get(target)

    def select(self, targets: Iterable[str] | None = None) -> list[AnyJob]:
        """The enabled jobs, or those of ``targets``; raises DefinitionError for an unknown one."""
        if targets is None:
            return [one for one in self if one.enabled]
        return [self._known(target) for target in dict.fromkeys(targets)]

    @property
    def targets(self) -> tuple[str, ...]:
        """All targets, in the order of entry."""
        return tuple(self._jobs)

    def __iter__(self) -> Iterator[AnyJob]:
        return iter(tuple(self._jobs.values()))

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, target: object) -> bool:
        return target in self._jobs

    def _known(self, target: str) -> AnyJob:
        found = self._jobs.get(target)
        if found is None:
            near = difflib.get_close_matches(target, self._jobs, 1)
            known = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(self._jobs)}"
            raise DefinitionError(f"no job has the target {target!r}; {known}")
        return found


def _signature(function: Callable[..., object], target: str) -> tuple[bool, object]:
    """Whether the function takes the payload, and the type to decode it to."""
    what = f"the job {target!r} ({_name(function)})"
    if not inspect.isroutine(function) or inspect.isgeneratorfunction(function):
        raise DefinitionError(f"{what} is no function; decorate a def or an async def")
    if inspect.isasyncgenfunction(function):
        raise DefinitionError(f"{what} yields; a job returns its result")
    parameters = list(inspect.signature(function).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p for p in parameters if p.default is p.empty]
    if not 1 <= len(positional) <= 2 or any(p not in positional for p in needed):
        raise DefinitionError(f"{what} must take (ctx, payload) or (ctx) and nothing else")
    try:
        hints = get_type_hints(function)
    except (NameError, TypeError, AttributeError) as error:
        raise DefinitionError(
            f"{what}: its annotations can't be read: {error}; import their types at the top of the"
            " module, not under TYPE_CHECKING"
        ) from None
    if len(positional) == 2:
        return True, hints.get(positional[1].name, Any)
    context = hints.get(positional[0].name)
    return False, get_args(context)[0] if get_origin(context) is JobContext else Any


def _decoder(payload_type: object, target: str) -> Callable[[bytes], object]:
    try:
        # What a type is can be told only when the program runs.
        return msgspec.json.Decoder(payload_type).decode  # type: ignore[arg-type]
    except TypeError as error:
        raise DefinitionError(
            f"the job {target!r}: payloads can't be decoded to {payload_type!r}: {error};"
            " annotate the payload with a Struct, a dict or Any"
        ) from None


def _limit(duration: Duration | None, target: str, what: str) -> float | None:
    if duration is None:
        return None
    value = seconds(duration)
    if value <= 0:
        raise DefinitionError(f"the {what} of the job {target!r} must be over 0, or None")
    return value


def _checked(check: Callable[[str, str], str], text: str, what: str) -> str:
    try:
        return check(text, what)
    except BadName as error:
        raise DefinitionError(str(error)) from None


def _first_line(function: Callable[..., object]) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]


def _name(function: Callable[..., object]) -> str:
    return str(getattr(function, "__qualname__", function))
