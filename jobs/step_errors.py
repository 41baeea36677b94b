"""Which errors end a step for good, and which are tried again.

An ErrorPolicy belongs to one list of steps, to one step, or, at the top level of a module, to a
whole app; what is registered here by function holds for the process. Asked in this order, the
first one with an opinion decides; an error nobody has an opinion on is tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from jobs.outcome import PermanentFailure
from sagas.errors import DefinitionError
from sagas.programs.steps import StepResponse

# What a mapper makes of an error: a failure for good, another try, or None for no opinion.
Mapped: TypeAlias = "StepResponse[Any] | PermanentFailure | Literal['retry'] | None"
Mapper: TypeAlias = Callable[[Exception], Mapped]


class ErrorPolicy(Struct, frozen=True, kw_only=True):
    """``terminal`` errors end a step without another try, so does a failure that ``mapper`` gives
    (``StepResponse.permanent_failure``); its "retry" has an error tried again in any case.

    Raises DefinitionError for what is no class of exceptions.
    """

    terminal: tuple[type[Exception], ...] = ()
    mapper: Mapper | None = None

    def __post_init__(self) -> None:
        _checked(self.terminal)

    def of(self, error: Exception) -> Mapped:
        """What this policy says of an error; raises what the mapper raises."""
        mapped = self.mapper(error) if self.mapper else None
        if mapped is None and isinstance(error, self.terminal):
            return PermanentFailure(_text(error), code=type(error).__name__)
        return mapped


class _Process:
    """What was registered for this process."""

    def __init__(self) -> None:
        self.terminal: dict[type[Exception], None] = {}
        self.mapper: Mapper | None = None


_PROCESS = _Process()


def register_terminal_errors(errors: Iterable[type[Exception]]) -> None:
    """Have these errors, and their subclasses, end any step of this process without another try."""
    _PROCESS.terminal.update(dict.fromkeys(_checked(tuple(errors))))


def unregister_terminal_errors(errors: Iterable[type[Exception]]) -> None:
    """Take the registration of these errors back; unknown ones are passed over."""
    for error in errors:
        _PROCESS.terminal.pop(error, None)


def clear_terminal_errors() -> None:
    """Forget all registered errors; the mapper stays."""
    _PROCESS.terminal.clear()


def set_error_mapper(mapper: Mapper | None) -> None:
    """Have ``mapper`` look at the errors of all steps of this process; None takes it back."""
    _PROCESS.mapper = mapper


def opinion(policies: Iterable[ErrorPolicy], error: Exception) -> Mapped:
    """What the first policy with an opinion says of an error, the process's own last.

    Raises what a mapper raises.
    """
    process = ErrorPolicy(terminal=tuple(_PROCESS.terminal), mapper=_PROCESS.mapper)
    for policy in (*policies, process):
        mapped = policy.of(error)
        if mapped is not None:
            return mapped
    return None


def _checked(errors: tuple[object, ...]) -> tuple[type[Exception], ...]:
    for error in errors:
        if not (isinstance(error, type) and issubclass(error, Exception)):
            raise DefinitionError(f"{error!r:.80} is no class of exceptions; name the class itself")
    return errors  # type: ignore[return-value] # each was looked at


def _text(error: Exception) -> str:
    try:
        text = str(error)
    except Exception:  # an exception may fail at its own text
        text = ""
    return text or type(error).__name__
