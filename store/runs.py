"""Calling runs by their definition: start, wait for the outcome, and act on what was started.

    runs = Runs(client)
    result = await runs.run(checkout, Order(id="o-1"), key="o-1")

A key names one run. Asked again with the same input, the run that is there answers; another input
under its key is refused. Waiting is pushed by the log, so nothing is asked for over and over.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any, Generic, TypeVar, overload

import msgspec

from sagas.actions import Action, ActionRequest
from sagas.definition import SagaDefinition
from sagas.instance import Instance
from sagas.messages import to_raw
from sagas.programs.step_list import StepList
from store.client import SagaClient
from store.closing import closing
from store.codec import ActionReply
from store.operations import SETTLED, WAIT_S
from store.port import StoreError, Unreachable
from store.run_result import RunResult, result_of

I = TypeVar("I")  # noqa: E741 - input, beside O for output
O = TypeVar("O")  # noqa: E741

RUN_S = 60.0


class RunRefused(StoreError):
    """A run could not be started or acted on; the message says why and what to do."""


class Run(Generic[O]):
    """A run that was started: look at it, wait for it, act on it. ``by`` stands in its history."""

    def __init__(
        self, client: SagaClient, saga: str, key: str, definition: SagaDefinition | None, by: str
    ) -> None:
        self._client = client
        self._definition = definition
        self._by = by
        self.saga = saga
        self.key = key

    async def result(self, timeout: float = RUN_S) -> RunResult[O]:
        """How it ended, or stopped for an operator; raises TimeoutError, Unreachable, LookupError.

        A time-out (seconds) ends the waiting, not the run.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._settled()
        except TimeoutError:
            raise TimeoutError(
                f"{self.saga}/{self.key} has not ended within {timeout:g} s and goes on; ask again"
                f" or follow it with `snorri history {self.saga} {self.key} --follow`"
            ) from None

    async def status(self) -> str:
        """Its status now; raises LookupError when it does not exist."""
        return (await self._now()).status

    async def signal(self, name: str, payload: object = None) -> ActionReply:
        """Send it a signal that it declares; raises RunRefused."""
        return await self._act("signal", ActionRequest(name=name, payload=to_raw(payload)))

    async def query(self, name: str, arguments: Mapping[str, object] | None = None) -> object:
        """The answer of a declared query; raises UnknownQuery, LookupError, and RunRefused when
        only the saga's id is known here.
        """
        if self._definition is None:
            raise RunRefused(f"a query of {self.saga} needs its code; give the definition, no id")
        return await self._client.query(self._definition, self.key, name, arguments)

    async def cancel(self, reason: str = "") -> ActionReply:
        """End it here, nothing is undone; raises RunRefused."""
        return await self._act("cancel", reason=reason)

    async def retry(self, reason: str = "") -> ActionReply:
        """Try again what it is parked with; raises RunRefused."""
        return await self._act("retry", reason=reason)

    async def resume(self, reason: str = "") -> ActionReply:
        """Go on from where it stopped, without repeating what is done; raises RunRefused."""
        status = await self.status()
        if status == "paused":
            return await self._act("resume", reason=reason)
        if status == "parked":
            return await self._act("retry", reason=reason)
        raise RunRefused(
            f"{self.saga}/{self.key} is {status}, so there is nothing to resume; a run goes on when"
            " it is parked or paused, and starts anew under another key"
        )

    async def _act(
        self, action: Action, request: ActionRequest | None = None, *, reason: str = ""
    ) -> ActionReply:
        reply = await self._client.act(
            self.saga, self.key, action, by=self._by, reason=reason, request=request
        )
        if not reply.done:
            raise RunRefused(reply.reason)
        return reply

    async def _now(self) -> Instance:
        instance = await self._client.get(self.saga, self.key)
        if instance is None:
            raise LookupError(f"{self.saga}/{self.key} does not exist; check saga and key")
        return instance

    async def _settled(self) -> RunResult[O]:
        there = await self._client.latest(self.saga, self.key)
        if there is not None and there.instance.status in SETTLED:
            return result_of(there.instance)
        after = there.seq if there is not None else 0
        async with closing(self._client.watch(self.saga, self.key, after)) as revisions:
            async for revision in revisions:
                if revision.instance.status in SETTLED:
                    return result_of(revision.instance)
        raise Unreachable("the connection was closed while waiting for the outcome; ask again")


class Runs:
    """Calls runs through a client that somebody else opens; ``by`` is who stands in histories."""

    def __init__(self, client: SagaClient, *, by: str = "client") -> None:
        self._client = client
        self._by = by

    @overload
    async def run(
        self, saga: StepList[I], input: I, *, key: str | None = None, timeout: float = RUN_S
    ) -> RunResult[Any]: ...

    @overload
    async def run(
        self, saga: str, input: object = None, *, key: str | None = None, timeout: float = RUN_S
    ) -> RunResult[Any]: ...

    async def run(
        self,
        saga: StepList[Any] | str,
        input: object = None,
        *,
        key: str | None = None,
        timeout: float = RUN_S,
    ) -> RunResult[Any]:
        """Start a run and wait for its outcome; raises RunRefused, TimeoutError, Unreachable."""
        return await (await self._begin(saga, input, key)).result(timeout)

    @overload
    async def start(self, saga: StepList[I], input: I, *, key: str | None = None) -> Run[Any]: ...

    @overload
    async def start(
        self, saga: str, input: object = None, *, key: str | None = None
    ) -> Run[Any]: ...

    async def start(
        self, saga: StepList[Any] | str, input: object = None, *, key: str | None = None
    ) -> Run[Any]:
        """Start a run, and go on once it has begun; raises RunRefused, Unreachable."""
        return await self._begin(saga, input, key)

    def get(self, saga: SagaDefinition | str, key: str) -> Run[Any]:
        """A run that was started before; nothing is asked yet."""
        definition = None if isinstance(saga, str) else saga
        id = saga if isinstance(saga, str) else saga.id
        return Run(self._client, id, key, definition, self._by)

    async def _begin(self, saga: SagaDefinition | str, input: object, key: str | None) -> Run[Any]:
        run = self.get(saga, key if key is not None else uuid.uuid4().hex)
        if not isinstance(saga, str):
            _check(saga, input)
        if key is not None and await self._is_there(run, input):
            return run
        reply = await self._client.start(
            run.saga, input, key=run.key, by=self._by, timeout_s=WAIT_S
        )
        # Somebody else may have been quicker under the same key.
        if not reply.done and (reply.pending or not await self._is_there(run, input)):
            raise RunRefused(reply.reason)
        return run

    async def _is_there(self, run: Run[Any], input: object) -> bool:
        """Whether the run exists, begun with this input; raises RunRefused for another input."""
        async with closing(self._client.history(run.saga, run.key)) as revisions:
            async for first in revisions:
                wanted: object = msgspec.json.decode(to_raw(input))
                if msgspec.json.decode(first.instance.cause.payload) == wanted:
                    return True
                raise RunRefused(
                    f"{run.saga}/{run.key} was started with another input; give the new run a key"
                    " of its own"
                )
        return False


def _check(definition: SagaDefinition, input: object) -> None:
    """Refuse here what would park the run at its first message."""
    try:
        definition.handlers[definition.starting[0]].decode(to_raw(input))
    except (msgspec.ValidationError, TypeError) as error:
        raise RunRefused(f"the input does not fit {definition.id}: {error}; correct it") from None
