"""What the pages work with, handed in by whoever mounts them; types of store and sagas only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Protocol

from litestar import Request
from litestar.datastructures import State
from msgspec import Struct

from sagas.definition import Registry
from store.client import SagaClient
from store.diagnosis_gather import Diagnosis
from store.failure_notes import FailureNotes
from store.port import Meta
from store.projection.attempts import Attempts
from store.projection.console import Answer, Query
from store.projection.port import ReadModel
from store.projection.strays import Strays
from store.projection.throughput import Throughput
from store.room import RoomReader
from store.subjects import Names
from ui.bulk import Bulk
from ui.replays import Replays
from ui.sending import Sending
from ui.system import System
from ui.waves import Waves


class Who(Protocol):
    """The person who asks, as the access rules know them (``request.user``)."""

    @property
    def name(self) -> str: ...

    @property
    def role(self) -> str: ...

    @property
    def via(self) -> str: ...


class Desk(Struct, kw_only=True):
    """The parts behind the dashboard, one for a process.

    ``registry`` holds the definitions this process has loaded (graphs and plans need them),
    ``diagnosis`` says what an instance waits for, ``base`` is the path the pages are mounted at
    without a slash at its end, ``csrf`` gives the token that a form of this visitor must carry
    (empty where none is needed), ``may`` tells whether a visitor has the rights of a role, ``mask``
    hides secret fields in JSON, ``mask_text`` in a text that may quote them from JSON, ``shower``
    gives ``mask``, or to an admin who asks, on record, what hides nothing,
    ``ask`` answers SQL for a visitor and keeps a record of it, ``strays`` counts events that no
    saga handles, ``throughput`` what went through, ``attempts`` how jobs went, ``room`` knows
    whether new sagas are taken.
    """

    client: SagaClient
    read: ReadModel
    meta: Meta
    names: Names
    registry: Registry
    diagnosis: Diagnosis
    now: Callable[[], datetime]
    mask: Callable[[bytes], bytes]
    mask_text: Callable[[str, bytes], str]
    shower: Callable[[Request[Who, Any, State], bool, str], Callable[[bytes], bytes]]
    may: Callable[[Who, str], bool]
    csrf: Callable[[Request[Who, Any, State]], str]
    ask: Callable[[Request[Who, Any, State], Query], Awaitable[Answer]]
    sending: Sending
    system: System
    waves: Waves
    replays: Replays
    notes: FailureNotes
    bulk: Bulk
    strays: Strays
    room: RoomReader
    throughput: Throughput
    attempts: Attempts
    base: str = ""
