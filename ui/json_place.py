"""JSON that people typed: where it goes wrong, by line and column, with what stands there. Pure."""

from __future__ import annotations

import json

import msgspec
from msgspec import Raw, Struct

from store.masking import MASKED

AROUND = 30  # characters shown before and behind the place


class Place(Struct, frozen=True, kw_only=True):
    """What is wrong with a text and where: ``at`` counts from 0 as browsers count (UTF-16, a
    line end is one), ``line`` and ``column`` are characters from 1.

    ``before`` and ``behind`` are what stands around the place on its line.
    """

    words: str
    at: int
    line: int
    column: int
    before: str
    behind: str


def json_of(text: str) -> Raw | Place:
    """The JSON of a field, ``null`` for an empty one, or why it can't be that.

    A mask that was shown instead of a secret is no value to send, so it is refused too.
    """
    if not text.strip():
        return Raw(b"null")
    if MASKED in text:
        return _place(text, text.index(MASKED), f"write what shall stand instead of {MASKED}")
    try:
        json.loads(text)
        msgspec.json.decode(text)  # stricter: no NaN, no lone surrogates
    except json.JSONDecodeError as error:
        return _place(text, error.pos, error.msg[:1].lower() + error.msg[1:])
    except (msgspec.DecodeError, ValueError) as error:
        return _place(text, 0, str(error))
    except RecursionError:
        return _place(text, 0, "it is nested too deeply")
    return Raw(text.strip().encode())


def _place(text: str, at: int, words: str) -> Place:
    start = text.rfind("\n", 0, at) + 1
    stop = text.find("\n", at)
    line = text[start : stop if stop >= 0 else len(text)]
    column = at - start
    return Place(
        words=words,
        at=len(text[:at].replace("\r\n", "\n").encode("utf-16-le", "replace")) // 2,
        line=text.count("\n", 0, at) + 1,
        column=column + 1,
        before=line[max(0, column - AROUND) : column],
        behind=line[column : column + AROUND],
    )
