"""JSON that people edit before it is sent again: no secrets shown, sent only when changed. Pure.

A field of a form comes back with other line ends, and with the mask where a secret stood. Both are
no change: what the mask hides is put back from the original, so nobody has to know it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from store.masking import MASKED
from ui.format import compact, pretty

EDITED_MAX = 1_000_000  # characters; a broker takes no larger message


class BadField(ValueError):
    """Something that was filled in can't be meant; the message says what to correct."""


def to_edit(original: bytes, mask: Callable[[bytes], bytes]) -> str:
    """The text of a field for ``original`` (JSON), its secret values masked; indented while that
    leaves room.
    """
    if not original:
        return ""
    masked = mask(original)
    text = pretty(masked, EDITED_MAX + 1)
    return text if len(text) <= EDITED_MAX else compact(masked)


def edited(
    text: str, original: bytes, mask: Callable[[bytes], bytes], name: str = "payload"
) -> Raw | None:
    """What a field now says, None when that is what ``original`` says; raises BadField."""
    if not text.strip():
        return None if not original else Raw(b"null")
    given = parsed(text, name)
    masked = _loads(mask(original))
    if _same(given, masked):
        return None
    if MASKED not in text:
        return Raw(msgspec.json.format(text.encode(), indent=-1))  # blanks count for the broker
    whole = _unmasked(given, masked, _loads(original))
    made = msgspec.json.encode(whole)
    if MASKED in made.decode():
        raise BadField(f"the {name} still has {MASKED} in it; write what shall stand there")
    return Raw(made)


def parsed(text: str, name: str = "payload") -> Any:  # whatever JSON holds
    """The value of a field that holds JSON; raises BadField."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadField(f"the {name} is not JSON: {error}; check quotes and commas") from None


def _loads(data: bytes) -> Any:  # whatever JSON holds
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None


def _same(one: object, other: object) -> bool:
    # As text, since 1 and true and 1.0 are equal in Python.
    return msgspec.json.encode(one) == msgspec.json.encode(other)


def _unmasked(given: Any, masked: Any, original: Any) -> Any:
    """``given`` with the original's value wherever the mask was left as it stood."""
    if given == MASKED and masked == MASKED:
        return original
    if isinstance(given, dict) and isinstance(masked, dict) and isinstance(original, dict):
        return {k: _unmasked(v, masked.get(k), original.get(k)) for k, v in given.items()}
    if isinstance(given, list) and isinstance(masked, list) and isinstance(original, list):
        padding = [None] * len(given)
        rows = zip(given, [*masked, *padding], [*original, *padding], strict=False)
        return [_unmasked(*row) for row in rows]
    return given
