"""The application with nothing behind it: for its OpenAPI document and its routes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from litestar import Litestar
from litestar.serialization import encode_json

from server.api.app import create_app
from server.api.deps import Deps
from server.api.openapi import complete
from server.loading import load_samples
from server.settings import Settings
from store.client import SagaClient
from store.memory import MemoryBroker
from store.projection.port import Progress
from store.subjects import Names

R = TypeVar("R")


class Nothing:
    """A read model that holds nothing."""

    progress = Progress()

    async def fetch(self, sql: str, parameters: Mapping[str, object], row: type[R]) -> list[R]:
        """No rows."""
        return []

    async def wait_for(self, log_seq: int, timeout_s: float) -> bool:
        """It is as far as it will ever be."""
        return True


def idle_deps() -> Deps:
    """Parts that are there and do nothing."""
    names = Names()
    backend = MemoryBroker(names).backend()
    return Deps(
        settings=Settings(),
        names=names,
        backend=backend,
        client=SagaClient(backend, names),
        read=Nothing(),
        app=load_samples(),
        mask=lambda data: data,
    )


@cache
def idle_app() -> Litestar:
    """The application as it is served."""
    return create_app(idle_deps())


@cache
def document() -> dict[str, Any]:
    """Its OpenAPI document."""
    found: dict[str, Any] = json.loads(encode_json(complete(idle_app(), is_open=True).to_schema()))
    return found
