"""What an action takes and gives, for the OpenAPI document: its saga's types as JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.responses import Responses

from sagas import SagaDefinition

JSON = "application/json"
_REFERENCE = "#/{name}"
_OBJECT: Mapping[str, Any] = {"type": "object"}


@dataclass
class JsonSchema(Schema):
    """A schema as it stands, made from a type."""

    document: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def to_schema(self) -> dict[str, Any]:
        """As it stands."""
        return dict(self.document)


def operation_of(saga: SagaDefinition) -> type[Operation]:
    """The operation of an action: its body is the input of ``saga`` without what the path gives."""
    body = _schema(getattr(saga, "input_type", Any), _OBJECT)
    if "required" in body:
        body["required"] = [name for name in body["required"] if name != "id"]
    gives = _schema(getattr(saga, "output_type", Any), {})

    @dataclass
    class ActionOperation(Operation):
        """An operation whose handler reads its body by itself."""

        def __post_init__(self) -> None:
            content = {JSON: OpenAPIMediaType(schema=JsonSchema(document=body))}
            self.request_body = RequestBody(content=content, description="The input of the run")
            done = cast("Responses", self.responses or {}).get("200")
            if done is not None:
                done.description = "What the run completed with"  # type: ignore[union-attr]
                given = {JSON: OpenAPIMediaType(schema=JsonSchema(document=gives))}
                done.content = given  # type: ignore[union-attr]

    return ActionOperation


def _schema(type: object, unknown: Mapping[str, Any]) -> dict[str, Any]:
    try:
        (schema,), parts = msgspec.json.schema_components((type,), ref_template=_REFERENCE)
    except (TypeError, ValueError):  # a type that only Python knows
        return dict(unknown)
    return cast("dict[str, Any]", _whole(schema, parts, ())) or dict(unknown)


def _whole(value: Any, parts: Mapping[str, Any], inside: tuple[str, ...]) -> Any:
    """The same with each reference replaced; one to what it stands in is left open."""
    if isinstance(value, list):
        return [_whole(one, parts, inside) for one in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    known = cast("dict[str, Any]", value)
    name = str(known.get("$ref", "")).removeprefix("#/")
    if name in inside:
        return {}
    if name:
        return _whole(parts[name], parts, (*inside, name))
    return {key: _whole(one, parts, inside) for key, one in known.items() if key != "discriminator"}
