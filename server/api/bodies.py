"""Request bodies decoded once and exactly: what a client calls JSON stays the bytes it sent.

Litestar reads a body into plain values and converts these; a payload written anew from them would
have other bytes. ``Exact`` decodes the bytes straight into the handler's Struct, whose ``Raw``
fields then hold what was sent. A handler whose ``data`` has a default takes it for no body at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from litestar.dto import AbstractDTO
from litestar.exceptions import ClientException, ValidationException
from litestar.openapi.spec import Reference, Schema
from litestar.typing import FieldDefinition
from msgspec import Struct

T = TypeVar("T", bound=Struct)

_PLACE = re.compile(r" - at `\$\.?(.*)`\Z")


class Exact(AbstractDTO[T]):
    """Give a handler ``dto=Exact[Body]`` beside ``data: Body``, and ``return_dto=None``."""

    @classmethod
    def create_for_field_definition(
        cls, field_definition: FieldDefinition, handler_id: str, backend_cls: Any = None
    ) -> None:
        """Nothing to prepare: the Struct itself is what is decoded."""

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: Any
    ) -> Reference | Schema:
        """The schema of the Struct."""
        schema: Reference | Schema = schema_creator.for_field_definition(field_definition)
        return schema

    def decode_bytes(self, value: bytes) -> T:
        """The Struct in a body; raises a 400 that says where it is wrong."""
        try:
            body: T = _decoder(self.model_type)(value)
        except msgspec.ValidationError as error:
            raise _invalid(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ClientException(detail=f"The body is not JSON: {error}.") from None
        return body


@lru_cache(maxsize=256)
def _decoder(kind: type[T]) -> Callable[[bytes], T]:
    return msgspec.json.Decoder(kind).decode


def _invalid(text: str) -> ValidationException:
    found = _PLACE.search(text)
    place = found.group(1) if found else ""
    message = text[: found.start()] if found else text
    one = {"message": message, "key": place, "source": "body"}
    return ValidationException(detail="The body does not fit this route", extra=[one])
