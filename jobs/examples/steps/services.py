"""What the steps of ``container`` and ``factory`` work with, and who provides it.

``Database`` lives as long as the worker, ``Items`` for one command: it is opened for the run of a
step, or its undo, and closed after it. Which ``Access`` it works with depends on the tenant.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from msgspec import Struct

from jobs import Providers


class Database:
    """Collections of rows, in memory; outlives all commands of a worker."""

    def __init__(self) -> None:
        self.collections: dict[str, dict[str, dict[str, Any]]] = {}


class Access(Struct, frozen=True):
    """On whose behalf rows are read and written: the schema they are in, and who does it."""

    schema: str
    user: str


class Items:
    """Rows of the schema that an access is for."""

    def __init__(self, database: Database, access: Access) -> None:
        self._database = database
        self.access = access
        self.is_open = True

    def put(self, collection: str, id: str, **fields: Any) -> None:
        """Create a row or change some of its fields."""
        rows = self._rows(collection)
        rows[id] = {**rows.get(id, {}), **fields, "by": self.access.user}

    def delete(self, collection: str, id: str) -> None:
        """Remove a row; one that is not there is no fault, since an undo may run twice."""
        self._rows(collection).pop(id, None)

    def get(self, collection: str, id: str) -> dict[str, Any] | None:
        """A row, or None."""
        return self._rows(collection).get(id)

    def _rows(self, collection: str) -> dict[str, dict[str, Any]]:
        if not self.is_open:
            raise RuntimeError("the items of this command are closed")
        name = f"{self.access.schema}.{collection}"
        return self._database.collections.setdefault(name, {})


async def items(database: Database, access: Access) -> AsyncIterator[Items]:
    """Open for one command; what follows the yield runs when its attempt has ended."""
    made = Items(database, access)
    yield made
    made.is_open = False


providers = Providers()
providers.provide(Database, Database)
providers.provide(Access, Access("public", "app"))
providers.provide(Items, items, scope="command")
providers.for_tenant("acme", {Access: Access("acme", "ada")})
providers.for_tenant("globex", {Access: Access("globex", "bob")})
