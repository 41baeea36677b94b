"""What is known around an instance, as data: who serves its jobs, what was tried, how long it took
before. ``store.diagnosis`` makes sentences of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from store.port import QueueState

SAMPLE_MIN = 30  # of a history before anything is called late


class Pace(Struct, frozen=True, kw_only=True):
    """How long the same thing took before: percentiles in seconds over ``sample`` times.

    ``followers`` are the message types that ended the wait, the most frequent first.
    """

    sample: int
    p50_s: float
    p95_s: float
    p99_s: float
    followers: tuple[str, ...] = ()


class Tries(Struct, frozen=True, kw_only=True):
    """The last attempt on record at an open command: its number, how it ended and its error."""

    number: int
    error: str = ""
    ended: datetime | None = None


class JobFacts(Struct, frozen=True, kw_only=True):
    """Who serves a target: live workers, when one last did, its queue, and how long it takes."""

    workers: int = 0
    seen: datetime | None = None
    enabled: bool = True
    queue: QueueState | None = None
    pace: Pace | None = None


class ChildFacts(Struct, frozen=True, kw_only=True):
    """A child as it is: its status, empty when it does not exist, and since when."""

    status: str = ""
    since: datetime | None = None


class Letter(Struct, frozen=True):
    """An open dead letter: a message that could not reach an instance."""

    id: str
    type: str
    reason: str
    at: datetime


class Facts(Struct, frozen=True, kw_only=True):
    """What is known around an instance; what is not known has its default.

    ``engines`` are live engines and ``able`` those with code for the saga, None when not asked.
    ``since`` is when the status began, ``paused_by`` and ``paused_why`` who stopped it. ``ahead``
    counts who is before it at a gate: by command id, and under an empty id the instance itself.
    ``expects`` are the types its saga handles beside the starting ones.
    """

    engines: int | None = None
    able: int | None = None
    since: datetime | None = None
    paused_by: str = ""
    paused_why: str = ""
    tries: Mapping[str, Tries] = {}
    jobs: Mapping[str, JobFacts] = {}
    ahead: Mapping[str, int] = {}
    children: Mapping[str, ChildFacts] = {}
    letters: tuple[Letter, ...] = ()
    lost_children: Mapping[str, Letter] = {}
    expects: tuple[str, ...] = ()
    pace: Pace | None = None
