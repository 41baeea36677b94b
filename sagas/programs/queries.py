"""Declared queries of workflows and entities: functions that a client may ask by themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from msgspec import Raw

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class QueryHandler(Generic[P, R]):
    """A query of the saga ``saga``; called, it is the author's ``(state, …)`` function itself.

    ``answer`` is the ``query`` of its definition: name, state as it is kept, arguments.
    """

    saga: str
    name: str
    function: Callable[Concatenate[Any, P], R]
    answer: Callable[[str, Raw, Mapping[str, object]], object]

    def __call__(self, state: Any, *args: P.args, **kwargs: P.kwargs) -> R:
        """What it answers about a state."""
        return self.function(state, *args, **kwargs)
