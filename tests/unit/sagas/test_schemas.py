"""Schemas of messages: what handlers declare, as JSON Schema, within limits.

Goal: a form or another language can build a message from what stands in the card. Method: small
definitions with typed, untyped and huge payloads.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct, defstruct

from sagas import Message, SagaHandle, define_saga
from sagas.schemas import SCHEMA_BYTES_MAX, SCHEMAS_BYTES_MAX, message_schemas


class Placed(Struct):
    """A payload."""

    id: str
    total: int = 0


def _placed(saga: SagaHandle[Any], message: Message[Placed]) -> None: ...


def _untyped(saga: SagaHandle[Any], message: Message[Any]) -> None: ...


def test_what_handlers_declare() -> None:
    """Typed messages and signals have a schema, others have none."""
    saga = (
        define_saga("S")
        .state({})
        .on("Placed", _placed)
        .on("Anything", _untyped)
        .on_signal("hurry", _placed)
        .build()
    )

    schemas = message_schemas(saga)

    assert set(schemas) == {"Placed", "hurry"}
    schema = msgspec.json.decode(schemas["Placed"])
    assert schema["$defs"]["Placed"]["required"] == ["id"]


def test_large_schemas_are_left_out() -> None:
    """One that is too large, and all that would make the card too large together."""

    def handler(fields: int) -> Any:
        payload = defstruct("Wide", [(f"field_{n:04}", int) for n in range(fields)])

        def handle(saga: Any, message: Any) -> None: ...

        handle.__annotations__["message"] = Message[payload]  # type: ignore[valid-type]
        return handle

    draft = define_saga("S").state({}).on("Huge", handler(1000))
    for n in range(20):
        draft = draft.on(f"Wide{n}", handler(100))

    schemas = message_schemas(draft.build())

    sizes = [len(bytes(schema)) for schema in schemas.values()]
    assert "Huge" not in schemas
    assert max(sizes) <= SCHEMA_BYTES_MAX
    assert 0 < len(schemas) < 20
    assert sum(sizes) <= SCHEMAS_BYTES_MAX
