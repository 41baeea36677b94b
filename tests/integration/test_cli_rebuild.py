"""Goal: `snorri rebuild` works beside a running installation and on a stopped one's data.

Method: one `snorri dev` with orders; the command against it, then against the data it leaves.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.integration.cli_kit import Process, Snorri, dev, port_when_ready


def _orders(process: Process) -> int:
    sql = "SELECT count(*) FROM instances WHERE saga = 'CheckoutSaga' AND status = 'completed'"
    return process.json("sql", sql)["rows"][0][0]


def test_beside_a_running_one_and_on_its_data(tmp_path: Path) -> None:
    process = dev(tmp_path)
    try:
        process.environment["SNORRI_PORT"] = port = port_when_ready(process)
        for number in range(3):
            order = json.dumps({"orderId": f"o-{number}", "total": 100})
            process.run("publish", "OrderCreated", order, "--key", f"o-{number}")
        process.eventually(lambda: _orders(process) == 3, "three orders in the projections")
        told = process.run("rebuild").stdout
        assert re.search(r"^transitions +(\d+) +\1 *$", told, re.MULTILINE), told
        assert re.search(r"rebuilt in \d+\.\d s", told)
        report = process.json("rebuild")
        assert report["same"]
        assert _orders(process) == 3
        assert process.stop() == 130
    finally:
        process.close()
    alone = Snorri(tmp_path, SNORRI_PORT=port)
    done = alone.run("rebuild", "--nats-port", "0", "--json")
    assert "no API answers, so it is done here" in done.stderr
    counts = {row["table"]: row for row in json.loads(done.stdout)["counts"]}
    assert counts["instances"]["before"] == counts["instances"]["after"] >= 3


def test_without_any_data_it_says_where_to_look(tmp_path: Path) -> None:
    told = Snorri(tmp_path, SNORRI_PORT="1").fail("rebuild", code=1)
    assert "no data in .snorri" in told
    assert "--data" in told
