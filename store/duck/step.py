"""One step of a merge: a statement, and the staged tables without which it would do nothing."""

from __future__ import annotations

from msgspec import Struct

from store.projection.staged import Table


class Step(Struct, frozen=True):
    """Run ``sql`` when any of ``needs`` has rows; with none of them always."""

    sql: str
    needs: tuple[Table, ...] = ()


def step(sql: str, *needs: Table) -> Step:
    """A step; without ``needs`` it always runs."""
    return Step(sql.strip(), needs)


def shape(**fields: str) -> str:
    """A shape for ``from_json``, as an SQL text: what has another type there reads as NULL."""
    return "'" + "{" + ", ".join(f'"{name}": {type}' for name, type in fields.items()) + "}'"


def of(type: str) -> str:
    """A field of a DuckDB type in a ``shape``."""
    return f'"{type}"'
