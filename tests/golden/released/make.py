"""Makes the data that a release leaves behind: ``python -m tests.golden.released.make``, once for
each version, when it is released; with a nats-server named in SNORRI_NATS_SERVER for what that one
leaves behind.

An installation of the kept app is brought into every state an instance can rest in, backed up and
stopped. Kept are its data directory without what can be made anew, the backup, and what SQL told of
every transition. One archive a version; there must be none yet.
"""

from __future__ import annotations

import json
import lzma
import os
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

from server.embedded import server_version
from tests.integration.cli_kit import Process, dev, port_when_ready

FOLDER = Path(__file__).parent
APP = "tests.golden.released.app"
BYTES_MAX = 300_000
SERVER = "SNORRI_NATS_SERVER"
TRANSITIONS = (
    "SELECT saga, key, version, status, cause_type, state_after,"
    " definition, prev FROM transitions ORDER BY saga, key, version"
)
BELL_S = 40  # it falls due while nothing runs
REST = {
    "KeptOrder/ended": "completed",
    "KeptOrder/waits": "running",
    "KeptOrder/parked": "parked",
    "KeptOrder/paused": "paused",
    "KeptOrder/undone": "compensated",
    "KeptOrder/cancelled": "cancelled",
    "KeptBell/late": "running",
    "KeptParcel/sent": "completed",
    "KeptParcel/unsent": "compensated",
    "KeptLetter/unsigned": "running",
}


def statuses(process: Process) -> dict[str, str]:
    """How each instance stands now."""
    found = process.json("instances", "--limit", "1000")
    return {f"{one['saga']}/{one['key']}": one["status"] for one in found}


def told(process: Process) -> list[list[object]]:
    """What SQL tells of every transition, one row each."""
    return process.json("sql", TRANSITIONS, "--port", port_when_ready(process))["rows"]


def settle(process: Process, rest: dict[str, str]) -> None:
    """Wait until every instance stands as it should; tells which does not."""

    def _look() -> bool:
        nonlocal found
        found = statuses(process)
        return found == rest

    found: dict[str, str] = {}
    try:
        process.eventually(_look, "every instance at rest")
    except AssertionError:
        raise AssertionError(set(found.items()) ^ set(rest.items())) from None


def order(process: Process, key: str) -> None:
    """Order and count: what is open then is the carrier's command."""
    body = json.dumps({"order": key, "total": 7})
    process.run("publish", "KeptOrdered", body, "--key", key)
    process.eventually(lambda: carrier_command(process, key), "the carrier being asked")


def carrier_command(process: Process, key: str) -> str:
    """The id of the command that waits for the carrier, empty when there is none."""
    if f"KeptOrder/{key}" not in statuses(process):
        return ""
    commands = process.json("show", "KeptOrder", key)["commands"]
    return next((id for id, one in commands.items() if one["target"] == "kept-carrier"), "")


def carry(process: Process, key: str) -> None:
    """The carrier answers."""
    cause = f"Snorri-Cause={carrier_command(process, key)}"
    process.run("publish", "KeptCarried", "{}", "--key", key, "--header", cause)


def _fill(process: Process) -> None:
    for key in ("ended", "waits", "parked", "paused", "undone", "cancelled"):
        order(process, key)
    carry(process, "ended")
    process.run("publish", "KeptWeighed", '{"order":"parked"}', "--key", "parked")
    process.run("pause", "KeptOrder", "paused", "--reason", "on holiday")
    process.run("publish", "KeptWeighed", '{"order":"paused","grams":3}', "--key", "paused")
    process.run("cancel", "KeptOrder", "cancelled", "--reason", "called off")
    carry(process, "undone")
    process.eventually(
        lambda: statuses(process)["KeptOrder/undone"] == "completed", "the order to be undone"
    )
    process.run("compensate", "KeptOrder", "undone", "--reason", "returned")
    process.run("publish", "KeptBellSet", f'{{"bell":"late","after_s":{BELL_S}}}', "--key", "late")
    process.run("start", "KeptParcel", '{"to":"ada"}', "--key", "sent")
    process.run("start", "KeptParcel", '{"to":"bob","nobody":true}', "--key", "unsent")
    process.run("start", "KeptLetter", '"hello"', "--key", "unsigned")
    process.run("publish", "KeptWeighed", '{"order":"nobody","grams":1}', "--key", "nobody")
    settle(process, REST)


def _kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """What is not made anew at each start, as nobody's in particular."""
    if entry.name.startswith(".snorri/nats/server."):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def main() -> int:
    """Make the archive of the version at hand."""
    server = os.environ.get(SERVER, "")
    of_server = f"-nats-{server_version(Path(server))}" if server else ""
    path = FOLDER / f"{version('snorri')}{of_server}.tar.xz"
    if path.exists():
        print(f"{path.name} is there; what a released version has written is never changed")
        return 1
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        process = dev(folder, "--app", APP, **({SERVER: server} if server else {}))
        try:
            _fill(process)
            process.run("backup", "backup")
            (folder / "transitions.json").write_text(json.dumps(told(process), indent=1))
            if process.stop() != 130:
                print(process.output)
                return 1
        finally:
            process.close()
        with lzma.open(path, "wb", preset=9) as packed, tarfile.open(None, "w", packed) as archive:
            for name in ("transitions.json", "backup", ".snorri/layout", ".snorri/nats"):
                archive.add(folder / name, name, filter=_kept)
    size = path.stat().st_size
    print(f"{path.name}: {size} bytes")
    return 0 if size <= BYTES_MAX else 1


if __name__ == "__main__":
    sys.exit(main())
