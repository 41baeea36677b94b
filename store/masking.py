"""Masking: the values of secret fields are replaced in JSON and in the texts around it. Pure.

Works on bytes, so what is not secret stays byte for byte as it was, numbers and duplicate members
included, and a document without any of the names costs two searches. It is linear in the data and
never raises: what is no JSON and holds one of the names is replaced as a whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw

MASKED = "•••"
VALUE_CHARS_MIN = 6  # shorter values would be found in any text
VALUES_MAX = 100  # with more to look for, a text is replaced as a whole

# Members of our own documents that hold what authors and strangers wrote.
FOREIGN_MEMBERS = frozenset({b"state", b"payload", b"result", b"steps", b"input", b"patch"})

# Members that hold words for people, where a value may have been quoted.
TEXT_MEMBERS = frozenset({b"error", b"message", b"traceback", b"reason", b"note", b"refusal"})

_MASK = json.dumps(MASKED, ensure_ascii=False).encode()
_TOKEN = re.compile(rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"(\s*+:\s*+)?+', re.DOTALL)
_BRACKET = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)
_LEAF = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"(\s*+:)?+|[^\s,:\[\]{}"]++', re.DOTALL)
_SCALAR = re.compile(rb"[^\s,\]}]*+")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.\- ]+\Z")

# The secret values of the message that is worked on, for whoever writes a log meanwhile.
AT_WORK: ContextVar[frozenset[str]] = ContextVar("secret values at work", default=frozenset())

_Spans: TypeAlias = Iterator[tuple[int, int]]


def _members(names: Iterable[bytes]) -> re.Pattern[bytes]:
    """Finds the beginning of members with these names, written without escapes, in valid JSON.

    The quote that opens a string never follows a backslash there, and one within a string always
    does, so nothing inside of a string is taken for a member.
    """
    words = b"|".join(re.escape(name) for name in sorted(names))
    return re.compile(rb'"(?<!\\")(?i:' + (words or rb"(?!)") + rb')"\s*+:\s*+')


_FOREIGN = _members(FOREIGN_MEMBERS)
_TEXTS = _members(TEXT_MEMBERS)


class Mask:
    """Replaces the value of every object member whose name is one of ``names``, at any depth.

    Names are compared without regard to case. A string or number of at least six characters that
    was masked is also replaced where it is quoted in an error, message, traceback or reason of the
    same document. JSON may come as bytes or as msgspec.Raw.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = frozenset(name.lower() for name in names if name)
        self._needles = tuple(name.encode() for name in self.names if name.isascii())
        self._plain = _members(self._needles)
        self._wide = len(self._needles) < len(self.names)
        self._odd = any(not _PLAIN_NAME.match(name) for name in self.names if name.isascii())

    def __call__(self, data: bytes) -> bytes:
        """``data`` (JSON) with the values of secret members replaced by ``•••``."""
        data = bytes(data)
        if not self._may_hold(data):
            return data
        if not _is_json(data):
            return _MASK
        masked, values = self._scan(data)
        return _mask_texts(masked, values) if values else masked

    def document(self, data: bytes) -> bytes:
        """A document of ours, masked inside states, payloads, results and steps only.

        So a field that is called like one of ours (``key``, ``status``) can be secret. Texts beside
        them, such as an instance's error, lose what they quote.
        """
        data = bytes(data)
        if not self._may_hold(data):
            return data
        if not _is_json(data):
            return _MASK
        pieces: list[bytes] = []
        values: set[str] = set()
        done = 0
        for start, end in _spans(_FOREIGN, data):
            masked, hidden = self._scan(data[start:end])
            values |= hidden
            pieces += (data[done:start], masked)
            done = end
        pieces.append(data[done:])
        whole = b"".join(pieces)
        return _mask_texts(whole, values) if values else whole

    def text(self, text: str, *sources: bytes) -> str:
        """``text`` without the secret values of ``sources`` (JSON) that it quotes."""
        return without(text, self.values(*sources))

    def values(self, *sources: bytes) -> frozenset[str]:
        """The secret strings and numbers of ``sources`` (JSON), those that are worth hiding."""
        found: set[str] = set()
        for source in map(bytes, sources):
            if self._may_hold(source) and _is_json(source):
                found |= self._scan(source)[1]
        return frozenset(found)

    def _may_hold(self, data: bytes) -> bool:
        """Whether a member of ``data`` can have one of the names; quick for the answer no."""
        if not self.names or not data:
            return False
        lowered = data.lower()
        for needle in self._needles:
            if needle in lowered:
                return True
        return self._may_disguise(lowered)

    def _may_disguise(self, data: bytes) -> bool:
        """Whether a name can be written in ``data`` with escapes or in another case of letters
        beyond ASCII, so that its bytes are not found.
        """
        return (
            b"\\u" in data or (self._odd and b"\\" in data) or (self._wide and not data.isascii())
        )

    def _scan(self, data: bytes) -> tuple[bytes, set[str]]:
        """``data`` masked, and the values that were replaced, long enough to be looked for."""
        pieces: list[bytes] = []
        values: set[str] = set()
        done = 0
        disguised = self._may_disguise(data)
        for start, end in self._each_token(data) if disguised else _spans(self._plain, data):
            values |= _values(data[start:end])
            pieces += (data[done:start], _MASK)
            done = end
        pieces.append(data[done:])
        return b"".join(pieces), values

    def _each_token(self, data: bytes) -> _Spans:
        """Where the values of secret members are, whatever way their names are written."""
        place = 0
        while found := _TOKEN.search(data, place):
            place = found.end()
            if found.group(2) is not None and self._is_secret(found.group(1)):
                place = _value_end(data, start := place)
                yield start, place

    def _is_secret(self, name: bytes) -> bool:
        """Whether the name of a member, as it is written in JSON, is a secret one."""
        if b"\\" in name:
            name = _loads(b'"' + name + b'"').encode("utf-8", "surrogatepass")
        return name.decode("utf-8", "surrogatepass").lower() in self.names


def _spans(members: re.Pattern[bytes], data: bytes) -> _Spans:
    """Where the values of ``members`` are, outermost ones only."""
    place = 0
    while found := members.search(data, place):
        place = _value_end(data, start := found.end())
        yield start, place


def _loads(data: bytes) -> Any:  # whatever JSON holds
    return json.loads(data, strict=False, parse_float=str, parse_int=str)


def _is_json(data: bytes) -> bool:
    try:
        msgspec.json.decode(data, type=Raw)
        data.decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _value_end(data: bytes, start: int) -> int:
    """Where the JSON value that begins at ``start`` ends."""
    first = data[start : start + 1]
    if first not in (b"{", b"["):
        found = (_BRACKET if first == b'"' else _SCALAR).match(data, start)
        return found.end() if found else len(data)
    depth = 0
    for token in _BRACKET.finditer(data, start):
        if token.group() in (b"{", b"["):
            depth += 1
        elif token.group() in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                return token.end()
    return len(data)


def _values(value: bytes) -> set[str]:
    """The strings and numbers of a JSON value that are long enough to be looked for in texts."""
    found: set[str] = set()
    for token in _LEAF.finditer(value):
        text = token.group()
        if token.group(1) is None:  # no name of a member
            word = str(_loads(text)) if text.startswith(b'"') else text.decode()
            found |= {word} if len(word) >= VALUE_CHARS_MIN else set()
    return found


def _mask_texts(data: bytes, values: set[str]) -> bytes:
    """``data`` with ``values`` replaced where a text for people quotes them."""
    pieces: list[bytes] = []
    done = 0
    for start, end in _texts(data):
        text = str(_loads(data[start:end]))
        clean = without(text, values)
        if clean != text:
            pieces += (data[done:start], json.dumps(clean, ensure_ascii=False).encode())
            done = end
    pieces.append(data[done:])
    return b"".join(pieces)


def _texts(data: bytes) -> _Spans:
    """Where the strings are that hold words for people; an error may be an object of them."""
    for found in _TEXTS.finditer(data):
        start = found.end()
        if data[start : start + 1] == b'"':
            yield start, _value_end(data, start)


def without(text: str, values: Collection[str]) -> str:
    """``text`` without ``values``, also where it quotes them as Python or JSON would."""
    if not text or not values:
        return text
    if len(values) > VALUES_MAX:
        return MASKED
    spelled = {
        form for value in values for form in (value, repr(value)[1:-1], json.dumps(value)[1:-1])
    }
    pattern = "|".join(re.escape(form) for form in sorted(spelled, key=len, reverse=True))
    return re.sub(pattern, MASKED, text)
