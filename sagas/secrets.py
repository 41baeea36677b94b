"""Secret fields: the mark authors put on them, and the names under which they stand in JSON.

    class Card(msgspec.Struct):
        number: Annotated[str, Secret]

What is recorded in the log stays as it is. Whoever shows, projects or logs it replaces the value of
every member with such a name, at any depth, so a name that is secret somewhere is secret anywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Any, cast, get_args, get_origin, get_type_hints, is_typeddict

import msgspec
from msgspec import Struct


class Secret:
    """Marks a field: ``number: Annotated[str, Secret]`` is hidden from all but admins."""


def secret_names(*types: object) -> frozenset[str]:
    """The names of all secret fields of ``types``, nested ones too, as JSON spells them.

    Structs, dataclasses and TypedDicts have fields; what a type can't tell (a plain dict, Any) is
    named in the settings.
    """
    names: set[str] = set()
    seen: set[object] = set()
    open_types = list(types)
    while open_types:
        for part in _parts(open_types.pop()):
            if isinstance(part, type) and part not in seen:
                seen.add(part)
                for name, annotation in _fields(part):
                    if any(_is_mark(inner) for inner in _parts(annotation)):
                        names.add(name)
                    open_types.append(annotation)
    return frozenset(names)


def _parts(annotation: object) -> Iterator[object]:
    """An annotation, what it is made of, and the marks on it; classes are not entered."""
    yield annotation
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from cast("tuple[object, ...]", getattr(annotation, "__metadata__", ()))
        yield from _parts(get_args(annotation)[0])
        return
    if origin is not None:
        yield origin
    for part in get_args(annotation):
        yield from _parts(part)
    alias = getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__", None)
    if alias is not None and not isinstance(annotation, type):
        yield from _parts(alias)


def _is_mark(part: object) -> bool:
    return part is Secret or isinstance(part, Secret)


def _fields(kind: type[Any]) -> Iterator[tuple[str, object]]:
    """Name in JSON and annotation of each field."""
    if not (issubclass(kind, Struct) or dataclasses.is_dataclass(kind) or is_typeddict(kind)):
        return
    hints = get_type_hints(kind, include_extras=True)
    renamed = (
        {field.name: field.encode_name for field in msgspec.structs.fields(kind)}
        if issubclass(kind, Struct)
        else {}
    )
    for name, annotation in hints.items():
        yield renamed.get(name, name), annotation
