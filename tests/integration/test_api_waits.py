"""Goal: with projections the diagnosis also knows attempts, lateness and who stopped an instance.

Method: a shop on a memory broker and real projections; a history of answered commands is made by a
worker first, where lateness is measured against it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs import JobContext, job
from sagas import define_saga, send
from sagas.retry import retry
from store.diagnosis_facts import SAMPLE_MIN
from store.diagnosis_gather import Diagnosis
from tests.api_kit import Api, instance_path, open_api
from tests.unit.store.shop import charge, shop
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

parcel = (
    define_saga("Parcel")
    .state({})
    .on("ParcelWanted", lambda saga, message: send("ship", message.payload), starts=True)
    .on("Shipped", lambda saga, message: None)
    .on("Delivered", lambda saga, message: None)
    .build()
)


@job("ship", on_success="Shipped", retry=retry(5, "10m"))
async def ship(ctx: JobContext[Any], payload: Any) -> Any:
    """Ships; stuck parcels fail at first and wait long for another attempt."""
    if payload.get("stuck"):
        raise TimeoutError("the carrier does not answer")
    return payload


async def _want(api: Api, *keys: str, **payload: Any) -> None:
    for key in keys:
        await api.publish("ParcelWanted", payload, key=key)


async def _told(api: Api, saga: str, key: str, later: timedelta = timedelta()) -> list[str]:
    """What the instance waits for, as of ``later`` from now."""
    await api.decided()
    revision = await api.status(saga, key)
    diagnosis = Diagnosis(
        *(api.backend, api.names, api.deps.read),
        now=lambda: datetime.now(UTC) + later,
        patience_s=10.0,
    )
    return [wait.words for wait in await diagnosis.waits(revision.instance)]


async def test_an_attempt_that_failed_is_told_with_its_error(tmp_path: Path) -> None:
    async with open_api(tmp_path, sagas=[parcel], jobs=[ship]) as api:
        await _want(api, "p-1", stuck=True)

        async def tried() -> bool:
            await api.decided()
            page = await api.get("/api/v1/sagas/events", type="Snorri-Attempted")
            return bool(page["items"])

        await eventually(tried, 15.0, "an attempt on record")
        [words] = await _told(api, "Parcel", "p-1")
        assert words.startswith("command ship sent ")
        assert words.endswith("attempt 2 after TimeoutError: the carrier does not answer")
        shown = await api.get(instance_path("Parcel", "p-1"))
        assert [wait["kind"] for wait in shown["waitsFor"]] == ["command"]


async def test_what_is_late_is_measured_against_the_same_sagas_history(tmp_path: Path) -> None:
    async with open_api(tmp_path, sagas=[parcel], jobs=[ship]) as api:
        keys = [f"p-{number}" for number in range(SAMPLE_MIN)]
        await _want(api, *keys)
        for key in keys:
            await api.publish("Delivered", {}, key=key)
        for key in keys:
            await _at_version(api, key, 3)
        await _want(api, "late", stuck=True)
        [command, pace] = await _told(api, "Parcel", "late", timedelta(hours=2))
        assert "99 of 100 are answered within " in command
        assert command.endswith(f"({SAMPLE_MIN} seen)")
        assert pace.startswith("it has stood 2 h since ParcelWanted, 99 of 100 went on within ")
        assert pace.endswith(f"({SAMPLE_MIN} seen)")


async def _at_version(api: Api, key: str, version: int) -> None:
    async def there() -> bool:
        revision = await api.client.latest("Parcel", key)
        return revision is not None and revision.instance.version >= version

    await eventually(there, 15.0, f"version {version} of {key}")


async def test_history_names_the_message_that_comes_next(tmp_path: Path) -> None:
    async with open_api(tmp_path, sagas=[parcel], jobs=[ship]) as api:
        keys = [f"p-{number}" for number in range(SAMPLE_MIN)]
        await _want(api, *keys, "now")
        for key in keys:
            await _at_version(api, key, 2)
            await api.publish("Delivered", {}, key=key)
            await _at_version(api, key, 3)
        await _at_version(api, "now", 2)
        told = await _told(api, "Parcel", "now")
        assert told[0] == "nothing is open: it waits for Delivered"


async def test_a_short_history_calls_nothing_late(tmp_path: Path) -> None:
    async with open_api(tmp_path, sagas=[parcel], jobs=[ship]) as api:
        await _want(api, "p-1", "p-2")
        await _at_version(api, "p-1", 2)
        await _want(api, "late", stuck=True)
        told = await _told(api, "Parcel", "late", timedelta(hours=2))
        assert not any("of 100" in words for words in told)


async def test_who_paused_it_is_known_after_other_messages_came(tmp_path: Path) -> None:
    async with open_api(tmp_path, sagas=[shop], jobs=[charge]) as api:
        await api.publish("OrderPlaced", {"orderId": "o-1", "amount": 7})
        await api.status("Shop", "o-1")
        await api.client.act("Shop", "o-1", "pause", by="anna", reason="stock count")
        await api.publish("OrderClosed", {"orderId": "o-1"})
        told = await _told(api, "Shop", "o-1")
        assert told[0].startswith("paused by anna since ")
        assert ": stock count; `snorri resume Shop o-1` lets it go on" in told[0]
        assert told[1] == "1 message waits in its backlog until it is resumed"


async def test_a_dead_letter_for_the_instance_is_told(tmp_path: Path) -> None:
    async with open_api(tmp_path, sagas=[shop], jobs=[charge]) as api:
        await api.publish("OrderPlaced", {"orderId": "o-1", "amount": 7})
        seq = await api.publish("OrderClosed", {}, key="o-1")
        told = await _told(api, "Shop", "o-1")
        assert told[0] == (
            "the message OrderClosed could not reach it: the correlation rule 'orderId' finds no "
            f"value; add the field to the payload; `snorri dead-letters redrive events-{seq}-Shop` "
            "sends it again"
        )


async def test_a_queued_command_without_worker_shows_in_the_instance(tmp_path: Path) -> None:
    async with open_api(tmp_path, sagas=[shop], jobs=[charge], worker=False) as api:
        await api.publish("OrderPlaced", {"orderId": "o-1", "amount": 1})
        await api.status("Shop", "o-1")
        [wait] = (await api.get(instance_path("Shop", "o-1")))["waitsFor"]
        assert wait["words"].startswith("command charge queued ")
        assert wait["words"].endswith(
            "no worker has ever served it: start one with `snorri jobs charge`"
        )


async def test_a_list_says_in_a_few_words_what_each_waits_for(tmp_path: Path) -> None:
    async with open_api(tmp_path, sagas=[shop, parcel], jobs=[charge], worker=False) as api:
        for key, amount in (("done", 7), ("idle", 7), ("held", 7), ("bad", -1), ("sent", 1)):
            await api.publish("OrderPlaced", {"orderId": key, "amount": amount})
            await api.status("Shop", key)
        await api.publish("OrderClosed", {"orderId": "done"})
        await api.client.act("Shop", "held", "pause", by="anna")
        await api.decided()
        page = await api.get("/api/v1/sagas/instances", include="waits")
        told = {item["key"]: item["waitsFor"] for item in page["items"]}
        assert told["done"] == ""
        assert told["idle"].startswith("a message, for ")
        assert told["held"].startswith("paused ")
        assert told["bad"].startswith("parked ")
        assert told["bad"].endswith(": ValueError: an amount below zero")
        assert told["sent"].startswith("charge ")
        bare = await api.get("/api/v1/sagas/instances")
        assert "waitsFor" not in bare["items"][0]
        await api.get("/api/v1/sagas/instances", status=400, include="everything")
