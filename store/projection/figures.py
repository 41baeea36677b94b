"""Counts over the projections that metrics show: named queries and the rows they give."""

from __future__ import annotations

from msgspec import Struct

INSTANCES_BY_STATUS = """
    SELECT saga, status, count(*) AS count FROM instances GROUP BY saga, status
"""
OPEN_LETTERS = "SELECT count(*) AS count FROM dead_letters WHERE status = 'open'"
PENDING_TIMERS = "SELECT count(*) AS count FROM timers WHERE status = 'pending'"


class StatusCount(Struct, frozen=True):
    """How many instances of a saga have a status."""

    saga: str
    status: str
    count: int


class Count(Struct, frozen=True):
    """A number of rows."""

    count: int
