"""Goal: `snorri replay` guards a deployment: all histories through the new code, exit code 1 when
anything would differ, and no instance left out.

Method: one installation that runs the first version of a small app; replays with the first and with
a second version of its module beside it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from store import lookup
from tests.integration.cli_kit import Process, Snorri, dev_with_tills

APP = """
from sagas import complete, define_saga


def rung(saga, message):
    saga.state["amount"] = min(message.payload["amount"], {limit})


sagas = [
    define_saga("Till")
    .state({{}})
    .on("Rung", rung, starts=True)
    .on("Closed", lambda saga, message: complete())
    .build()
]
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """An installation with three tills that were closed."""
    folder = tmp_path_factory.mktemp("tills")
    modules = {"till_then": APP.format(limit=1000), "till_now": APP.format(limit=10)}
    process = dev_with_tills(folder, modules)
    try:
        for key in ("a", "b", "c"):
            process.run("publish", "Closed", "{}", "--key", key)
        process.eventually(
            lambda: [one["status"] for one in process.json("instances")] == ["completed"] * 3,
            "three tills to be closed",
        )
        yield process
    finally:
        process.close()


@pytest.fixture
def snorri(running: Process) -> Snorri:
    """Commands in the directory of the running installation."""
    return Snorri(running.cwd)


def test_the_same_code_passes(snorri: Snorri) -> None:
    done = snorri.run("replay", "--all", "--saga", "Till", "--app", "till_then")
    assert "0 of 3 instances would differ" in done.stdout
    one = snorri.run("replay", "Till", "b", "--app", "till_then")
    assert "all 2 versions would be as they were" in one.stdout


def test_other_code_is_told_apart_and_stops_a_deployment(snorri: Snorri) -> None:
    done = snorri.run("replay", "--all", "--saga", "Till", "--app", "till_now", code=1)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["Rung", "state", "1", "b"] in lines
    assert ["b", "2", "2", "1"] in lines
    assert "1 of 3 instances would differ" in done.stdout
    early = snorri.run("replay", "Till", "b", "--app", "till_now", "--to", "1", code=1)
    assert "1 of 1 versions would differ" in early.stderr


def test_a_program_gets_every_instance_however_many(
    snorri: Snorri, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "LIST_MAX", 2)
    found = snorri.json("replay", "--all", "--saga", "Till", "--app", "till_now", code=1)
    assert [(one["key"], one["versions"], one["changed"]) for one in found] == [
        *(("a", 2, 0), ("b", 2, 2), ("c", 2, 0)),
    ]
    assert found[1]["steps"][0]["now"]["state"] == {"amount": 10}
    assert found[1]["steps"][0]["recorded"]["state"] == {"amount": 50}


def test_a_saga_that_the_app_lacks_is_told(snorri: Snorri) -> None:
    assert "the app defines no saga 'Tull' (did you mean Till?)" in snorri.fail(
        "replay", "Tull", "a", "--app", "till_now", code=1
    )
