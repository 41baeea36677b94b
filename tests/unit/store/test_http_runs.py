"""Goal: a client over HTTP asks again where that is safe, and says clearly what it was refused.

Method: a transport of the tests answers in the place of the API and keeps what it was asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import pytest

from sagas import entity
from store import http_runs
from store.port import Unreachable
from store.runs import CallFailed, RunRefused, Runs, connect

pytestmark = pytest.mark.asyncio

Answer = httpx.Response | Exception
wallet = entity("Wallet")


@wallet.handler("deposit")
async def deposit(saga: Any, amount: int) -> int:
    return amount


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_runs, "PAUSE_S", 0.0)


class _Api:
    """Gives the answers in their order."""

    def __init__(self, *answers: Answer) -> None:
        self.asked: list[httpx.Request] = []
        self._answers: Iterator[Answer] = iter(answers)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def runs(self, **more: Any) -> Any:
        transport = httpx.MockTransport(self)
        return connect(base_url="http://snorri.test", transport=transport, **more)


def _json(code: int, /, **fields: Any) -> httpx.Response:
    return httpx.Response(code, content=msgspec.json.encode(fields))


def _problem(code: int, type: str, /, **more: Any) -> httpx.Response:
    fields = {"type": f"urn:snorri:problem:{type}", "detail": "No.", "next": "Ask a boss."}
    return _json(code, **fields, **more)


DONE = {"saga": "order", "key": "o 1", "settled": True, "status": "completed", "success": True}


async def test_a_start_is_sent_again_under_its_key_and_its_result_is_waited_for() -> None:
    begun = _json(201, **DONE)
    api = _Api(
        httpx.ReadTimeout("slow"),
        httpx.Response(503),
        begun,
        _json(202, **DONE),
        _json(200, **DONE),
    )
    async with api.runs(token="t-1") as runs:
        result = await runs.run("order", {"total": 5}, key="o 1")
    assert (result.success, result.key) == (True, "o 1")
    bodies = [msgspec.json.decode(one.content) for one in api.asked[:3]]
    assert bodies == [{"input": {"total": 5}, "key": "o 1", "join": True}] * 3
    assert api.asked[3].url.raw_path.startswith(b"/api/v1/sagas/instances/order/o%201/result?")
    assert {one.headers["authorization"] for one in api.asked} == {"Bearer t-1"}


async def test_an_action_is_taken_once_however_often_it_is_sent() -> None:
    took = {
        "done": True,
        "saga": "order",
        "key": "o",
        "version": 3,
        "status": "cancelled",
        "seq": 9,
    }
    api = _Api(httpx.ConnectError("no"), _json(200, **took))
    async with api.runs() as runs:
        reply = await runs.get("order", "o").cancel("enough")
    assert (reply.status, reply.version) == ("cancelled", 3)
    first, second = (one.headers["idempotency-key"] for one in api.asked)
    assert first == second


async def test_a_call_that_waits_for_its_turn_is_asked_for_again_under_its_id() -> None:
    api = _Api(_json(202, done=False), _json(200, done=True, output=5))
    async with api.runs() as runs:
        assert await runs.call(deposit, "ada", 5, id="c-1") == 5
    bodies = [msgspec.json.decode(one.content) for one in api.asked]
    assert [(one["id"], one["input"]) for one in bodies] == [("c-1", 5)] * 2
    failed = _Api(_problem(422, "call-failed", code="NO_FUNDS"))
    async with failed.runs() as runs:
        with pytest.raises(CallFailed, match="No") as caught:
            await runs.call(deposit, "ada", 5)
    assert caught.value.code == "NO_FUNDS"


async def _begin(runs: Runs) -> object:
    return await runs.start("order", {}, key="o")


async def _send(runs: Runs) -> object:
    return await runs.tell(deposit, "ada", 5)


async def _status(runs: Runs) -> object:
    return await runs.get("order", "o").status()


async def _result(runs: Runs) -> object:
    return await runs.get("order", "o").result()


@pytest.mark.parametrize(
    ("answers", "ask", "error", "words"),
    [
        ([_problem(401, "no-token")], _begin, RunRefused, "Ask a boss"),
        ([_problem(409, "instance-exists")], _begin, RunRefused, "No"),
        ([_json(202, **DONE)], _begin, RunRefused, "no engine has read it in time"),
        ([_json(400, published=False, reason="too large")], _send, RunRefused, "too large"),
        ([_problem(404, "no-such-instance")], _status, LookupError, "Ask a boss"),
        ([_problem(404, "no-such-saga")], _result, RunRefused, "Ask a boss"),
        ([httpx.Response(418, text="tea")], _status, Unreachable, "is no API of Snorri"),
        ([httpx.Response(200, text="<html>")], _status, Unreachable, "something else"),
        ([httpx.Response(503)] * 4, _status, Unreachable, "it answered 503"),
    ],
)
async def test_what_goes_wrong_is_told(
    answers: list[Answer],
    ask: Callable[[Runs], Any],
    error: type[Exception],
    words: str,
) -> None:
    async with _Api(*answers).runs() as runs:
        with pytest.raises(error, match=words):
            await ask(runs)
