"""Goal: over HTTP a publisher gives the receipts it gives over NATS, and repeats only what it may.

Method: the API is played by a function; what reaches it and what becomes of its answers is looked
at. The real API is asked in the integration tests.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from store import http_publishing
from store.http_publishing import CHUNK_EVENTS_MAX, PUBLISH, PUBLISH_MANY
from store.publisher import NewEvent, Published, Publisher, Rejected, create_publisher

pytestmark = pytest.mark.asyncio

Answer = Callable[[dict[str, Any]], httpx.Response]


class _Api:
    """Plays the API: answers come from a list, the last one again and again."""

    def __init__(self, *answers: httpx.Response | Exception | Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.bodies: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        self.requests.append(request)
        self.bodies.append(json.loads(request.content))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(self.bodies[-1])

    def publisher(self, **options: Any) -> Publisher:
        """A publisher that asks this API."""
        transport = httpx.MockTransport(self)
        return create_publisher(base_url="http://snorri.test", transport=transport, **options)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, none of which takes time."""
    made: list[float] = []
    real = asyncio.sleep

    async def sleep(delay: float) -> None:
        made.append(delay)
        await real(0)

    monkeypatch.setattr(http_publishing.asyncio, "sleep", sleep)
    return made


def _stored(seq: int, **more: Any) -> httpx.Response:
    body = {"published": True, "seq": seq, "duplicate": False, "instances": [], **more}
    return httpx.Response(200, json=body)


def _all_stored(body: dict[str, Any]) -> httpx.Response:
    receipts = [{"published": True, "seq": n} for n in range(1, len(body["messages"]) + 1)]
    return httpx.Response(200, json={"receipts": receipts})


async def test_an_event_and_its_receipt() -> None:
    api = _Api(_stored(7), _stored(7, duplicate=True))
    async with api.publisher(token="t-1", headers={"X-Team": "shop"}) as publisher:
        first = await publisher.publish("T", {"a": 1}, "k", "one", {"traceparent": "00-ab"})
        assert first == Published(seq=7)
        assert await publisher.publish("T") == Published(seq=7, duplicate=True)
    assert [request.url.path for request in api.requests] == [PUBLISH, PUBLISH]
    assert api.requests[0].headers["authorization"] == "Bearer t-1"
    assert api.requests[0].headers["x-team"] == "shop"
    assert api.requests[0].headers["content-type"] == "application/json"
    assert api.bodies[0] == {
        "type": "T",
        "payload": {"a": 1},
        "key": "k",
        "id": "one",
        "headers": {"traceparent": "00-ab"},
    }
    assert api.bodies[1]["payload"] is None
    assert len(api.bodies[1]["id"]) == 32


async def test_what_can_not_be_an_event_is_never_sent() -> None:
    api = _Api(_stored(1))
    async with api.publisher() as publisher:
        for bad in (("", {}), ("T" * 200, {}), ("T", b"{"), ("T", object())):
            receipt = await publisher.publish(*bad)
            assert isinstance(receipt, Rejected)
            assert not receipt.retryable
    assert api.requests == []


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_a_passing_refusal_is_repeated_under_the_same_id(
    status: int, pauses: list[float]
) -> None:
    api = _Api(httpx.Response(status), httpx.ConnectError("refused"), _stored(3))
    async with api.publisher() as publisher:
        assert await publisher.publish("T") == Published(seq=3)
    assert len({body["id"] for body in api.bodies}) == 1
    assert len(pauses) == 2
    assert all(0 < pause <= 0.2 for pause in pauses)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 415, 422])
async def test_a_lasting_refusal_is_not_repeated(status: int) -> None:
    problem = {"title": "No", "detail": "The role viewer may not.", "next": "Ask an admin."}
    api = _Api(httpx.Response(status, json=problem))
    async with api.publisher() as publisher:
        receipt = await publisher.publish("T")
    reason = f"the API answered {status}: The role viewer may not. Ask an admin."
    assert receipt == Rejected(reason=reason)
    assert len(api.requests) == 1


async def test_the_last_receipt_counts_when_all_attempts_were_refused(
    pauses: list[float],
) -> None:
    refused = {"published": False, "reason": "NATS is away", "retryable": True, "title": "Not now"}
    api = _Api(httpx.Response(503, json=refused, headers={"Retry-After": "2"}))
    async with api.publisher(attempts=3) as publisher:
        assert await publisher.publish("T") == Rejected(reason="NATS is away", retryable=True)
    assert pauses == [2.0, 2.0]
    assert len(api.requests) == 3


async def test_a_retry_after_beyond_patience_is_given_to_the_caller(pauses: list[float]) -> None:
    api = _Api(httpx.Response(429, headers={"Retry-After": "3600"}))
    async with api.publisher() as publisher:
        receipt = await publisher.publish("T")
    assert isinstance(receipt, Rejected)
    assert receipt.retryable
    assert pauses == []


async def test_which_statuses_are_repeated_can_be_chosen() -> None:
    api = _Api(httpx.Response(404), _stored(1))
    async with api.publisher(retry_statuses={404}) as publisher:
        assert await publisher.publish("T") == Published(seq=1)
    api = _Api(httpx.Response(503))
    async with api.publisher(retry_statuses=()) as publisher:
        assert isinstance(await publisher.publish("T"), Rejected)
    assert len(api.requests) == 1


async def test_an_address_that_is_not_ours_or_not_there() -> None:
    async with _Api(httpx.Response(200, text="<html>")).publisher() as publisher:
        receipt = await publisher.publish("T")
    assert isinstance(receipt, Rejected)
    assert "is that address Snorri's?" in receipt.reason
    async with _Api(httpx.ConnectError("refused")).publisher(attempts=2) as publisher:
        receipt = await publisher.publish("T")
    assert isinstance(receipt, Rejected)
    assert receipt.retryable
    assert "did not answer" in receipt.reason
    closed = await publisher.publish("T")
    assert isinstance(closed, Rejected)
    assert "is closed" in closed.reason
    with pytest.raises(ValueError, match="attempts"):
        create_publisher(base_url="http://h", attempts=0)
    for wrong in ("t\u2026", "a\r\nX-Forged: 1"):
        with pytest.raises(ValueError, match="Authorization must be printable ASCII"):
            create_publisher(base_url="http://h", token=wrong)


async def test_many_go_in_few_requests_and_keep_their_order() -> None:
    api = _Api(_all_stored)
    count = 2 * CHUNK_EVENTS_MAX + 200
    async with api.publisher() as publisher:
        events = [NewEvent(type="T", payload=n) for n in range(count)]
        receipts = await publisher.publish_many(events, "parallel")
    assert [request.url.path for request in api.requests] == [PUBLISH_MANY] * 3
    assert {body["mode"] for body in api.bodies} == {"parallel"}
    assert [one["payload"] for body in api.bodies for one in body["messages"]] == list(range(count))
    assert all(isinstance(one, Published) for one in receipts)
    assert len(receipts) == count


async def test_a_large_lot_is_sent_in_parts() -> None:
    api = _Api(_all_stored)
    async with api.publisher() as publisher:
        events = [NewEvent(type="T", payload="x" * 700_000) for _ in range(15)]
        assert len(await publisher.publish_many(events)) == 15
    assert len(api.requests) == 3


async def test_a_sequence_ends_at_the_first_that_is_rejected() -> None:
    api = _Api(_all_stored)
    events = [NewEvent(type="T"), NewEvent(type="T"), NewEvent(type=""), NewEvent(type="T")]
    async with api.publisher() as publisher:
        receipts = await publisher.publish_many(events, "sequential")
    assert receipts[:2] == [Published(seq=1), Published(seq=2)]
    assert isinstance(receipts[2], Rejected)
    assert isinstance(receipts[3], Rejected)
    assert "not sent, since event 3" in receipts[3].reason
    assert receipts[3].retryable
    assert len(api.requests) == 1


async def test_in_parallel_one_that_can_not_be_sent_stops_nobody() -> None:
    api = _Api(_stored(9))
    events = [NewEvent(type="T"), NewEvent(type=""), NewEvent(type="T")]
    async with api.publisher() as publisher:
        receipts = await publisher.publish_many(events, "parallel")
    assert [isinstance(one, Published) for one in receipts] == [True, False, True]


async def test_no_events_are_no_request() -> None:
    api = _Api(_stored(1))
    async with api.publisher() as publisher:
        assert await publisher.publish_many([]) == []
    assert api.requests == []
