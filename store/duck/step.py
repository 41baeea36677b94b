"""One step of a merge: a statement, and that without which it would do nothing."""

from __future__ import annotations

from msgspec import Struct

from store.projection.staged import Table

# Added to sequences of the log where they are compared with those of the events stream: what a
# revision says of a command comes after all that events say of it.
LAST_WORD = 2**61

Need = Table | str  # a staged table, or a trait of a batch


class Step(Struct, frozen=True):
    """Run ``sql`` when the batch has any of ``needs``; with none of them always.

    Where it ``tells``, it makes one row, of as many flags: the traits that the batch has. A table
    that is made tells how many rows it has, so one trait says that there are any. Statements are
    left out since planning one takes longer than running it on a small batch.
    """

    sql: str
    needs: tuple[Need, ...] = ()
    tells: tuple[str, ...] = ()


def step(sql: str, *needs: Need, tells: tuple[str, ...] = ()) -> Step:
    """A step; without ``needs`` it always runs."""
    return Step(sql.strip(), needs, tells)


def shape(**fields: str) -> str:
    """A shape for ``from_json``, as an SQL text: what has another type there reads as NULL."""
    return "'" + "{" + ", ".join(f'"{name}": {type}' for name, type in fields.items()) + "}'"


def of(type: str) -> str:
    """A field of a DuckDB type in a ``shape``."""
    return f'"{type}"'
