"""The ways to a running installation that ``store.runs`` speaks over: through a client of the log
here, over HTTP in ``store.http_runs``. Both promise the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import msgspec
from msgspec import Raw

from sagas.actions import Action, ActionRequest
from sagas.instance import Instance
from sagas.programs.entity_state import CallResult, EntityState
from sagas.programs.workflow_signals import EntityCall
from store.client import SagaClient
from store.closing import closing
from store.codec import TRACEPARENT, ActionReply
from store.events import Rejected
from store.operations import SETTLED
from store.port import NO_HEADERS, StoreError, Unreachable
from store.run_result import RunResult, result_of

# The ``query`` of a definition: name, state as it is kept, arguments.
Answer: TypeAlias = Callable[[str, Raw, Mapping[str, object]], object]

START_S = 10.0  # how long an engine may take to read what was sent


class RunRefused(StoreError):
    """A run could not be started or acted on; the message says why and what to do."""


class RunLine(Protocol):
    """What a caller of runs asks of an installation; every method raises Unreachable."""

    async def start(self, saga: str, key: str, input: Raw, *, fresh: bool, trace: str) -> None:
        """Begin a run, or find it begun with this input. ``fresh`` says that nobody else knows the
        key, ``trace`` is a traceparent or empty. Raises RunRefused.
        """
        ...

    async def send(self, saga: str, key: str, payload: Raw, id: str, trace: str) -> None:
        """Publish the event that starts a run or calls an entity. Raises RunRefused."""
        ...

    async def settled(self, saga: str, key: str) -> RunResult[Any]:
        """How a run ended or where it stopped, its output plain; waits for that without end."""
        ...

    async def call(self, saga: str, key: str, call: EntityCall, id: str) -> CallResult:
        """Have an entity handle a call and wait for its end without end. Raises RunRefused."""
        ...

    async def status(self, saga: str, key: str) -> str:
        """The status now; raises LookupError when it does not exist."""
        ...

    async def act(
        self, saga: str, key: str, action: Action, request: ActionRequest, reason: str
    ) -> ActionReply:
        """Take an action; a refusal is a reply, as of ``SagaClient.act``."""
        ...

    async def query(
        self,
        answer: Answer | None,
        saga: str,
        key: str,
        name: str,
        arguments: Mapping[str, object],
    ) -> object:
        """The answer of a declared query; ``answer`` is its code, where it is known here. Raises
        RunRefused, LookupError, and UnknownQuery.
        """
        ...


class ClientLine:
    """A RunLine through a client that somebody else opens; ``by`` stands in histories."""

    def __init__(self, client: SagaClient, by: str) -> None:
        self._client = client
        self._by = by

    async def start(self, saga: str, key: str, input: Raw, *, fresh: bool, trace: str) -> None:
        """See RunLine."""
        if not fresh and await self._is_there(saga, key, input):
            return
        reply = await self._client.start(
            saga, input, key=key, by=self._by, timeout_s=START_S, trace=trace
        )
        # Somebody else may have been quicker under the same key.
        if not reply.done and (reply.pending or not await self._is_there(saga, key, input)):
            raise RunRefused(reply.reason)

    async def send(self, saga: str, key: str, payload: Raw, id: str, trace: str) -> None:
        """See RunLine."""
        headers = {TRACEPARENT: trace} if trace else NO_HEADERS
        receipt = await self._client.publish(saga, payload, key=key, id=id, headers=headers)
        if isinstance(receipt, Rejected):
            kind = Unreachable if receipt.retryable else RunRefused
            raise kind(receipt.reason)

    async def settled(self, saga: str, key: str) -> RunResult[Any]:
        """See RunLine."""
        there = await self._client.latest(saga, key)
        if there is not None and there.instance.status in SETTLED:
            return result_of(there.instance)
        after = there.seq if there is not None else 0
        async with closing(self._client.watch(saga, key, after)) as revisions:
            async for revision in revisions:
                if revision.instance.status in SETTLED:
                    return result_of(revision.instance)
        raise _closed()

    async def call(self, saga: str, key: str, call: EntityCall, id: str) -> CallResult:
        """See RunLine."""
        reply = await self._client.start(saga, call, key=key, by=self._by, timeout_s=START_S, id=id)
        if reply.pending:
            raise Unreachable(reply.reason)
        if not reply.done:
            raise RunRefused(reply.reason)
        async with closing(self._client.watch(saga, key, reply.seq - 1)) as revisions:
            async for revision in revisions:
                result = _result_of_call(revision.instance, id)
                if result is not None:
                    return result
        raise _closed()

    async def status(self, saga: str, key: str) -> str:
        """See RunLine."""
        return (await self._now(saga, key)).status

    async def act(
        self, saga: str, key: str, action: Action, request: ActionRequest, reason: str
    ) -> ActionReply:
        """See RunLine."""
        return await self._client.act(
            saga, key, action, by=self._by, reason=reason, request=request
        )

    async def query(
        self,
        answer: Answer | None,
        saga: str,
        key: str,
        name: str,
        arguments: Mapping[str, object],
    ) -> object:
        """See RunLine."""
        if answer is None:
            raise RunRefused(f"a query of {saga} needs its code; give the definition, no id")
        return answer(name, (await self._now(saga, key)).state, arguments)

    async def _is_there(self, saga: str, key: str, input: Raw) -> bool:
        return await begun_with(self._client, saga, key, input)

    async def _now(self, saga: str, key: str) -> Instance:
        instance = await self._client.get(saga, key)
        if instance is None:
            raise LookupError(f"{saga}/{key} does not exist; check saga and key")
        return instance


async def begun_with(client: SagaClient, saga: str, key: str, input: Raw) -> bool:
    """Whether an instance exists that was begun with this input; raises RunRefused when it was
    begun with another one.
    """
    async with closing(client.history(saga, key)) as revisions:
        async for first in revisions:
            wanted: object = msgspec.json.decode(input)
            if msgspec.json.decode(first.instance.cause.payload) == wanted:
                return True
            raise RunRefused(
                f"{saga}/{key} was started with another input; give the new run a key of its own"
            )
    return False


def _result_of_call(instance: Instance, id: str) -> CallResult | None:
    """The result of a call that an instance has taken, None while it waits or is handled; raises
    RunRefused when it never comes.
    """
    parked = instance.parked.cause if instance.parked else None
    if any(cause.id == id for cause in (*instance.backlog, parked) if cause):
        return None
    try:
        kept = msgspec.json.decode(instance.state, type=EntityState)
    except msgspec.ValidationError:
        raise RunRefused(f"{instance.saga} is no entity; start it, it can't be called") from None
    result = kept.results.get(id)
    if result is None and all(call.id != id for call in kept.calls):
        raise RunRefused(
            f"{instance.saga}/{instance.key} has handled the call {id!r} and keeps its result no"
            " longer; read what it changed, or call again under another id"
        )
    return result


def _closed() -> Unreachable:
    return Unreachable("the connection was closed while waiting for the outcome; ask again")
