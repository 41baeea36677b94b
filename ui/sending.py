"""What the pages need to send things: the desk's part for publishing, starting and running jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager

from msgspec import Struct

from sagas.messages import Address
from store.cards import SagaCard
from store.job_runs import JobRuns
from store.port import WorkQueues

Receivers = Callable[[str, str | None, bytes, Mapping[str, str]], Awaitable[list[Address] | None]]


class Sending(Struct, frozen=True, kw_only=True):
    """``receivers`` says which instances an event (type, key, payload, headers) names, None when
    that can't be told; ``key_of`` which key a saga's starting payload names, None for any new one
    (raises ValueError with the next step); ``traced`` opens a span for something that is sent and
    gives its traceparent, empty without tracing.
    """

    receivers: Receivers
    key_of: Callable[[SagaCard, object], str | None]
    runs: JobRuns
    queues: WorkQueues
    traced: Callable[[str], AbstractContextManager[str]]
