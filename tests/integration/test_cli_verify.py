"""Goal: `snorri verify`, `backup` and `restore` do on the command line what they say, and their
exit codes can guard a script.

Method: a running `snorri dev` with the samples is proved, backed up and restored. Then its
projections are altered behind its back, and its log gets a command that nobody sent.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import duckdb
import nats
import pytest

from tests.integration.cli_kit import Process, Snorri, dev, nats_url, port_when_ready

pytestmark = pytest.mark.timeout(120)

ORDERS = 3


def _filled(cwd: Path) -> Process:
    """A running installation with orders that have ended."""
    process = dev(cwd)
    process.environment["SNORRI_PORT"] = port_when_ready(process)
    for number in range(ORDERS):
        order = json.dumps({"orderId": f"o-{number}", "total": 100})
        process.run("publish", "OrderCreated", order, "--key", f"o-{number}")
    process.eventually(lambda: _completed(process) == ORDERS, "the orders' ends")
    return process


def _completed(process: Snorri) -> int:
    return len(process.json("instances", "--status", "completed", "--saga", "CheckoutSaga"))


def test_a_whole_installation_is_proved_saved_and_brought_back(tmp_path: Path) -> None:
    process = _filled(tmp_path)
    try:
        proof = process.json("verify")
        assert proof["whole"]
        assert proof["projections"] == "checked"
        assert proof["instances"] >= ORDERS
        assert "whole: nothing is missing" in process.run("verify", "--no-projections").stdout

        made = process.json("backup", "whole")
        later = process.json("backup", "later", "--since", "whole")
        assert later["since"] == made["id"]
        assert process.json("verify", "--backup", "later")["instances"] == proof["instances"]
        assert "holds a whole backup already" in process.run("backup", "whole", code=1).stderr
        assert "in use by another Snorri" in process.run("restore", "later", code=1).stderr
        told = process.run("restore", "later", "--into", "new")
        assert "snorri dev --data new" in told.stderr
        assert "into an empty" in process.run("restore", "later", "--into", "new", code=1).stderr
    finally:
        process.close()
    again = dev(tmp_path, "--data", "new")
    try:
        again.environment |= {"SNORRI_PORT": port_when_ready(again), "SNORRI_DATA": "new"}
        assert _completed(again) == ORDERS
        proof = again.json("verify")
        assert proof["whole"]
        assert proof["projections"] == "checked"
    finally:
        again.close()


def test_altered_projections_and_a_planted_command_are_found(tmp_path: Path) -> None:
    process = _filled(tmp_path)
    try:
        assert process.stop() == 130
    finally:
        process.close()
    folder = tmp_path / ".snorri" / "projections"
    with duckdb.connect(folder / (folder / "current").read_text().strip()) as database:
        database.execute("UPDATE base.transitions SET status = 'failed' WHERE version = 1")
    process = dev(tmp_path)
    try:
        process.environment["SNORRI_PORT"] = port_when_ready(process)
        asyncio.run(_plant(nats_url(tmp_path / ".snorri")))
        proof = process.json("verify", code=1)
        found = {finding["kind"]: finding for finding in proof["findings"]}
        assert set(found) == {"projection", "orphan_command"}
        assert "snorri rebuild" in found["projection"]["mend"]
        assert "CheckoutSaga/nobody has no version 1" in found["orphan_command"]["shown"][0]
        process.run("rebuild")
        shown = process.run("verify", code=1).stdout
        assert "orphan command: 1" in shown
        assert "projection" not in shown
    finally:
        process.close()


async def _plant(url: str) -> None:
    client = await nats.connect(url)
    headers = {
        "Snorri-Command-Id": "CheckoutSaga.nobody.1.0",
        "Snorri-Saga": "CheckoutSaga",
        "Snorri-Key": "nobody",
        "Snorri-Version": "1",
    }
    await client.request("saga.commands.made-up.nobody", b"{}", headers=headers)
    await client.close()


def test_without_an_api_the_projections_are_left_out_and_that_is_said(tmp_path: Path) -> None:
    process = _filled(tmp_path)
    try:
        proof = process.json("verify", "--port", "1")
        assert proof["whole"]
        assert "no API answers" in proof["projections"]
    finally:
        process.close()


def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    alone = Snorri(tmp_path)
    assert "is no backup" in alone.run("restore", ".", "--into", "new", code=1).stderr
    assert "is no backup" in alone.run("verify", "--backup", "nowhere", code=1).stderr
    assert not (tmp_path / "new").exists()
