"""Which steps a workflow function may call: those its code can see, and what their answers are.

Names are looked up in the globals and the closure of the function, in functions of its module and
in nested workflows; whatever else a workflow calls is named in ``steps=[…]``.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast, get_args, get_origin, get_type_hints

import msgspec

from sagas.definition import SagaDefinition
from sagas.errors import DefinitionError
from sagas.programs.steps import AnyStep, Step, StepResponse


def find_steps(
    id: str, functions: Iterable[object], explicit: Iterable[AnyStep]
) -> dict[str, AnyStep]:
    """The steps that functions may call, by name; raises DefinitionError for a name used twice."""
    found: dict[str, AnyStep] = {}
    seen: set[int] = set()
    for step in (*explicit, *(step for one in functions for step in _visible(one, seen))):
        if found.setdefault(step.name, step) is not step:
            raise DefinitionError(
                f"{id}: two steps are named {step.name!r}; each step needs a name of its own"
            )
    return found


def _visible(value: object, seen: set[int]) -> Iterator[AnyStep]:
    """The steps behind a value: itself, inside a collection, or called by a function."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Step):
        yield cast("AnyStep", value)
    elif isinstance(value, types.FunctionType):
        for one in _names(value):
            if not isinstance(one, types.FunctionType) or one.__module__ == value.__module__:
                yield from _visible(one, seen)
    elif isinstance(value, (list, tuple, dict)):
        many = cast("Iterable[object]", value.values() if isinstance(value, dict) else value)
        for one in many:
            if isinstance(one, Step):
                yield from _visible(cast("object", one), seen)
    elif isinstance(value, SagaDefinition):
        function = getattr(value.program, "function", None)  # a nested workflow
        if isinstance(function, types.FunctionType):
            yield from cast("Iterable[AnyStep]", getattr(value.program, "explicit", ()))
            yield from _visible(function, seen)


def _names(function: types.FunctionType) -> Iterator[object]:
    """The values of the names that the code of a function mentions."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue
    names = list(_mentioned(function.__code__))
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, types.ModuleType):
            yield from (getattr(value, other, None) for other in names)
        elif value is not None:
            yield value


def _mentioned(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _mentioned(constant)


def hashed(steps: Iterable[AnyStep]) -> Iterator[object]:
    """What of steps a change of their code or their manner changes."""
    for one in steps:
        yield from (one.name, one.run, one.compensate, one.background, one.strict, one.pivot)


def output_decoder(step: AnyStep) -> Callable[[bytes], Any]:
    """What reads the answers of a step, by the annotation of its function."""
    return msgspec.json.Decoder(returned(step.run)).decode


def returned(function: object) -> Any:
    """The type that a function says it returns, inside of a StepResponse, too; Any for none."""
    hint = _hints(function).get("return", Any)
    if get_origin(hint) is StepResponse:
        return get_args(hint)[0]
    return Any if hint is StepResponse else hint


def input_type(function: types.FunctionType) -> tuple[int, Any]:
    """How many arguments a workflow function takes, and the type of the second one."""
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    return len(names), _hints(function).get(names[1], Any) if len(names) > 1 else None


def _hints(function: object) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        return {}
