"""Goal: "what happened to event X?" has one answer, whatever happened, and what went astray can be
delivered again by those who may.

Method: a shop with a worker on a memory broker and real projections; events of every fate are
published and asked for over the API.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.api_kit import Api, open_api
from tests.unit.store.shop import charge, shop

pytestmark = pytest.mark.asyncio

EVENTS = "/api/v1/sagas/events"


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncGenerator[Api]:
    """A shop alone, so that each event has one fate."""
    async with open_api(tmp_path, sagas=[shop], jobs=[charge]) as api:
        yield api


async def _event(api: Api, seq: int, **query: Any) -> Any:
    await api.decided()
    return await api.get(f"{EVENTS}/{seq}", **query)


async def test_an_event_that_was_applied_and_all_it_led_to(api: Api) -> None:
    seq = await api.publish("OrderPlaced", {"orderId": "o-1", "amount": 1}, id="e-1")
    await api.status("Shop", "o-1", "parked")
    told = await _event(api, seq)
    assert told["answer"] == "It changed Shop/o-1."
    assert (told["type"], told["id"], told["key"]) == ("OrderPlaced", "e-1", None)
    assert told["payload"] == {"amount": 1, "orderId": "o-1"}
    [first, after] = told["reached"]
    assert (first["saga"], first["key"], first["version"]) == ("Shop", "o-1", 1)
    assert (first["outcome"], first["status"], first["waits"]) == ("applied", "parked", None)
    [sent] = told["effects"]
    assert (sent["kind"], sent["name"], sent["status"]) == ("send", "charge", "failed")
    assert [(one["attempt"], one["outcome"]) for one in sent["attempts"]] == [(1, "failed")]
    [answered] = told["events"]
    assert (answered["type"], answered["failed"], answered["depth"]) == ("Snorri-Failed", True, 1)
    assert answered["effect"] == sent["id"]
    assert (after["seq"], after["version"]) == (answered["seq"], 2)
    alone = await _event(api, seq, depth=0)
    assert (alone["effects"], alone["events"]) == ([], [])


async def test_the_answer_of_a_job_tells_what_it_answers(api: Api) -> None:
    await api.publish("OrderPlaced", {"orderId": "o-1", "amount": 1})
    await api.status("Shop", "o-1", "parked")
    await api.caught_up()
    page = await api.get(EVENTS, type="Snorri-Failed")
    [row] = page["items"]
    told = await _event(api, row["seq"])
    assert told["answers"] == "Shop.o-1.1.0"
    assert told["answer"] == "It changed Shop/o-1."


async def test_an_event_that_waits_or_has_parked_an_instance(api: Api) -> None:
    bad = await api.publish("OrderPlaced", {"orderId": "o-1", "amount": -1})
    await api.status("Shop", "o-1", "parked")
    later = await api.publish("OrderClosed", {"orderId": "o-1"})
    told = await _event(api, bad)
    assert told["answer"] == (
        "It parked Shop/o-1; `snorri show Shop o-1` tells why and what to do."
    )
    told = await _event(api, later)
    assert told["reached"][0]["waits"] == "backlog"
    assert told["answer"] == (
        "It waits in the backlog of Shop/o-1; `snorri show Shop o-1` tells until when."
    )


@pytest.mark.parametrize(
    ("type", "payload", "code", "words"),
    [
        (
            "Nonsense",
            {"orderId": "o-1"},
            "no_saga",
            "No saga handles 'Nonsense'; register a handler for it or leave it be.",
        ),
        (
            "OrderClosed",
            {"orderId": "o-1"},
            "finished",
            "Shop/o-1 let it pass: the instance is completed and takes no more messages; begin "
            "another under a key of its own if it matters.",
        ),
    ],
)
async def test_an_event_that_changed_nothing(
    api: Api, type: str, payload: object, code: str, words: str
) -> None:
    await api.publish("OrderPlaced", {"orderId": "o-1", "amount": 7})
    await api.publish("OrderClosed", {"orderId": "o-1"})
    await api.status("Shop", "o-1", "completed")
    seq = await api.publish(type, payload)
    told = await _event(api, seq)
    assert told["answer"] == words
    assert [one["code"] for one in told["reached"]] == [code]


async def test_a_duplicate_names_its_id(api: Api) -> None:
    await api.publish("OrderPlaced", {"orderId": "o-1", "amount": 7}, id="e-1")
    await api.status("Shop", "o-1")
    api.broker.restart(forget_ids=True)  # the stream's own window is over
    seq = await api.publish("OrderPlaced", {"orderId": "o-1", "amount": 7}, id="e-1")
    told = await _event(api, seq)
    assert told["answer"] == (
        "Shop/o-1 let it pass: message id 'e-1' has changed this instance before; an event meant "
        "anew needs an id of its own."
    )
    assert [one["code"] for one in told["reached"]] == ["duplicate"]


async def test_an_event_that_could_not_be_delivered(api: Api) -> None:
    seq = await api.publish("OrderClosed", {"order": "o-1"})
    told = await _event(api, seq)
    id = f"events-{seq}-Shop"
    assert told["answer"] == (
        "It could not reach Shop: the correlation rule 'orderId' finds no value; add the field to "
        f"the payload. It is kept as a dead letter; `snorri dead-letters redrive {id}` sends it "
        "again."
    )
    [letter] = told["deadLetters"]
    assert (letter["id"], letter["status"]) == (id, "open")
    await api.client.discard(id, by="anna")
    told = await _event(api, seq)
    assert told["answer"].endswith("Its dead letter was discarded by anna.")


async def test_an_event_that_no_engine_has_read(tmp_path: Path) -> None:
    async with open_api(tmp_path, sagas=[shop], engine=False, worker=False) as api:
        seq = await api.publish("OrderPlaced", {"orderId": "o-1", "amount": 7})
        await api.caught_up()
        told = await api.get(f"{EVENTS}/{seq}")
        assert told["answer"].startswith("No engine has read it yet")
        [row] = (await api.get(EVENTS))["items"]
        assert row["outcome"] == "waiting"


async def test_what_is_no_json_is_shown_as_text(api: Api) -> None:
    accepted = await api.backend.door.publish(api.names.event("OrderPlaced"), b"\xff{")
    told = await _event(api, accepted.seq)
    assert (told["payload"], told["text"]) == (None, "\N{REPLACEMENT CHARACTER}{")
    assert "its payload is not JSON that can be read" in told["answer"]


# --- lists


async def test_events_are_listed_by_type_outcome_id_and_words(api: Api) -> None:
    placed = await api.publish("OrderPlaced", {"orderId": "o-1", "amount": 7}, key="k", id="e-1")
    stray = await api.publish("Nonsense", {"about": "ten penguins"})
    await api.decided()

    async def seqs(**query: Any) -> list[int]:
        return [row["seq"] for row in (await api.get(EVENTS, **query))["items"]]

    assert await seqs() == [stray, placed]
    assert await seqs(type="OrderPlaced") == [placed]
    assert await seqs(key="k") == [placed]
    assert await seqs(id="e-1") == [placed]
    assert await seqs(outcome="no_saga") == [stray]
    assert await seqs(q="PENGUINS nonsense") == [stray]
    assert await seqs(q="penguins seven") == []
    assert await seqs(since="1h") == [stray, placed]
    assert await seqs(since="2300-01-01") == []
    first = await api.get(EVENTS, limit=1)
    assert await seqs(limit=1, cursor=first["next"]) == [placed]


async def test_unmatched_events_are_grouped_by_type_and_reason(api: Api) -> None:
    strays = [await api.publish("Nonsense", {"n": n}) for n in range(3)]
    await api.publish("OrderPlaced", {"orderId": "o-1", "amount": 7})
    await api.publish("OrderClosed", {"orderId": "o-1"})
    await api.status("Shop", "o-1", "completed")
    for _ in range(2):
        await api.publish("OrderClosed", {"orderId": "o-1"})
    await api.decided()
    found = {row["type"]: row for row in (await api.get(f"{EVENTS}/unmatched"))["items"]}
    assert found.keys() == {"Nonsense", "OrderClosed"}
    assert found["Nonsense"]["count"] == 3
    assert found["Nonsense"]["seqs"] == list(reversed(strays))
    assert found["OrderClosed"]["reason"] == (
        "the instance is completed and takes no more messages; begin another under a key of its "
        "own if it matters"
    )
    assert (await api.get(f"{EVENTS}/unmatched", since="2300-01-01"))["items"] == []


# --- delivered again


async def test_an_event_is_sent_again_as_what_was_meant(api: Api) -> None:
    await api.publish("OrderPlaced", {"orderId": "o-1", "amount": 7})
    await api.status("Shop", "o-1")
    seq = await api.publish("OrderClosd", {"orderId": "o-1"})
    body = {"type": "OrderClosed", "reason": "a typo"}
    done = await api.post(f"{EVENTS}/{seq}/resend", body)
    again = await api.post(f"{EVENTS}/{seq}/resend", body)
    assert (again["seq"], again["duplicate"]) == (done["seq"], True)
    await api.status("Shop", "o-1", "completed")
    told = await _event(api, seq)
    assert [one["seq"] for one in told["sentAgain"]] == [done["seq"]]
    assert told["answer"].endswith(f"It was sent again as {done['seq']}.")
    new = await _event(api, done["seq"])
    assert (new["repeats"], new["answer"]) == (f"events-{seq}", "It changed Shop/o-1.")
    assert new["headers"]["Snorri-By"] == "local"


async def test_an_event_is_given_to_an_instance_once(api: Api) -> None:
    await api.publish("OrderPlaced", {"orderId": "o-1", "amount": 7})
    await api.status("Shop", "o-1")
    seq = await api.publish("OrderClosed", {"orderId": "o-9"})
    body = {"saga": "Shop", "key": "o-1", "reason": "the key was wrong"}
    key = {"Idempotency-Key": "once"}
    done = await api.post(f"{EVENTS}/{seq}/attach", body, headers=key)
    assert (done["done"], done["version"], done["status"]) == (True, 2, "completed")
    assert await api.post(f"{EVENTS}/{seq}/attach", body, headers=key) == done
    refused = await api.post(f"{EVENTS}/{seq}/attach", body, status=409)
    assert refused["detail"] == f"Shop/o-1 took event {seq} before, as version 2."
    told = await _event(api, seq)
    applied = [one for one in told["reached"] if one["outcome"] == "applied"]
    assert [(one["key"], one["version"], one["by"]) for one in applied] == [("o-1", 2, "local")]


async def test_what_can_not_be_delivered_again_says_why(api: Api) -> None:
    seq = await api.publish("OrderClosed", {"orderId": "o-9"})
    missing = await api.post(f"{EVENTS}/999/resend", {}, status=404)
    assert missing["next"] == "GET /api/v1/sagas/events lists what is stored."
    assert (await api.get(f"{EVENTS}/999", status=404))["title"] == "There is no such event"
    bad = await api.post(f"{EVENTS}/{seq}/resend", {"type": "x" * 101}, status=400)
    assert "at most 100 are allowed" in bad["detail"]
    nobody = await api.post(f"{EVENTS}/{seq}/attach", {"saga": "Ship", "key": "k"}, status=409)
    assert nobody["detail"].startswith("No engine here knows the saga 'Ship'; start one")
    await api.post(f"{EVENTS}/{seq}/attach", {"saga": "Shop"}, status=400)
    await api.get(EVENTS, status=400, outcome="lost")
    await api.get(EVENTS, status=400, cursor="forged")
    await api.get(EVENTS, status=400, since="yesterday")
