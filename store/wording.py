"""Spans, times and counts as people say them, for sentences about what waits. Pure."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta

WORDS_MAX = 5
FIRST_LINE_CHARS_MAX = 160

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def span(length: timedelta | float) -> str:
    """A length of time (a float is seconds) in its largest fitting unit: ``41 s``, ``2 h``.

    >>> span(90)
    '90 s'
    """
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    for size, unit in _UNITS:
        # Less than two of a unit are told in the smaller one: 90 s says more than 2 min.
        if seconds >= size * (1.95 if size > 1 else 1):
            return f"{round(seconds / size)} {unit}"
    return f"{max(0, round(seconds * 1000))} ms"


def clock(at: datetime) -> str:
    """A time in UTC to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def count(number: int, thing: str) -> str:
    """A number with its thing: ``1 message``, ``1,204 messages``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def either(words: tuple[str, ...]) -> str:
    """Words in a row: ``A``, ``A or B``, ``A, B, C or 4 more``."""
    shown = list(words[:WORDS_MAX])
    if len(words) > WORDS_MAX:
        shown.append(f"{len(words) - WORDS_MAX} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"


def first_line(text: str) -> str:
    """The first line of an error, cut to what fits into a sentence."""
    line = text.strip().partition("\n")[0].rstrip(" .;")
    if len(line) <= FIRST_LINE_CHARS_MAX:
        return line
    return f"{line[: FIRST_LINE_CHARS_MAX - 1]}…"


def command_line(*words: str) -> str:
    """A command to copy into a shell."""
    return f"`{shlex.join(words)}`"
