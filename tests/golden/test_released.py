"""Goal: what a released version has left behind is opened by this one: read whole, proved, gone on
with; its backups too. The same for what the oldest nats-server that is accepted has left behind.

Method: for each kept archive its data directory is started as `snorri dev` does, with the app that
made it. SQL must tell of every transition what it told then; every instance at rest goes on.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.loading import load_app
from store.broker_version import VERSION_MIN, format_version
from tests.golden.released import make
from tests.integration.cli_kit import Process, Snorri, dev, port_when_ready

pytestmark = pytest.mark.timeout(180)

ARCHIVES = sorted(make.FOLDER.glob("*.tar.xz"))
# Which nats-server it was makes no difference to a backup.
RELEASES = [path for path in ARCHIVES if "-nats-" not in path.name]
WENT_ON = {
    **make.REST,
    "KeptOrder/waits": "completed",
    "KeptOrder/parked": "completed",
    "KeptOrder/paused": "running",
    "KeptOrder/new": "running",
    "KeptBell/late": "completed",
    "KeptLetter/unsigned": "completed",
}


def test_there_is_an_archive_and_all_are_small() -> None:
    oldest = format_version(VERSION_MIN)
    assert {"0.1.0.tar.xz", f"0.1.0-nats-{oldest}.tar.xz"} <= {path.name for path in ARCHIVES}
    assert all(path.stat().st_size <= make.BYTES_MAX for path in ARCHIVES)


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def left(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with what a version has left."""
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


@pytest.fixture
def running(left: Path) -> Iterator[Process]:
    """That, opened by this version."""
    process = dev(left, "--app", make.APP)
    try:
        yield process
    finally:
        process.close()


def test_a_data_directory_is_read_whole_and_goes_on(left: Path, running: Process) -> None:
    port = port_when_ready(running)
    before = json.loads((left / "transitions.json").read_text())
    now = {tuple(row[:3]): row for row in make.told(running)}
    assert [now.get(tuple(row[:3])) for row in before] == before
    assert len(now) - len(before) in (0, 1), "only the bell may have rung meanwhile"
    assert len(running.json("dead-letters")) == 1

    make.carry(running, "waits")
    running.run("retry", "KeptOrder", "parked", "--payload", '{"order":"parked","grams":5}')
    make.carry(running, "parked")
    running.run("resume", "KeptOrder", "paused")
    running.run("signal", "KeptLetter", "unsigned", "--name", "who", "--payload", '"bob"')
    make.order(running, "new")
    make.settle(running, WENT_ON)

    result = running.json("show", "KeptLetter", "unsigned")["result"]
    assert result == "hello: signed by ada, signed by bob"
    assert running.json("show", "KeptOrder", "paused")["state"]["steps"][-1] == "3 g"
    assert "whole: nothing is missing" in running.run("verify", "--port", port).stdout


@pytest.mark.parametrize("left", RELEASES, indirect=True, ids=lambda path: path.name)
def test_a_backup_is_proved_decided_again_and_brought_back(left: Path) -> None:
    snorri = Snorri(left)
    assert "whole" in snorri.run("verify", "--backup", "backup").stdout
    checked = snorri.json("check", "--backup", "backup", "--app", make.APP)
    assert checked["passed"] is True, checked
    assert set(checked["replays"]) == {one.id for one in load_app([make.APP]).registry}
    snorri.run("restore", "backup", "--into", "again")
    process = dev(left, "--app", make.APP, "--data", "again")
    try:
        before = json.loads((left / "transitions.json").read_text())
        now = {tuple(row[:3]): row for row in make.told(process)}
        assert [now.get(tuple(row[:3])) for row in before] == before
    finally:
        process.close()
