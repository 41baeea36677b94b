"""What a line of the log must not tell: passwords, tokens, and the values of secret fields.

Works on the finished fields of a line, so it does not matter who logged it or how it came in: by
name where a value stands under a name, by looks for tokens and passwords in addresses, and word for
word for the secret values of the command that a job works on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta

import msgspec
from structlog.typing import EventDict

from store.masking import AT_WORK, MASKED, without

ALWAYS = frozenset(
    {"password", "passwd", "authorization", "cookie", "set-cookie", "api_key", "apikey", "secret"}
)
DEPTH_MAX = 20

_LOOKS = re.compile(
    r"(?P<before>\b(?:Bearer|Basic)\s+)[^\s,;'\"]+|(?P<user>//[^/@\s:]*:)[^@\s/]+(?=@)"
    r"|\bsnorri_[A-Za-z0-9_-]{20,}|\$argon2(?:id|i|d)\$[^\s'\"]+",
    re.IGNORECASE,
)
_VALUE = (
    r"""(?:\\?"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\[[^\]]*\]|\{[^}]*\}|\([^)]*\)|[^\s,;)\]}&]+)"""
)

Plain = (str, bytes, int, float, bool, type(None), datetime, date, timedelta)


class Redactor:
    """A processor of structlog, to be the last before a line is written; ``hide`` names fields."""

    def __init__(self) -> None:
        self._source: Callable[[], Iterable[str]] = tuple
        self._names: frozenset[str] = frozenset()
        self._named = re.compile(r"(?!)")
        self._learn(())

    def hide(self, names: Callable[[], Iterable[str]]) -> None:
        """Hide the values of these fields, in place of those before; asked for each line."""
        self._source = names

    def __call__(self, _logger: object, _method: str, line: EventDict) -> EventDict:
        """The line as it may be written."""
        self._learn(self._source())
        for name, value in line.items():
            line[name] = self._shown(name, value, DEPTH_MAX)
        return line

    def text(self, text: str) -> str:
        """A text without what it must not tell."""
        text = without(text, AT_WORK.get())
        text = _LOOKS.sub(lambda m: f"{m['before'] or m['user'] or ''}{MASKED}", text)
        return self._named.sub(lambda m: f"{m['name']}{MASKED}", text)

    def _learn(self, names: Iterable[str]) -> None:
        wanted = ALWAYS.union(name.lower() for name in names)
        if wanted == self._names:
            return
        self._names = wanted
        words = "|".join(re.escape(name) for name in sorted(wanted, key=len, reverse=True))
        self._named = re.compile(
            rf"""(?P<name>(?<!\w)\\*["']?(?:{words})\\*["']?\s*[=:]\s*){_VALUE}""", re.IGNORECASE
        )

    def _shown(self, name: object, value: object, depth: int) -> object:
        if isinstance(name, str) and name.lower() in self._names:
            return MASKED
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes):
            return self.text(value.decode("utf-8", "replace"))
        if isinstance(value, Plain):
            return value
        if depth == 0:
            return MASKED
        if isinstance(value, dict):
            return {key: self._shown(key, one, depth - 1) for key, one in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self._shown("", one, depth - 1) for one in value]
        return self._shown("", _plain(value), depth - 1)


def _plain(value: object) -> object:
    """A Struct or the like as the dict it would be written as, anything else as its own words."""
    try:
        found = msgspec.to_builtins(value, enc_hook=repr)
    except (TypeError, ValueError, RecursionError):
        return repr(value)
    return found if isinstance(found, dict | list | str) else repr(value)
