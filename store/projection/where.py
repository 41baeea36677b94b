"""Conditions of named queries: SQL text and the values bound to it, never mixed. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, TypeAlias

Direction: TypeAlias = Literal["ASC", "DESC"]


class Where:
    """Conditions that all have to hold; a method whose value is None or empty adds none."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.parameters: dict[str, object] = {}

    @property
    def sql(self) -> str:
        """The conditions as one expression, ``true`` without any."""
        return " AND ".join(self.parts) or "true"

    def bind(self, value: object) -> str:
        """The name a value goes by in the SQL."""
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return f"${name}"

    def add(self, sql: str) -> None:
        """A condition of its own; values in it come from ``bind``."""
        self.parts.append(sql)

    def equal(self, column: str, value: str | None) -> None:
        """The column has this value."""
        if value:
            self.add(f"{column} = {self.bind(value)}")

    def one_of(self, column: str, values: Sequence[str]) -> None:
        """The column has one of these values."""
        if values:
            self.add(f"list_contains({self.bind(list(values))}, {column})")

    def between(self, column: str, since: datetime | None, until: datetime | None) -> None:
        """The column is a time from ``since`` on, before ``until``."""
        if since is not None:
            self.add(f"{column} >= {self.bind(since)}")
        if until is not None:
            self.add(f"{column} < {self.bind(until)}")

    def words(self, columns: Sequence[str], words: Sequence[str]) -> None:
        """Every word occurs in one of the columns, in any case."""
        for word in words:
            name = self.bind(any_case(word))
            self.add(f"({' OR '.join(f'regexp_matches({one}, {name})' for one in columns)})")

    def behind(
        self, columns: Sequence[str], place: Sequence[object] | None, direction: Direction
    ) -> None:
        """The row comes after ``place``, the values of ``columns`` in the last row of a page."""
        if place is None:
            return
        sign = "<" if direction == "DESC" else ">"
        values = ", ".join(self.bind(value) for value in place)
        self.add(f"({', '.join(columns)}) {sign} ({values})")


def any_case(text: str) -> str:
    """A regular expression that finds ``text`` whatever its case."""
    return "(?i)" + re.sub(r"([^0-9A-Za-z_\u0080-\U0010ffff])", r"\\\1", text)
