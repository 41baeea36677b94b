"""Goal: over HTTP and on the command line a timer is fired, postponed and cancelled as over the
kernel: planned first, once, with who and why, and refused when it has fired meanwhile.

Method: the whole API on the memory broker with a real engine and the sample saga that reminds of
carts; the command line against a real `snorri dev`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sagas import define_saga, schedule
from tests.api_kit import Api, instance_path, open_api
from tests.integration.cli_kit import Process, Snorri, dev

CARTS = "CartReminderSaga"


async def _cart(api: Api, key: str = "c-1") -> None:
    await api.publish("CartChanged", {"cartId": key, "patience": "30m"}, key)
    await api.status(CARTS, key, "running")


def _path(do: str, key: str = "c-1", timer: str = "patience", saga: str = CARTS) -> str:
    return instance_path(saga, key, "timers", timer, do)


@pytest.mark.asyncio
async def test_a_timer_is_fired_as_it_was_planned(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        await _cart(api)
        plan = await api.post(_path("fire"), {"dryRun": True, "reason": "now"})
        assert (plan["kind"], plan["action"]) == ("plan", "fire_timer")
        assert [one["target"] for one in plan["commands"]] == ["send-reminder"]
        done = await api.post(_path("fire"), {"plan": plan["hash"], "reason": "now"})
        assert (done["by"], done["reason"], done["version"]) == ("local", "now", 2)
        assert done["effects"][0] == {"kind": "unschedule", "id": "patience"}
        now = await api.get(instance_path(CARTS, "c-1"))
        assert not now.get("timers")
        again = await api.post(_path("fire"), status=409)
        assert again["type"].endswith("action-refused")
        assert "may have fired" in again["detail"]
        assert again["currentVersion"] == 2
        await api.decided()
        timer = (await api.get("/api/v1/timers", key="c-1"))["items"][0]
        assert timer["status"] == "fired"
        audit = (await api.get("/api/v1/audit"))["items"]
        assert {one["action"] for one in audit} == {"fire_timer"}


@pytest.mark.asyncio
async def test_a_timer_is_postponed_and_then_cancelled(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        await _cart(api)
        begun = datetime.now(UTC)
        done = await api.post(_path("postpone"), {"to": "2h", "reason": "a holiday"})
        due = datetime.fromisoformat(done["effects"][0]["at"])
        assert timedelta(hours=2) <= due - begun < timedelta(hours=2, minutes=1)
        past = await api.post(_path("postpone"), {"to": "2001-01-01T00:00:00Z"}, status=409)
        assert "fire it now" in past["detail"]
        await api.post(instance_path(CARTS, "c-1", "pause"))
        same = {"Idempotency-Key": "k-1"}
        off = await api.post(_path("cancel"), headers=same)
        assert (off["status"], off["version"]) == ("paused", 4)
        assert await api.post(_path("cancel"), headers=same) == off
        await api.decided()
        rows = (await api.get("/api/v1/timers", key="c-1"))["items"]
        assert sorted(row["status"] for row in rows) == ["cancelled", "replaced"]


ODD = "a/b@c €"
HELD = (
    define_saga("Odd")
    .state({})
    .on("Begin", lambda saga: schedule({"type": "Rang"}, "1h", id=ODD))
    .on("Rang", lambda saga: None)
    .build()
)


@pytest.mark.asyncio
async def test_timers_with_names_of_any_kind(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False, sagas=(HELD,)) as api:
        await api.publish("Begin", {}, "k/1")
        await api.status("Odd", "k/1", "running")
        unknown = await api.post(_path("cancel", "k/1", "other", "Odd"), status=409)
        assert f"set: {ODD}" in unknown["detail"]
        done = await api.post(_path("fire", "k/1", ODD, "Odd"))
        assert done["effects"][0]["id"] == ODD


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("do", "body"),
    [
        ("postpone", {}),
        ("postpone", {"to": "soon"}),
        ("postpone", {"to": 5}),
        ("postpone", {"to": "2" * 101}),
        ("fire", {"to": "2h"}),
        ("cancel", {"timer": "x"}),
    ],
)
async def test_bodies_that_say_nothing(do: str, body: Any, tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        await _cart(api)
        problem = await api.post(_path(do), body, status=400)
        assert problem["next"]
        now = await api.get(instance_path(CARTS, "c-1"))
        assert now["version"] == 1


# --- the command line


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Everything on this machine, for the tests of the command line."""
    process = dev(tmp_path_factory.mktemp("dev"))
    yield process
    process.close()


@pytest.fixture
def snorri(running: Process) -> Snorri:
    """Commands in the directory of the running installation."""
    port = re.search(r"http://[^\s/]+:([0-9]+)", running.output)
    assert port is not None, running.output
    return Snorri(running.cwd, SNORRI_PORT=port.group(1))


def _timers(snorri: Snorri) -> list[dict[str, Any]]:
    return snorri.json("timers", "--key", "c-1")


def test_the_command_line_lists_and_steps_in(snorri: Snorri) -> None:
    assert "no timer is set" in snorri.run("timers", "--key", "c-1").stderr
    snorri.run("publish", "CartChanged", '{"cartId":"c-1"}', "--key", "c-1")
    found = snorri.eventually(lambda: _timers(snorri), "a timer")
    assert [one["id"] for one in found] == ["patience"]
    assert "CartAbandoned" in snorri.run("timers", "list", "--saga", CARTS).stdout
    cart = (CARTS, "c-1", "patience")
    assert "send send-reminder" in snorri.run("timers", "fire", *cart, "--dry-run").stdout
    who = ("--by", "ann", "--reason", "a holiday")
    assert "postpone timer done" in snorri.run("timers", "postpone", *cart, "2h", *who).stdout
    unclear = snorri.run("timers", "postpone", *cart, "soon", code=2)
    assert "write it like" in unclear.stderr
    assert "fire timer done" in snorri.run("timers", "fire", *cart, *who).stdout
    refused = snorri.run("timers", "cancel", *cart, code=1).stderr
    assert "may have fired" in refused or "is completed" in refused
    history = snorri.run("history", CARTS, "c-1", "--json").stdout.splitlines()
    causes = [json.loads(line)["cause"] for line in history]
    acted = [(one["type"], one["by"]) for one in causes if one["kind"] == "operator"]
    assert acted == [("postpone_timer", "ann"), ("fire_timer", "ann")]
    snorri.eventually(lambda: not _timers(snorri), "no timer")
