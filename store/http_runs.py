"""Runs over the HTTP API: the same as over NATS, for programs that reach nothing else.

Requests that lost their answer may be sent again: a run is started under its key once, a call is
handled under its id once, an action is taken once under its Idempotency-Key.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import quote

import httpx
import msgspec
from msgspec import Raw, Struct

from sagas.actions import Action, ActionRequest
from sagas.instance import Status
from sagas.messages import NULL
from sagas.operations import given
from sagas.programs.entity_state import CallResult
from sagas.programs.workflow_signals import EntityCall
from store.codec import TRACEPARENT, ActionReply
from store.http_publishing import (
    RETRIED_STATUSES,
    HttpOptions,
    checked_address,
    tls_verification,
)
from store.port import Unreachable
from store.run_lines import Answer, RunRefused
from store.run_result import RunFailure, RunResult, StepOutcome

API = "/api/v1/sagas"
WAIT_MS = 30_000  # of one request; the API is asked again while a run goes on
ANSWER_S = 15.0  # beyond what the API was asked to wait
ATTEMPTS = 4
PAUSE_S = 0.1


class _Outcome(Struct, frozen=True, kw_only=True, rename="camel"):
    saga: str
    key: str
    settled: bool
    status: Status = "running"
    version: int = 0
    success: bool = False
    result: Any = None
    context: Any = None
    steps: dict[str, StepOutcome] = {}
    failure: RunFailure | None = None
    attempts: int = 1
    trace_id: str = ""


class _Called(Struct, frozen=True):
    done: bool
    output: Raw = NULL


class _Problem(Struct, frozen=True):
    type: str = ""
    title: str = ""
    detail: str = ""
    reason: str = ""  # of an event that was not published
    next: str = ""
    code: str = ""
    current_version: int = msgspec.field(default=0, name="currentVersion")
    current_status: str = msgspec.field(default="", name="currentStatus")


class _Refusal(RunRefused):
    """A problem document of the API."""

    def __init__(self, status: int, problem: _Problem) -> None:
        words = f"{problem.detail or problem.reason} {problem.next}".strip() or problem.title
        super().__init__(words or f"the API answered {status}")
        self.status = status
        self.problem = problem


class HttpRunLine:
    """``store.run_lines.RunLine`` over the API at ``base_url``; raises ValueError when that is no
    address.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        tls_ca: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        headers = checked_address(base_url, HttpOptions(token=token))
        timeout = httpx.Timeout(WAIT_MS / 1000 + ANSWER_S, connect=ANSWER_S)
        self._client = httpx.AsyncClient(
            base_url=base_url,
            headers=headers,
            timeout=timeout,
            transport=transport,
            verify=tls_verification(tls_ca),
        )

    async def close(self) -> None:
        """End the connections."""
        await self._client.aclose()

    async def start(self, saga: str, key: str, input: Raw, *, fresh: bool, trace: str) -> None:
        """See RunLine."""
        # A fresh key joins, too: the request may be sent twice.
        body = {"input": input, "key": key, "join": True}
        path = f"{API}/sagas/{_token(saga)}/start"
        answer = await self._ask("POST", path, body, trace=trace)
        if answer.status_code == 202:
            raise RunRefused(
                f"{saga}/{key} was not begun: no engine has read it in time; it begins when one"
                " does, so ask for its result later"
            )

    async def send(self, saga: str, key: str, payload: Raw, id: str, trace: str) -> None:
        """See RunLine."""
        body = {"type": saga, "key": key, "payload": payload, "id": id}
        await self._ask("POST", f"{API}/publish", body, trace=trace)

    async def settled(self, saga: str, key: str) -> RunResult[Any]:
        """See RunLine."""
        path = f"{_instance(saga, key)}/result?timeoutMs={WAIT_MS}"
        while True:
            try:
                answer = await self._ask("GET", path)
            except _Refusal as error:
                if error.status != 404 or not error.problem.type.endswith("no-such-instance"):
                    raise
                continue  # not begun yet; the API has waited for it
            if answer.status_code == 200:
                return _result(_decoded(answer, _Outcome))

    async def call(self, saga: str, key: str, call: EntityCall, id: str) -> CallResult:
        """See RunLine."""
        path = f"{_instance(saga, key)}/call/{_token(call.handler)}"
        body = {"input": call.input, "id": id, "timeoutMs": WAIT_MS}
        while True:
            try:
                answer = await self._ask("POST", path, body)
            except _Refusal as error:
                if error.status != 422:
                    raise
                return CallResult(error=error.problem.detail, code=error.problem.code)
            called = _decoded(answer, _Called)
            if called.done:
                return CallResult(output=called.output)

    async def status(self, saga: str, key: str) -> str:
        """See RunLine."""
        answer = await self._look(f"{_instance(saga, key)}?waits=false")
        return str(_decoded(answer, dict[str, Any])["status"])

    async def act(
        self, saga: str, key: str, action: Action, request: ActionRequest, reason: str
    ) -> ActionReply:
        """See RunLine."""
        body: dict[str, object] = {"reason": reason}
        if action == "signal":
            body["name"] = request.name
            if given(request.payload):
                body["payload"] = request.payload
        try:
            path = f"{_instance(saga, key)}/{action}"
            answer = await self._ask("POST", path, body, once=True)
        except _Refusal as error:
            now = error.problem
            return ActionReply(
                done=False,
                saga=saga,
                key=key,
                version=now.current_version,
                status=now.current_status,
                reason=str(error),
            )
        return _decoded(answer, ActionReply)

    async def query(
        self,
        answer: Answer | None,
        saga: str,
        key: str,
        name: str,
        arguments: Mapping[str, object],
    ) -> object:
        """See RunLine."""
        texts = {
            one: value if isinstance(value, str) else msgspec.json.encode(value).decode()
            for one, value in arguments.items()
        }
        path = f"{_instance(saga, key)}/query/{_token(name)}?{httpx.QueryParams(texts)}"
        return _decoded(await self._look(path), dict[str, Any])["result"]

    async def _look(self, path: str) -> httpx.Response:
        try:
            return await self._ask("GET", path)
        except _Refusal as error:
            raise (LookupError(str(error)) if error.status == 404 else error) from None

    async def _ask(
        self, method: str, path: str, body: object = None, *, once: bool = False, trace: str = ""
    ) -> httpx.Response:
        """The answer of the API, asked again when none came; ``once`` for what must not happen
        again then, in the trace of a traceparent. Raises RunRefused and Unreachable.
        """
        content = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"} if content else {}
        if once:
            headers["Idempotency-Key"] = uuid.uuid4().hex
        if trace:
            headers[TRACEPARENT] = trace
        why = ""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = await self._client.request(method, path, content=content, headers=headers)
            except (httpx.HTTPError, RuntimeError) as error:  # RuntimeError: closed meanwhile
                why = str(error) or type(error).__name__
            else:
                if answer.is_success:
                    return answer
                if answer.status_code not in RETRIED_STATUSES:
                    raise _problem(answer)
                why = f"it answered {answer.status_code}"
            if attempt < ATTEMPTS:
                await asyncio.sleep(PAUSE_S * 2**attempt)
        raise Unreachable(
            f"the API at {self._client.base_url} did not answer: {why}; check the address and that"
            " `snorri serve` runs"
        )


def _problem(answer: httpx.Response) -> Exception:
    try:
        problem = msgspec.json.decode(answer.content, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Unreachable(
            f"{answer.url} answered {answer.status_code} and is no API of Snorri; correct base_url"
        )
    return _Refusal(answer.status_code, problem)


def _decoded(answer: httpx.Response, type: Any) -> Any:
    try:
        return msgspec.json.decode(answer.content, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreachable(
            f"{answer.url} answered with something else than an API of Snorri does: {error};"
            " correct base_url"
        ) from None


def _result(outcome: _Outcome) -> RunResult[Any]:
    failure = outcome.failure
    context: object = outcome.context
    return RunResult(
        saga=outcome.saga,
        key=outcome.key,
        version=outcome.version,
        status=outcome.status,
        success=outcome.success,
        output=outcome.result,
        context=cast("dict[str, Any]", context) if isinstance(context, dict) else {},
        steps=outcome.steps,
        error=failure.error if failure else "",
        code=failure.code if failure else "",
        failed_step=failure.failed_step if failure else "",
        compensated_steps=failure.compensated_steps if failure else (),
        attempts=outcome.attempts,
        trace_id=outcome.trace_id,
    )


def _instance(saga: str, key: str) -> str:
    return f"{API}/instances/{_token(saga)}/{_token(key)}"


def _token(text: str) -> str:
    return quote(text, safe="")
