"""The page on the tables of SQL, made from the schema of the projections."""

from __future__ import annotations

from pathlib import Path

from store.projection.schema import RELATIONS

TABLES = Path(__file__).resolve().parents[2] / "docs" / "sql-tables.md"

HEAD = """# The tables of SQL

What `POST /api/v1/sql`, `snorri sql` and the SQL page can ask; [queries](queries.md) has examples
and the functions `state_at`, `history`, `diff` and `sagas_at`. All of it is made from the two
streams and may be deleted at any time: `snorri rebuild` makes it anew.

Times are `TIMESTAMPTZ` in UTC, durations are milliseconds. JSON columns hold what was recorded,
with the values of secret fields replaced; numbers in them are as precise as a double. Rows of one
commit become visible together.

The built-in instances that keep limits of concurrency (`Snorri-Gate`) are left out of `instances`,
`transitions` and `effects`. Messages that could not be read at all make no rows; their number is
`unreadable` in `GET /api/v1/projections`.
"""


def tables_page() -> str:
    """The page with every relation and every column."""
    parts = [HEAD]
    for relation in RELATIONS:
        rows = [f"| `{one.name}` | `{one.type}` | {one.doc} |" for one in relation.columns]
        head = f"## {relation.name}\n\n{relation.doc}\n\n| column | type | what |\n|---|---|---|\n"
        parts.append(head + "\n".join(rows) + "\n")
    return "\n".join(parts)
