"""Paths of our own routes, as answers refer to them."""

from __future__ import annotations

from urllib.parse import quote


def instance_path(saga: str, key: str) -> str:
    """Where an instance is looked at; every character that needs it is escaped."""
    return f"/api/v1/sagas/instances/{quote(saga, safe='')}/{quote(key, safe='')}"


def bulk_path(id: str) -> str:
    """Where a bulk job tells how far it is."""
    return f"/api/v1/sagas/bulk/{quote(id, safe='')}"


def replay_path(id: str) -> str:
    """Where the replay of a saga tells how far it is and what came out."""
    return f"/api/v1/sagas/replays/{quote(id, safe='')}"
