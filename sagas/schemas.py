"""JSON Schemas of the messages a saga takes: for forms and for publishers of any kind. Pure."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from sagas.definition import SagaDefinition
from sagas.messages import to_raw

SCHEMA_BYTES_MAX = 8_000
SCHEMAS_BYTES_MAX = 64_000  # of all of a saga together: they stand in its card


def message_schemas(definition: SagaDefinition) -> dict[str, Raw]:
    """The schema of each message type and signal whose handler says what its payload is.

    Types without a schema, and schemas that are too large, are left out.
    """
    found: dict[str, Raw] = {}
    room = SCHEMAS_BYTES_MAX
    for group in (definition.handlers, definition.signals):
        for type, handler in group.items():
            schema = _schema(handler.payload_type)
            if schema is not None and len(bytes(schema)) <= min(room, SCHEMA_BYTES_MAX):
                found[type] = schema
                room -= len(bytes(schema))
    return found


def _schema(payload_type: object) -> Raw | None:
    try:
        schema = msgspec.json.schema(payload_type)
    except (TypeError, ValueError):  # a type that only Python knows
        return None
    return to_raw(schema) if schema else None
