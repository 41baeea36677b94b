"""Goal: a stored event can be sent again or given to one instance, and changes it at most once.

Method: events that went astray in a small shop on a memory broker, delivered again, alone, twice,
changed, and to instances that had them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec
import pytest
import pytest_asyncio

from sagas.instance import Instance
from sagas.messages import Address
from sagas.names import unescape
from store.events import Published, Receipt, Rejected
from store.lookup import Revision
from tests.unit.store.shop import Floor, open_shop
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def floor() -> AsyncGenerator[Floor]:
    """A shop with an engine."""
    async with open_shop() as floor:
        yield floor


def _seq(receipt: Receipt) -> int:
    assert isinstance(receipt, Published), receipt
    return receipt.seq


async def _exists(floor: Floor, key: str, version: int = 1) -> Instance:
    async def look() -> Instance | None:
        found = await floor.client.get("Shop", key)
        return found if found is not None and found.version >= version else None

    found = await eventually(look, 5.0, f"version {version} of {key}")
    assert found is not None
    return found


async def _versions(floor: Floor, key: str) -> list[Revision]:
    return [revision async for revision in floor.client.history("Shop", key)]


async def _begin(floor: Floor, key: str = "o-1") -> None:
    await floor.client.publish("OrderPlaced", {"orderId": key, "amount": 7})
    await _exists(floor, key)


async def test_an_event_of_another_key_is_given_to_an_instance_once(floor: Floor) -> None:
    await _begin(floor)
    stray = _seq(await floor.client.publish("OrderClosed", {"orderId": "o-9"}))
    reply = await floor.client.attach(stray, "Shop", "o-1", by="anna", reason="a typo")
    assert (reply.done, reply.version, reply.status) == (True, 2, "completed"), reply
    closed = await _exists(floor, "o-1", 2)
    assert (closed.cause.kind, closed.cause.type, closed.cause.seq) == (
        "event",
        "OrderClosed",
        stray,
    )
    assert (closed.cause.by, closed.cause.reason) == ("anna", "a typo")
    again = await floor.client.attach(stray, "Shop", "o-1", by="bert")
    assert not again.done
    assert again.reason == f"Shop/o-1 took event {stray} before, as version 2"
    assert len(await _versions(floor, "o-1")) == 2


async def test_two_who_give_it_at_once_change_the_instance_once(floor: Floor) -> None:
    await _begin(floor)
    stray = _seq(await floor.client.publish("OrderPlaced", {"orderId": "o-2", "amount": 3}))
    await _exists(floor, "o-2")
    event = await floor.backend.log.at("events", stray)
    assert event is not None
    # Past the look into the history, as two requests that raced each other.
    operations = floor.client._operations  # pyright: ignore[reportPrivateUsage]
    cause = floor.client._redelivery._event(event, stray)  # pyright: ignore[reportPrivateUsage]
    assert cause is not None
    to = Address("Shop", "o-1")
    first = await operations.deliver(to, cause, msg_id="one")
    second = await operations.deliver(to, cause, msg_id="two", timeout_s=2.0)
    assert first.done
    assert not second.done
    assert "has changed this instance before" in second.reason
    assert len(await _versions(floor, "o-1")) == 2


async def test_one_event_can_be_given_to_several_instances(floor: Floor) -> None:
    await _begin(floor, "o-1")
    await _begin(floor, "o-2")
    stray = _seq(await floor.client.publish("OrderClosed", {"orderId": "o-9"}, id="e-1"))
    for key in ("o-1", "o-2"):
        reply = await floor.client.attach(stray, "Shop", key, by="anna")
        assert reply.done, reply
        assert (await _exists(floor, key, 2)).seen[-1] == "e-1"


async def test_a_starting_message_begins_the_instance_it_is_given_to(floor: Floor) -> None:
    stray = _seq(await floor.client.publish("OrderPlaced", {"orderId": "o-2", "amount": 3}))
    reply = await floor.client.attach(stray, "Shop", "other", by="anna")
    assert (reply.done, reply.version) == (True, 1)


@pytest.mark.parametrize(
    ("saga", "key", "words"),
    [
        ("Shop", "nobody", "Shop/nobody does not exist"),
        ("Ship", "o-1", "no engine here knows the saga 'Ship'"),
        ("Shop", "", "the key is empty"),
    ],
)
async def test_what_can_not_take_it_says_so(floor: Floor, saga: str, key: str, words: str) -> None:
    stray = _seq(await floor.client.publish("Charged", {"orderId": "o-9"}))
    reply = await floor.client.attach(stray, saga, key, by="anna")
    assert not reply.done
    assert words in reply.reason


async def test_an_event_that_is_not_stored(floor: Floor) -> None:
    reply = await floor.client.attach(99, "Shop", "o-1", by="anna")
    assert reply.reason.startswith("there is no event 99 any more, or none yet")
    receipt = await floor.client.resend(99, by="anna")
    assert isinstance(receipt, Rejected)
    assert "no event 99" in receipt.reason


async def test_an_event_is_sent_again_as_another_type_and_with_another_payload(
    floor: Floor,
) -> None:
    await _begin(floor)
    wrong = _seq(await floor.client.publish("OrderClosd", {"orderId": "o-1"}, key="o-1", id="e-1"))
    receipt = await floor.client.resend(wrong, by="anna", reason="spelt wröng", type="OrderClosed")
    assert (await _exists(floor, "o-1", 2)).status == "completed"
    stored = await floor.backend.log.at("events", _seq(receipt))
    assert stored is not None
    assert floor.names.parse_event(stored.subject) == ("OrderClosed", "o-1")
    assert msgspec.json.decode(stored.data) == {"orderId": "o-1"}
    headers = stored.headers
    assert headers["Snorri-Redriven"] == f"events-{wrong}"
    assert unescape(headers["Snorri-By"]) == "anna"
    assert unescape(headers["Snorri-Reason"]) == "spelt wröng"
    assert headers["Nats-Msg-Id"] != "e-1"


async def test_the_same_request_twice_is_one_event_another_is_another(floor: Floor) -> None:
    seq = _seq(await floor.client.publish("Unheard", {"a": 1}))
    first = await floor.client.resend(seq, by="anna", reason="x")
    second = await floor.client.resend(seq, by="anna", reason="x")
    third = await floor.client.resend(
        seq, by="anna", reason="x", payload=msgspec.Raw(b'{"a":2}'), key="k"
    )
    assert isinstance(second, Published)
    assert (second.seq, second.duplicate) == (_seq(first), True)
    assert _seq(third) > _seq(first)


async def test_what_belongs_to_the_first_time_is_not_sent_again(floor: Floor) -> None:
    headers = {"Snorri-Execution": "{}", "Snorri-Dead-Letter": "given up", "X-Own": "kept"}
    seq = _seq(await floor.client.publish("Unheard", {}, headers=headers))
    stored = await floor.backend.log.at("events", _seq(await floor.client.resend(seq, by="a")))
    assert stored is not None
    assert stored.headers["X-Own"] == "kept"
    assert not {"Snorri-Execution", "Snorri-Dead-Letter"} & stored.headers.keys()
