"""Calling runs by their definition: start, wait for the outcome, and act on what was started.

    async with connect(nats_url="nats://127.0.0.1:4222") as runs:
        result = await runs.run(checkout, Order(id="o-1"), key="o-1")

Over NATS or over HTTP, with the same answers. What a definition takes and gives is known to a type
checker. A key names one run: asked again with the same input, the run that is there answers;
another input under its key is refused. Waiting is pushed, so nothing is asked for over and over.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

import httpx
import msgspec

from sagas.actions import Action, ActionRequest
from sagas.definition import SagaDefinition
from sagas.errors import SagaError
from sagas.messages import to_raw
from sagas.programs.entity import EntityHandler
from sagas.programs.queries import QueryHandler
from sagas.programs.step_list import StepList
from sagas.programs.workflow import Workflow
from store.client import SagaClient
from store.codec import ActionReply
from store.http_runs import HttpRunLine
from store.jetstream.backend import connect as connect_nats
from store.jetstream.login import Login
from store.run_lines import ClientLine, RunLine, RunRefused
from store.run_result import RunFailed, RunFailure, RunResult, StepOutcome, UnexpectedOutput
from store.subjects import Names

__all__ = (
    "CallFailed",
    "Run",
    "RunFailed",
    "RunFailure",
    "RunRefused",
    "RunResult",
    "Runs",
    "StepOutcome",
    "UnexpectedOutput",
    "connect",
)

I = TypeVar("I")  # noqa: E741 - input, beside O for output
O = TypeVar("O")  # noqa: E741
P = ParamSpec("P")
R = TypeVar("R")

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
RUN_S = 60.0


class CallFailed(SagaError):
    """An entity refused a call, or it failed and was undone; ``code`` names the kind of failure."""

    def __init__(self, reason: str, code: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class Run(Generic[O]):
    """A run that was started: look at it, wait for it, act on it."""

    def __init__(self, line: RunLine, saga: SagaDefinition | str, key: str) -> None:
        self._line = line
        self._definition = None if isinstance(saga, str) else saga
        self.saga = saga if isinstance(saga, str) else saga.id
        self.key = key

    async def result(self, timeout: float = RUN_S) -> RunResult[O]:
        """How it ended, or stopped for an operator; raises TimeoutError, Unreachable and
        UnexpectedOutput. A time-out (seconds) ends the waiting, not the run.
        """
        follow = f"ask again or follow it with `snorri history {self.saga} {self.key} --follow`"
        late = f"{self.saga}/{self.key} has not ended within {timeout:g} s and goes on; {follow}"
        result = await _within(timeout, self._line.settled(self.saga, self.key), late)
        return result.typed(getattr(self._definition, "output_type", Any))

    async def status(self) -> str:
        """Its status now; raises LookupError when it does not exist."""
        return await self._line.status(self.saga, self.key)

    async def signal(self, name: str, payload: object = None) -> ActionReply:
        """Send it a signal that it declares; raises RunRefused."""
        return await self._act("signal", ActionRequest(name=name, payload=to_raw(payload)))

    async def query(self, name: str, arguments: Mapping[str, object] | None = None) -> object:
        """The answer of a declared query; raises UnknownQuery, LookupError, and RunRefused when
        only the saga's id is known here and the code is needed.
        """
        code = None if self._definition is None else self._definition.query
        return await self._line.query(code, self.saga, self.key, name, arguments or {})

    async def cancel(self, reason: str = "") -> ActionReply:
        """End it here, nothing is undone; raises RunRefused."""
        return await self._act("cancel", reason=reason)

    async def compensate(self, reason: str = "") -> ActionReply:
        """Have what it did undone, also when it has completed; raises RunRefused."""
        return await self._act("compensate", reason=reason)

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
        wanted = request or ActionRequest()
        reply = await self._line.act(self.saga, self.key, action, wanted, reason)
        if not reply.done:
            raise RunRefused(reply.reason)
        return reply


class Runs:
    """Calls runs through a client that somebody else opens, where ``by`` stands in histories, or
    over any other line; made by ``connect``.
    """

    def __init__(
        self, client: SagaClient | RunLine, *, by: str = "client", trace: str = ""
    ) -> None:
        self._line = ClientLine(client, by) if isinstance(client, SagaClient) else client
        self._trace = trace

    def in_trace(self, trace: str) -> Runs:
        """The same, whose runs go on in a trace: a traceparent, or an id of 32 hex digits. Raises
        ValueError.
        """
        given = trace if "-" in trace else f"00-{trace}-{uuid.uuid4().hex[:16]}-01"
        if _TRACEPARENT.fullmatch(given) is None:
            raise ValueError(f"{trace!r:.80} is no traceparent and no trace id of 32 hex digits")
        return Runs(self._line, trace=given)

    # --- runs

    @overload
    async def run(
        self,
        saga: Workflow[None, O],
        input: None = None,
        *,
        key: str | None = None,
        timeout: float = RUN_S,
    ) -> RunResult[O]: ...

    @overload
    async def run(
        self,
        saga: Workflow[I, O] | StepList[I, O],
        input: I,
        *,
        key: str | None = None,
        timeout: float = RUN_S,
    ) -> RunResult[O]: ...

    @overload
    async def run(
        self, saga: str, input: object = None, *, key: str | None = None, timeout: float = RUN_S
    ) -> RunResult[Any]: ...

    async def run(
        self,
        saga: SagaDefinition | str,
        input: object = None,
        *,
        key: str | None = None,
        timeout: float = RUN_S,
    ) -> RunResult[Any]:
        """Start a run and wait for its outcome; raises RunRefused, TimeoutError, Unreachable."""
        return await (await self._begin(saga, input, key)).result(timeout)

    @overload
    async def start(
        self, saga: Workflow[None, O], input: None = None, *, key: str | None = None
    ) -> Run[O]: ...

    @overload
    async def start(
        self, saga: Workflow[I, O] | StepList[I, O], input: I, *, key: str | None = None
    ) -> Run[O]: ...

    @overload
    async def start(
        self, saga: str, input: object = None, *, key: str | None = None
    ) -> Run[Any]: ...

    async def start(
        self, saga: SagaDefinition | str, input: object = None, *, key: str | None = None
    ) -> Run[Any]:
        """Start a run, and go on once it has begun; raises RunRefused, Unreachable."""
        return await self._begin(saga, input, key)

    @overload
    async def send(
        self, saga: Workflow[None, O], input: None = None, *, key: str | None = None
    ) -> Run[O]: ...

    @overload
    async def send(
        self, saga: Workflow[I, O] | StepList[I, O], input: I, *, key: str | None = None
    ) -> Run[O]: ...

    async def send(
        self, saga: SagaDefinition, input: object = None, *, key: str | None = None
    ) -> Run[Any]:
        """Have a run start and go on as soon as that is stored; a key that is in use keeps the run
        it has. Raises RunRefused, Unreachable.
        """
        run = self.get(saga, key if key is not None else uuid.uuid4().hex)
        _check(saga, input)
        await self._line.send(run.saga, run.key, to_raw(input), uuid.uuid4().hex, self._trace)
        return run

    @overload
    def get(self, saga: Workflow[Any, O] | StepList[Any, O], key: str) -> Run[O]: ...

    @overload
    def get(self, saga: SagaDefinition | str, key: str) -> Run[Any]: ...

    def get(self, saga: SagaDefinition | str, key: str) -> Run[Any]:
        """A run that was started before, an entity, or an instance of any saga; nothing is asked
        yet.
        """
        return Run(self._line, saga, key)

    async def resume(self, saga: SagaDefinition | str, key: str, reason: str = "") -> ActionReply:
        """Have a run go on from where it stopped; see Run.resume."""
        return await self.get(saga, key).resume(reason)

    # --- entities and queries

    async def call(
        self,
        handler: EntityHandler[I, O],
        key: str,
        input: I,
        *,
        id: str | None = None,
        timeout: float = RUN_S,
    ) -> O:
        """Have the entity with this key handle a call and wait for what it gives.

        Under one ``id`` (default: a new one) it is handled once, however often it is called. Raises
        CallFailed, RunRefused, TimeoutError, Unreachable.
        """
        name = f"{handler.entity}/{key}"
        late = f"{name} has not handled {handler.name!r} within {timeout:g} s; it does so later"
        asked = self._line.call(handler.entity, key, handler.request(input), id or uuid.uuid4().hex)
        result = await _within(timeout, asked, late)
        if result.error:
            raise CallFailed(result.error, result.code)
        return cast("O", handler.decode_output(bytes(result.output)))

    async def tell(
        self, handler: EntityHandler[I, Any], key: str, input: I, *, id: str | None = None
    ) -> None:
        """Have the entity with this key handle a call; nobody waits. Raises RunRefused,
        Unreachable.
        """
        payload = to_raw(handler.request(input))
        await self._line.send(handler.entity, key, payload, id or uuid.uuid4().hex, self._trace)

    async def ask(
        self, query: QueryHandler[P, R], key: str, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """What a shared handler of an entity or a query of a workflow answers; arguments are given
        by name. Raises LookupError, RunRefused, UnknownQuery.
        """
        if args:
            raise TypeError(f"give the arguments of the query {query.name!r} by name")
        answer = await self._line.query(query.answer, query.saga, key, query.name, kwargs)
        return cast("R", answer)

    async def _begin(self, saga: SagaDefinition | str, input: object, key: str | None) -> Run[Any]:
        run = self.get(saga, key if key is not None else uuid.uuid4().hex)
        if not isinstance(saga, str):
            _check(saga, input)
        fresh = key is None
        await self._line.start(run.saga, run.key, to_raw(input), fresh=fresh, trace=self._trace)
        return run


@asynccontextmanager
async def connect(
    nats_url: str | None = None,
    base_url: str | None = None,
    *,
    creds: str | None = None,
    tls_ca: str | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    names: Names | None = None,
    by: str = "client",
    token: str | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncGenerator[Runs]:
    """Runs over NATS (``nats_url``) or over the HTTP API (``base_url``).

    Over NATS ``names`` says which installation when namespace or bucket are not the usual ones,
    ``creds`` is a file of credentials, ``tls_ca``, ``tls_cert`` and ``tls_key`` are files for TLS,
    and ``by`` stands in histories. Over HTTP the ``token`` says who asks (secret fields are masked
    there), ``tls_ca`` serves an https address, and ``transport`` may replace the network. Raises
    Unreachable, another StoreError, and ValueError unless exactly one address is given.
    """
    if nats_url is not None and base_url is None:
        where = names or Names()
        login = Login(creds=creds, tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key)
        backend = await connect_nats(nats_url, where, login=login, name="snorri-runs", make=False)
        try:
            yield Runs(SagaClient(backend, where), by=by)
        finally:
            await backend.close()
    elif nats_url is None and base_url is not None:
        line = HttpRunLine(base_url, token=token, tls_ca=tls_ca, transport=transport)
        try:
            yield Runs(line)
        finally:
            await line.close()
    else:
        raise ValueError("give one address: connect(nats_url=…) or connect(base_url=…)")


def _check(definition: SagaDefinition, input: object) -> None:
    """Refuse here what an engine would refuse."""
    try:
        definition.handlers[definition.starting[0]].decode(to_raw(input))
    except (msgspec.ValidationError, TypeError) as error:
        raise RunRefused(f"the input does not fit {definition.id}: {error}; correct it") from None


async def _within(seconds: float, wait: Awaitable[R], late: str) -> R:
    try:
        async with asyncio.timeout(seconds):
            return await wait
    except TimeoutError:
        raise TimeoutError(late) from None
