"""Goal: changed code is tried on an installation, or on a backup of it, before it runs there: what
it would strand and what it would decide differently, with an exit code; and an engine with code
that strands instances does not start.

Method: one installation with the first version of a small app, with open and ended tills, a parked
one, and a backup; versions of the module beside it that lack or change one thing.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.cli_kit import Process, Snorri, dev_with_tills

pytestmark = pytest.mark.timeout(150)

APP = """
from msgspec import Struct
from sagas import complete, define_saga


class Till(Struct):
    amount: int = 0


class NewTill(Struct):
    cents: int


def rung(saga, message):
    saga.state.amount = message.payload["amount"]


def rung_in_cents(saga, message):
    saga.state.cents = message.payload["amount"] * 100


def audited(saga):
    return None


till = define_saga("Till")
"""
SAME = ".state(Till()).on('Rung', rung).on('Closed', lambda saga: complete())"
VERSIONS = {
    "till_then": f"{SAME}.on('Audited', audited)",
    "till_words": f"{SAME}  # other words\n.on('Audited', audited)",
    "till_lacks": SAME,
    "till_shape": """.state(NewTill(0)).on('Rung', rung_in_cents)
        .on('Closed', lambda saga: complete()).on('Audited', audited)""",
    "till_two": """.version(2).state(NewTill(0)).on('Rung', rung_in_cents)
        .on('Closed', lambda saga: complete()).on('Audited', audited)
        .upcast(1, lambda old: {'cents': old['amount'] * 100})""",
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """An installation with three tills, one of them closed, and a backup of it."""
    folder = tmp_path_factory.mktemp("tills")
    modules = {
        name: f"{APP}\nsagas = [(till{chain}\n).build()]\n" for name, chain in VERSIONS.items()
    }
    process = dev_with_tills(folder, modules)
    try:
        process.run("publish", "Closed", "{}", "--key", "a")
        process.eventually(
            lambda: len(process.json("instances", "--status", "completed")) == 1, "a closed till"
        )
        process.run("backup", "whole")
        yield process
    finally:
        process.close()


@pytest.fixture
def snorri(running: Process) -> Snorri:
    """Commands in the directory of the running installation."""
    return Snorri(running.cwd)


def test_the_same_code_passes(snorri: Snorri) -> None:
    for app in ("till_then", "till_words"):
        found = snorri.json("check", "--app", app)
        assert found["passed"] is True
        assert (found["instances"], found["stranded"], found["jobs"]) == (3, [], {})
        assert found["replays"]["Till"]["versions"] == 4
    told = snorri.run("check", "--app", "till_then").stdout
    assert "3 instances looked at, 0 would be stranded; 3 replayed (4 versions), 0 would" in told


def test_a_handler_that_is_gone(snorri: Snorri) -> None:
    found = snorri.json("check", "--app", "till_lacks", "--no-replay", code=1)
    (one,) = found["stranded"]
    assert one == {
        "saga": "Till",
        "reason": "nothing handles 'Audited' any more",
        "instances": 2,
        "example": "",
    }
    assert found["replays"] == {}


def test_a_field_without_a_default(snorri: Snorri) -> None:
    found = snorri.json("check", "--app", "till_shape", code=1)
    (one,) = found["stranded"]
    assert "its state does not fit" in one["reason"]
    assert "`cents`" in one["reason"]
    assert (one["instances"], one["example"] in "bc") == (2, True)
    told = snorri.run("check", "--app", "till_shape", code=1)
    assert "2 of 3 instances would be stranded" in told.stderr
    assert found["replays"]["Till"]["differ"] == 3


def test_an_upcaster_makes_it_whole(snorri: Snorri) -> None:
    """The new shape of the old states is what the new code makes of their messages."""
    found = snorri.json("check", "--app", "till_two")
    assert found["passed"] is True
    assert found["replays"]["Till"] == {
        "instances": 3,
        "versions": 4,
        "differ": 0,
        "unreadable": 0,
        "kinds": [],
        "faults": [],
    }


def test_a_backup_is_as_good(snorri: Snorri) -> None:
    found = snorri.json("check", "--app", "till_shape", "--backup", "whole", code=1)
    assert [one["instances"] for one in found["stranded"]] == [2]
    assert snorri.json("check", "--app", "till_two", "--backup", "whole")["passed"] is True


def test_an_engine_that_would_strand_instances_does_not_start(snorri: Snorri) -> None:
    told = snorri.fail("engine", "--app", "till_shape", code=1)
    assert "would strand 2 of the instances" in told
    assert "Till: its state does not fit" in told
    assert "--allow-stranded" in told
    cards = snorri.json("sagas")
    assert [one["id"] for one in cards] == ["Till"]


def test_who_knows_better_starts_it_all_the_same(snorri: Snorri) -> None:
    engine = Process(snorri.cwd, "engine", "--app", "till_lacks", "--allow-stranded")
    try:
        engine.until("Ctrl-C stops")
        assert "stranded: Till: nothing handles 'Audited' any more" in engine.output
        assert engine.stop() == 130
    finally:
        engine.close()
