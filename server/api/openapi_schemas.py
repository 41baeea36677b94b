"""Makes the schemas that Litestar derives say what the server does, where the two differ.

- A union's members may overlap (any JSON, or null), so it is ``anyOf`` and never ``oneOf``.
- A Struct that refuses unknown fields says so.
- A parameter that may be left out is no parameter that may be null: a URL can't say that.
- A least value of 0 is kept; an array of one type is not an array of anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import Operation, Parameter, Reference, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import KwargDefinition
from msgspec import Struct, inspect

AnySchema = Schema | Reference


def truthful(schema: AnySchema | None) -> None:
    """Correct a schema and all within it, in place."""
    if not isinstance(schema, Schema):
        return
    if isinstance(schema.items, Schema) and schema.items.one_of:
        named = [one for one in schema.items.one_of if one != Schema()]
        if len(named) == 1 < len(schema.items.one_of):  # of tuple[T, ...] the dots count as a type
            schema.items = named[0]
    if schema.one_of:
        schema.any_of, schema.one_of = [*schema.one_of], None
    for part in _parts(schema):
        truthful(part)


def close(schemas: Mapping[str, AnySchema], handler: HTTPRouteHandler) -> None:
    """Say of the body of ``handler``, and of all Structs within, which take no other fields."""
    field = handler.parsed_fn_signature.parameters.get("data")
    if field is None:
        return
    titles = {cls.__name__ for cls in _structs(field.annotation) if _is_closed(cls)}
    for schema in schemas.values():
        if isinstance(schema, Schema) and schema.title in titles:
            schema.additional_properties = False


def correct_parameters(operation: Operation, handler: HTTPRouteHandler) -> None:
    """Correct the schemas of the parameters of ``operation``."""
    least = {
        getattr(field.kwarg_definition, "name", None) or name: field.kwarg_definition.ge
        for name, field in handler.parsed_fn_signature.parameters.items()
        if isinstance(field.kwarg_definition, KwargDefinition)
    }
    for parameter in operation.parameters or []:
        if not isinstance(parameter, Parameter) or not isinstance(parameter.schema, Schema):
            continue
        schema = parameter.schema
        truthful(schema)
        real = [one for one in schema.any_of or [] if not _is_null(one)]
        if len(real) == 1 and isinstance(real[0], Schema):
            only = real[0]
            schema.any_of = None
            schema.type, schema.items, schema.enum = only.type, only.items, only.enum
        elif real:
            schema.any_of = real
        if least.get(parameter.name) is not None:
            schema.minimum = float(least[parameter.name])  # type: ignore[arg-type]


def _parts(schema: Schema) -> Iterator[AnySchema]:
    yield from (schema.properties or {}).values()
    for group in (schema.any_of, schema.all_of, schema.prefix_items):
        yield from group or []
    for one in (schema.items, schema.additional_properties):
        if isinstance(one, Schema | Reference):
            yield one


def _is_null(schema: AnySchema) -> bool:
    return isinstance(schema, Schema) and schema.type == OpenAPIType.NULL


def _is_closed(cls: type[Struct]) -> bool:
    return bool(cls.__struct_config__.forbid_unknown_fields)


def _structs(annotation: object) -> set[type[Struct]]:
    """All Structs within a type."""
    found: set[type[Struct]] = set()

    def visit(kind: inspect.Type) -> None:
        match kind:
            case inspect.StructType(cls=cls):
                if cls not in found:
                    found.add(cls)
                    for field in kind.fields:
                        visit(field.type)
            case inspect.UnionType(types=types):
                for one in types:
                    visit(one)
            case inspect.Metadata(type=inner):
                visit(inner)
            case inspect.DictType(value_type=value):
                visit(value)
            case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
                visit(item)
            case _:
                pass

    visit(msgspec.inspect.type_info(annotation))
    return found
