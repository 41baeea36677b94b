"""One line to try: a starting message of an app with a payload that its handler can read."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import inspect
from msgspec.inspect import Field

from sagas import SagaDefinition
from server.loading import SAMPLES, App

SAMPLE = '{"orderId":"o-1001","items":[{"productId":"tea","quantity":2}],"total":4999}'
KEY = "k-1"


def example_of(app: App) -> tuple[str, str, str]:
    """Type, payload as JSON, and key of a message that starts an instance of the app."""
    starts = [(saga, type) for saga in app.registry for type in saga.starting]
    if app.modules == SAMPLES and any(type == "OrderCreated" for _, type in starts):
        return "OrderCreated", SAMPLE, "o-1001"
    if not starts:
        return "SomethingHappened", "{}", KEY
    saga, type = starts[0]
    return type, msgspec.json.encode(_payload(saga, type)).decode(), KEY


def _payload(saga: SagaDefinition, type: str) -> dict[str, object]:
    shape = inspect.type_info(saga.handlers[type].payload_type)
    fields: tuple[Field, ...] = ()
    if isinstance(shape, inspect.StructType | inspect.DataclassType | inspect.TypedDictType):
        fields = tuple(shape.fields)
    payload = {field.encode_name: _value(field) for field in fields if field.required}
    rule = saga.correlations.get(type, saga.correlation)
    if isinstance(rule, str):
        _set(payload, rule, KEY)
    return payload


def _set(payload: dict[str, object], path: str, value: str) -> None:
    head, _, rest = path.partition(".")
    if not rest:
        payload[head] = value
        return
    inner = payload.get(head)
    below: dict[str, object] = dict(inner) if isinstance(inner, Mapping) else {}
    _set(below, rest, value)
    payload[head] = below


def _value(field: Field) -> object:
    match field.type:
        case inspect.IntType() | inspect.FloatType():
            return 1
        case inspect.BoolType():
            return False
        case inspect.ListType() | inspect.CollectionType() | inspect.SetType():
            return []
        case inspect.DictType() | inspect.StructType() | inspect.TypedDictType():
            return {}
        case _:
            return "text"
