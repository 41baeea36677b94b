"""Goal: the example in an editor fits the handler it is made for.

Method: schemas that msgspec writes of types; what is made of them is decoded as that type again.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

import msgspec
import pytest
from msgspec import Struct

from sagas.definition import SagaDefinition
from sagas.examples.checkout import checkout
from sagas.examples.nightly import nightly
from sagas.examples.reminder import reminder
from sagas.schemas import message_schemas
from ui.example import example_of


class Part(Struct):
    name: str
    inner: Part | None = None


class Everything(Struct):
    at: date
    kind: Literal["a", "b"]
    parts: list[Part]
    amount: float
    done: bool
    note: str | None = None
    most: int = 7


def test_an_example_of_every_kind_of_field_can_be_read_as_its_type() -> None:
    made = example_of(msgspec.json.encode(msgspec.json.schema(Everything)))
    read = msgspec.json.decode(made, type=Everything)
    assert (read.kind, read.most, read.parts[0].name) == ("a", 7, "")


@pytest.mark.parametrize("definition", [checkout, nightly, reminder], ids=lambda one: one.id)
def test_examples_fit_the_handlers_of_the_samples(definition: SagaDefinition) -> None:
    schemas = message_schemas(definition)
    assert schemas
    for type, schema in schemas.items():
        handler = definition.handlers.get(type) or definition.signals[type]
        handler.decode(msgspec.Raw(example_of(bytes(schema))))


def test_what_is_no_schema_gives_an_empty_object() -> None:
    assert example_of(b"not json") == b"{}"
    assert example_of(b"[]") == b"{}"
