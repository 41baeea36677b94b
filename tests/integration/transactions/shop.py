"""A small shop in a database: its tables, and a way to look at them from outside."""

from __future__ import annotations

import enum
from datetime import datetime
from decimal import Decimal
from typing import Any, Self

from sqlalchemy import (
    JSON,
    DateTime,
    Enum,
    ForeignKey,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    func,
    select,
)
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from jobs import Providers
from jobs.database import Database
from jobs.sql_database import OUTCOMES, SqlDatabase, outcomes_table


class Role(enum.Enum):
    """What a user may be."""

    GUEST = "guest"
    MEMBER = "member"


class Base(DeclarativeBase):
    """All tables."""


class User(Base):
    """A row with columns of many types."""

    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(100), unique=True)
    role: Mapped[Role] = mapped_column(Enum(Role), default=Role.GUEST)
    credit: Mapped[Decimal] = mapped_column(Numeric(10, 2, asdecimal=True), default=Decimal("0.00"))
    photo: Mapped[bytes | None] = mapped_column(LargeBinary)
    notes: Mapped[Any] = mapped_column(JSON, default=dict)
    since: Mapped[datetime] = mapped_column(DateTime, server_default=func.now())


class Line(Base):
    """A row with a key of two columns."""

    __tablename__ = "line"
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sku: Mapped[str] = mapped_column(String(20))


class Shop:
    """The database of a test."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.database = SqlDatabase(engine, Base.metadata)
        self.providers = Providers()
        self.providers.provide(Database, self.database)
        self.providers.provide("shop-db", self.database)

    @classmethod
    async def open(cls, url: str) -> Self:
        """Make its tables."""
        shop = cls(create_async_engine(url))
        async with shop.engine.begin() as connection:
            await connection.run_sync(_everything().drop_all)
            await connection.run_sync(Base.metadata.create_all)
        await shop.database.prepare()
        return shop

    async def close(self) -> None:
        """Leave nothing open."""
        await self.engine.dispose()

    async def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table, as others see them."""
        found = _everything().tables[table]
        async with self.engine.connect() as connection:
            rows = await connection.execute(select(found).order_by(*found.primary_key.columns))
            return [dict(row) for row in rows.mappings()]

    async def outcomes(self) -> dict[str, str | None]:
        """What is on record, by the command's id."""
        return {row["command_id"]: row["outcome"] for row in await self.rows(OUTCOMES)}

    async def change(self, table: str, **values: Any) -> None:
        """Somebody else changes all rows of a table."""
        async with self.engine.begin() as connection:
            await connection.execute(_everything().tables[table].update().values(values))

    async def empty(self, table: str) -> None:
        """Somebody else deletes all rows of a table."""
        async with self.engine.begin() as connection:
            await connection.execute(_everything().tables[table].delete())


def _everything() -> MetaData:
    metadata = MetaData()
    for table in Base.metadata.tables.values():
        table.to_metadata(metadata)
    outcomes_table(metadata)
    return metadata
