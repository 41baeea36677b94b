"""What differs between two JSON documents, field by field. Pure.

Objects are compared member by member and arrays place by place, down to the values. A path is
written as filters take it: ``customer.id``, ``items.0.sku``, ``"odd.name".x``; the empty path is
the document itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias, cast

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

Kind: TypeAlias = Literal["added", "removed", "changed"]
Path: TypeAlias = tuple[str, ...]

DIFFERENCES_MAX = 1000
_PLAIN = re.compile(r'[^.=!<>~"\s]+\Z')


class Difference(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One place that differs: what stood there and what stands there now, left out where nothing
    was or is.
    """

    path: str
    kind: Kind
    before: Raw | UnsetType = UNSET
    after: Raw | UnsetType = UNSET


def differences(before: bytes, after: bytes) -> tuple[list[Difference], bool]:
    """The differences of two documents in the order of their paths, and whether there are more
    than DIFFERENCES_MAX; raises msgspec.DecodeError.
    """
    if before == after:
        return [], False
    found: list[Difference] = []
    for one in _walk((), msgspec.json.decode(before), msgspec.json.decode(after)):
        if len(found) == DIFFERENCES_MAX:
            return found, True
        found.append(one)
    return found, False


def path_text(path: Path) -> str:
    """A path as people write it."""
    return ".".join(step if _PLAIN.match(step) else _quoted(step) for step in path)


def _quoted(step: str) -> str:
    return '"' + step.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _walk(path: Path, before: Any, after: Any) -> Iterator[Difference]:
    if isinstance(before, dict) and isinstance(after, dict):
        old, new = cast("dict[str, object]", before), cast("dict[str, object]", after)
        for name in old:
            if name in new:
                yield from _walk((*path, name), old[name], new[name])
            else:
                yield _gone((*path, name), old[name])
        for name in new:
            if name not in old:
                yield _new((*path, name), new[name])
    elif isinstance(before, list) and isinstance(after, list):
        olds, news = cast("list[object]", before), cast("list[object]", after)
        for place in range(max(len(olds), len(news))):
            here = (*path, str(place))
            if place >= len(news):
                yield _gone(here, olds[place])
            elif place >= len(olds):
                yield _new(here, news[place])
            else:
                yield from _walk(here, olds[place], news[place])
    elif (old := _raw(before)) != (new := _raw(after)):
        yield Difference(path=path_text(path), kind="changed", before=old, after=new)


def _gone(path: Path, value: object) -> Difference:
    return Difference(path=path_text(path), kind="removed", before=_raw(value))


def _new(path: Path, value: object) -> Difference:
    return Difference(path=path_text(path), kind="added", after=_raw(value))


def _raw(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value))
