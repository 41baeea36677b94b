"""What a job holds while it runs: its command, and the few things it may ask of its worker.

Owns no connection: publishing and resolving are handed in. A job that runs in a thread may read
everything here and call ``heartbeat``; ``publish`` and ``resolve`` are for async jobs.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, overload

import msgspec
import structlog
from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from sagas.names import check_key, check_name
from sagas.retry import RetryPolicy
from store.job_calls import JobCalls

if TYPE_CHECKING:
    from jobs.dependencies import Need

P = TypeVar("P")
T = TypeVar("T")


class Command(Struct, frozen=True, kw_only=True):
    """A command as its headers tell it; ``key_token`` is the key as it stands in subjects,
    ``sends`` how often it was sent.
    """

    id: str
    target: str
    key: str
    key_token: str
    idempotency_key: str
    saga: str = ""
    version: int = 0
    deadline: datetime | None = None
    retry: RetryPolicy | None = None
    trace: str = ""
    sends: int = 1


class Desk(Protocol):
    """What a running attempt offers its job."""

    def beat(self) -> None:
        """Note a sign of life."""
        ...

    async def publish(self, type: str, key: str, payload: bytes, msg_id: str) -> None:
        """Store an event; raises StoreError."""
        ...

    async def resolve(self, key: object) -> object:
        """A dependency; raises DependencyError."""
        ...

    async def resolve_need(self, need: Need) -> tuple[bool, object]:
        """Whether somebody provides a parameter, and its value; raises DependencyError."""
        ...

    @property
    def calls(self) -> JobCalls:
        """What a step asks of other jobs goes through this."""
        ...


class JobContext(Generic[P]):
    """The first argument of every job.

    ``payload`` is decoded; ``command_id`` stays the same over all attempts, and ``idempotency_key``
    (the command id unless the saga gave one) is what to hand to a payment provider; ``attempt``
    counts deliveries from 1; ``deadline`` (UTC) is when an answer is of no use any more; ``trace``
    is the traceparent of the command.
    """

    __slots__ = ("_command", "_desk", "_log", "_published", "attempt", "payload")

    def __init__(self, command: Command, attempt: int, payload: P, desk: Desk) -> None:
        self.payload = payload
        self.attempt = attempt
        self._command = command
        self._desk = desk
        self._log: FilteringBoundLogger | None = None
        self._published = 0

    @property
    def command_id(self) -> str:
        return self._command.id

    @property
    def idempotency_key(self) -> str:
        return self._command.idempotency_key

    @property
    def target(self) -> str:
        return self._command.target

    @property
    def saga(self) -> str:
        return self._command.saga

    @property
    def key(self) -> str:
        return self._command.key

    @property
    def version(self) -> int:
        return self._command.version

    @property
    def deadline(self) -> datetime | None:
        return self._command.deadline

    @property
    def trace(self) -> str:
        return self._command.trace

    @property
    def tenant(self) -> str:
        """Whose run a step belongs to, where its definition says so; empty for other jobs."""
        return ""

    @property
    def log(self) -> FilteringBoundLogger:
        """A logger that says on each line which command, instance and attempt it is about."""
        if self._log is None:
            command = self._command
            # structlog can't say which logger its set-up gives.
            logger: FilteringBoundLogger = structlog.get_logger(f"jobs.{command.target}")
            self._log = logger.bind(
                command=command.id,
                saga=command.saga,
                key=command.key,
                attempt=self.attempt,
                trace=command.trace,
            )
        return self._log

    def heartbeat(self) -> None:
        """Say that the work goes on; cheap, not awaited, and safe to call from a thread."""
        self._desk.beat()

    async def publish(self, type: str, payload: object = None, key: str | None = None) -> None:
        """Publish an event now, ordered under ``key`` (default: the instance's). Raises StoreError.

        Its id is made from the command's and a counter: when an attempt is repeated and publishes
        the same events in the same order, each of them is stored once.
        """
        check_name(type, "event type")
        key = self.key if key is None else check_key(key)
        self._published += 1
        body = msgspec.json.encode(payload)
        await self._desk.publish(type, key, body, f"{self.command_id}.p{self._published}")

    @overload
    async def resolve(self, key: type[T]) -> T: ...

    @overload
    async def resolve(self, key: str) -> object: ...

    async def resolve(self, key: object) -> object:
        """A dependency by its type or name; raises DependencyError when nobody provides it."""
        return await self._desk.resolve(key)
