"""The functions of steps as their authors write them: which parameters they take, of which types.

    async def reserve(ctx, input: Order, *, stock: Stock) -> …

The first parameter is the context, the second one by position the input (for an undo: the data),
decoded to its annotation; all others are dependencies. Pure: nothing is called here.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, cast, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Raw, Struct
from msgspec import inspect as shapes

from jobs.dependencies import Need, needs_of
from jobs.step_context import StepContext, data_of
from sagas.errors import DefinitionError
from sagas.messages import NULL
from sagas.programs.steps import StepCall

Read = Callable[[StepCall], Any]

_FIELDS = msgspec.json.Decoder(dict[str, Raw]).decode
_OBJECTS = (shapes.StructType, shapes.TypedDictType, shapes.DataclassType, shapes.DictType)


class StepFunction(Struct, frozen=True, kw_only=True):
    """The signature of a function: ``second_type`` is what its second parameter is decoded to,
    ``input_type`` what ``ctx.input`` is, None where it does not say.
    """

    takes_second: bool
    second_type: object
    input_type: object
    needs: tuple[Need, ...]
    threaded: bool


def read_function(function: Callable[..., Any], what: str) -> StepFunction:
    """The signature of a step's function; ``what`` names it in the DefinitionError it raises."""
    plain = function.func if isinstance(function, functools.partial) else function
    if not inspect.isroutine(plain):
        plain = cast("Callable[..., Any]", type(plain).__call__)
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        raise DefinitionError(f"{what} yields; a step returns its result")
    try:
        parameters = list(inspect.signature(function).parameters.values())
        hints = get_type_hints(plain)
    except (NameError, TypeError, AttributeError, ValueError) as error:
        raise DefinitionError(
            f"{what}: its annotations can't be read: {error}; import their types at the top of the"
            " module, not under TYPE_CHECKING"
        ) from None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if not positional:
        raise DefinitionError(f"{what} must take a context first: (ctx) or (ctx, input)")
    context, *others = positional
    named = [p for p in parameters if p not in positional]
    return StepFunction(
        takes_second=bool(others),
        second_type=hints.get(others[0].name, Any) if others else None,
        input_type=_input_type(hints.get(context.name)),
        needs=needs_of([*others[1:], *named], hints),
        threaded=not inspect.iscoroutinefunction(plain),
    )


def reads_argument(type: object, what: str) -> Read:
    """Reads the input of a workflow's step. Raises DefinitionError."""
    decode = _decoder(type, what)
    return lambda call: decode(call.input)


def reads_data(type: object, what: str) -> Read:
    """Reads the data of an undo. Raises DefinitionError."""
    decode = _decoder(type, what)
    return lambda call: decode(data_of(call))


def reads_context(type: object, what: str) -> Read:
    """Reads an input out of the context of a list, which holds its fields among others; an input
    that is no object stands in the field ``input``. Raises DefinitionError.
    """
    decode = _decoder(type, what)
    shape = shapes.type_info(type)
    if not _is_object(shape):
        return lambda call: decode(_FIELDS(call.context).get("input", NULL))
    if not (isinstance(shape, shapes.StructType) and shape.forbid_unknown_fields):
        return lambda call: decode(call.context)
    names = {field.encode_name for field in shape.fields}

    def own_fields(call: StepCall) -> object:
        found = {name: raw for name, raw in _FIELDS(call.context).items() if name in names}
        return decode(msgspec.json.encode(found))

    return own_fields


def _is_object(shape: shapes.Type) -> bool:
    if isinstance(shape, shapes.UnionType):
        return any(_is_object(one) for one in shape.types)
    return isinstance(shape, (*_OBJECTS, shapes.AnyType))


def _input_type(annotation: object) -> object:
    """``T`` of ``StepContext[T]``; Any says nothing."""
    if get_origin(annotation) is not StepContext or get_args(annotation)[0] is Any:
        return None
    return get_args(annotation)[0]


def _decoder(type: object, what: str) -> Callable[[Raw | bytes], Any]:
    fault = "JSON has no such type"
    try:
        if not isinstance(shapes.type_info(type), shapes.CustomType):
            # What a type is can be told only when the program runs.
            return msgspec.json.Decoder(type).decode  # type: ignore[arg-type]
    except TypeError as error:
        fault = str(error)
    raise DefinitionError(
        f"{what}: its second parameter can't be decoded to {type!r}: {fault}; annotate it with a"
        " Struct, a dict or Any, and put dependencies after a * or in third place"
    )
