"""What makes two failures the same: their cause with everything that varies taken out. Pure.

The same rules run here and, as SQL, over all failures at once. So each pattern stays within what
Python and RE2 read alike: plain ASCII classes, no look-around, the leftmost match.
"""

from __future__ import annotations

import hashlib
import re

TEXT_CHARS_MAX = 300
FINGERPRINT_CHARS = 16
_SEPARATOR = "\x1f"

_QUOTED = tuple(
    # A quote inside a word is an apostrophe. Twice, since neighbours share the space between them.
    (rf"(^|[^A-Za-z0-9_]){mark}[^{mark}]*{mark}($|[^A-Za-z0-9_])", r"\1<text>\2")
    for mark in ("'", '"', "`")
    for _ in range(2)
)
_VALUES = (
    (r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}", "<uuid>"),
    (
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?"
        r"(Z|[+-][0-9]{2}:?[0-9]{2})?",
        "<time>",
    ),
    (r"[A-Za-z0-9_.+-]+@[A-Za-z0-9-]+([.][A-Za-z0-9-]+)+", "<email>"),
    # Any word with a digit in it: numbers, ids, keys, hashes, versions.
    (r"[A-Za-z0-9_=.%+-]*[0-9]([A-Za-z0-9_=.%+-]*[A-Za-z0-9_])?", "<n>"),
)
_SPACE = ((r"[ \t\r\f\v]+", " "),)

# What these say in quotes is a name in the code, which is the cause itself.
NAMING = ("KeyError", "AttributeError", "NameError", "ImportError", "ModuleNotFoundError")

RULES = (*_QUOTED, *_VALUES, *_SPACE)
RULES_NAMING = (*_VALUES, *_SPACE)

_compiled = {
    rules: [(re.compile(pattern, re.ASCII), replacement) for pattern, replacement in rules]
    for rules in (RULES, RULES_NAMING)
}


def normalise(error_type: str, message: str) -> str:
    """The first line of a message with ids, numbers, times and quoted values replaced.

    >>> normalise("ValueError", "order 'o-1' has 3 items")
    'order <text> has <n> items'
    """
    text = message.partition("\n")[0].strip(" ")[:TEXT_CHARS_MAX]
    for pattern, replacement in _compiled[RULES_NAMING if error_type in NAMING else RULES]:
        text = pattern.sub(replacement, text)
    return text


def fingerprint(*parts: str) -> str:
    """The short name of a cause: 16 hex digits of the hash of what makes it the same."""
    digest = hashlib.sha256(_SEPARATOR.join(parts).encode("utf-8", "replace"))
    return digest.hexdigest()[:FINGERPRINT_CHARS]


def normalise_sql(error_type: str, message: str) -> str:
    """``normalise`` as a DuckDB expression over two columns."""
    line = f"left(trim(split_part({message}, chr(10), 1), ' '), {TEXT_CHARS_MAX})"
    names = ", ".join(_literal(name) for name in NAMING)
    # Each rule once: what takes time for a few messages is planning the expression.
    unquoted = (
        f"CASE WHEN {error_type} IN ({names}) THEN {line} ELSE {_replaced(line, _QUOTED)} END"
    )
    return _replaced(unquoted, RULES_NAMING)


def fingerprint_sql(*columns: str) -> str:
    """``fingerprint`` as a DuckDB expression over columns without nulls."""
    joined = f" || chr({ord(_SEPARATOR)}) || ".join(columns)
    return f"left(sha256({joined}), {FINGERPRINT_CHARS})"


def _replaced(text: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        text = f"regexp_replace({text}, {_literal(pattern)}, {_literal(replacement)}, 'g')"
    return text


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
