"""Cron expressions: a check before the broker sees them, so that a wrong one fails where it is
written.

The broker's form has six fields, seconds first (ADR-51), and the words ``@every 5m``, ``@hourly``
…; the five-field form of Unix cron is taken as that with second 0, and a Sunday that is 7 as 0.
"""

from __future__ import annotations

import re

from sagas.durations import seconds
from sagas.errors import DefinitionError

_WORDS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_FIELDS = (
    ("second", 0, 59),
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day", 1, 31),
    ("month", 1, 12),
    ("weekday", 0, 7),
)
_NAMES = re.compile(
    r"\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|sun|mon|tue|wed|thu|fri|sat)\b",
    re.IGNORECASE,
)
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_PART = re.compile(r"(?:\*|\?|(\d+)(?:-(\d+))?)(?:/(\d+))?")


def check_cron(expression: str) -> str:
    """The expression in the broker's six-field form; raises DefinitionError with the field that is
    wrong.
    """
    text = expression.strip()
    if text.startswith("@every "):
        if seconds(text[7:].strip()) < 1:
            raise DefinitionError(
                f"the schedule {expression!r} is shorter than a second; use at least 1s"
            )
        return text
    if text in _WORDS:
        return text
    fields = text.split()
    if len(fields) == 5:
        fields = ["0", *fields]
    if len(fields) != 6:
        raise DefinitionError(
            f"the schedule {expression!r} has {len(fields)} fields; write second minute hour"
            " day month weekday"
        )
    for field, (name, low, high) in zip(fields, _FIELDS, strict=True):
        for part in field.split(","):
            _check_part(part, name, low, high, expression)
    return " ".join([*fields[:5], _from_sunday(fields[5])])


def _check_part(part: str, name: str, low: int, high: int, expression: str) -> None:
    if name in ("month", "weekday") and _NAMES.search(part):
        part = _NAMES.sub(str(low), part)
    match = _PART.fullmatch(part)
    numbers = [int(number) for number in match.groups()[:2] if number] if match else []
    if not match or any(not low <= number <= high for number in numbers) or match.group(3) == "0":
        raise DefinitionError(
            f"the schedule {expression!r}: {part!r} is no {name} ({low} to {high})"
        )
    if len(numbers) == 2 and numbers[0] > numbers[1]:
        raise DefinitionError(
            f"the schedule {expression!r}: the {name} range {part!r} runs backwards"
        )


def _from_sunday(weekdays: str) -> str:
    """The field without a 7, which the broker refuses."""
    return ",".join(_days_of(part) for part in weekdays.split(","))


def _days_of(part: str) -> str:
    span, _, step = part.partition("/")
    first, _, last = span.lower().partition("-")
    if "7" not in (first, last):
        return part
    start = _DAYS.index(first) if first in _DAYS else int(first)
    return ",".join(str(day % 7) for day in range(start, 8, int(step or 1)))
