"""Goal: `snorri archive` does on the command line what it says, and commands, API and dashboard
show what was archived as before.

Method: a running `snorri dev` with the samples, whose orders have ended. What `show`, `history`,
the API and SQL say is kept, the orders are archived, and all is asked again, also of another
process without the folder, which must say what is missing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.cli_kit import Process, dev, port_when_ready

pytestmark = pytest.mark.timeout(120)

ORDERS = 3
ROWS = "SELECT saga, key, version, seq, status, prev FROM transitions ORDER BY seq"


def _filled(cwd: Path) -> Process:
    """A running installation with orders that have ended."""
    process = dev(cwd)
    process.environment["SNORRI_PORT"] = port_when_ready(process)
    for number in range(ORDERS):
        order = json.dumps({"orderId": f"o-{number}", "total": 100})
        process.run("publish", "OrderCreated", order, "--key", f"o-{number}")

    def ended() -> bool:
        done = process.json("instances", "--status", "completed", "--saga", "CheckoutSaga")
        return len(done) == ORDERS

    process.eventually(ended, "the orders' ends")
    return process


def _told(process: Process) -> list[Any]:
    """What there is to see of an order, and of all rows."""
    api = f"http://127.0.0.1:{process.environment['SNORRI_PORT']}"
    where = f"{api}/api/v1/sagas/instances/CheckoutSaga/o-0"
    return [
        process.json("show", "CheckoutSaga", "o-0"),
        process.run("history", "CheckoutSaga", "o-0", "--json").stdout,
        process.json("sql", ROWS)["rows"],
        httpx.get(f"{where}/transitions").json()["items"],
        httpx.get(f"{where}/at/1").json(),
    ]


def test_what_is_archived_is_shown_as_before(tmp_path: Path) -> None:
    process = _filled(tmp_path)
    try:
        assert process.json("verify")["projections"] == "checked"  # they have all rows by now
        before = _told(process)
        refused = process.run("archive", "--before", "0s", code=2).stderr
        assert "--yes" in refused
        assert "nothing is old enough" in process.run("archive", "--dry-run").stderr
        plan = process.json("archive", "--before", "0s", "--saga", "CheckoutSaga", "--dry-run")
        assert (plan["instances"], plan["by_saga"]) == (ORDERS, {"CheckoutSaga": ORDERS})
        assert "there is no archive" in process.run("archive", "--list").stderr

        done = process.json("archive", "--before", "0s", "--saga", "CheckoutSaga", "--yes")
        assert done["messages"] == plan["messages"] == done["removed"] + ORDERS
        [listed] = process.json("archive", "--list")
        assert (listed["instances"], listed["purged"]) == (ORDERS, True)
        assert "last versions" in process.run("archive", "--list").stdout

        assert _told(process) == before
        assert "archived: versions 1 to 4" in process.run("show", "CheckoutSaga", "o-0").stderr
        api = f"http://127.0.0.1:{process.environment['SNORRI_PORT']}"
        whole = httpx.get(f"{api}/api/v1/sagas/instances/CheckoutSaga/o-0/transitions").json()
        assert whole["archived"] == whole["version"] == 4
        page = httpx.get(f"{api}/instances/CheckoutSaga/o-0?version=1")
        assert page.status_code == 200
        assert ">archived</span>" in page.text
        assert ">archived</span>" not in httpx.get(f"{api}/instances/CheckoutSaga/o-9").text
        proof = process.json("verify")
        assert (proof["whole"], proof["projections"]) == (True, "checked")
        assert proof["archived"] == done["messages"]
        assert process.json("rebuild")["same"]
        process.run("check", code=0)  # what-if over all histories, none of which is cut short
        for now, then in zip(_told(process), before, strict=True):
            assert now == then

        elsewhere = ("--archive", "elsewhere")
        missing = process.json("verify", "--no-projections", *elsewhere, code=1)
        assert missing["findings"][0]["kind"] == "archive"
        process.environment["SNORRI_ARCHIVE"] = "elsewhere"
        alone = process.run("history", "CheckoutSaga", "o-0", code=1).stderr
        assert "--archive" in alone
        assert process.json("show", "CheckoutSaga", "o-0") == before[0]
    finally:
        process.close()
    without = dev(tmp_path, "--archive", "elsewhere")
    try:
        api = f"http://127.0.0.1:{port_when_ready(without)}"
        page = httpx.get(f"{api}/instances/CheckoutSaga/o-0")
        assert page.status_code == 404
        assert "name that folder with --archive" in page.text
        told = httpx.get(f"{api}/api/v1/sagas/instances/CheckoutSaga/o-0/transitions")
        assert (told.status_code, told.json()["type"][-18:]) == (503, ":history-elsewhere")
        now = httpx.get(f"{api}/api/v1/sagas/instances/CheckoutSaga/o-0").json()
        assert now["status"] == "completed"
    finally:
        without.close()


def test_an_age_that_is_none_is_refused(tmp_path: Path) -> None:
    process = dev(tmp_path)
    try:
        told = process.run("archive", "--before", "soon", "--yes", code=1).stderr
        assert "write it like 30s, 5m, 2h, 1d" in told
    finally:
        process.close()
