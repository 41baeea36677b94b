"""From where an action in the browser came, as histories keep it."""

from __future__ import annotations

from typing import Any

from litestar import Request
from litestar.datastructures import State

from ui.desk import Who


def origin_of(request: Request[Who, Any, State]) -> str:
    """The door and the address: ``dashboard 127.0.0.1``."""
    address = request.client.host if request.client else ""
    return f"dashboard {address}".strip()
