"""Goal: whoever starts a run on the command line sees its steps, its result, and what was undone.

Method: one `snorri dev` with an app of steps; each test has runs of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli_kit import Process, Snorri, dev

APP = "tests.integration.run_app"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Everything on this machine, with the app of steps."""
    process = dev(tmp_path_factory.mktemp("dev"), "--app", APP)
    yield process
    process.close()


@pytest.fixture
def snorri(running: Process) -> Snorri:
    """Commands in the directory of the running installation."""
    return Snorri(running.cwd)


def test_start_and_wait_shows_the_result_and_the_steps(snorri: Snorri) -> None:
    told = snorri.run("start", "orders", '{"total":5}', "--key", "o-1", "--wait").stdout
    first, *lines = told.splitlines()
    assert first == "orders/o-1 is completed at version 3"
    words = [line.split() for line in lines]
    assert words[0][:4] == ["step", "status", "attempts", "took"]
    assert words[1][:3] == ["reserve", "completed", "2"]
    assert words[2][:3] == ["pay", "completed", "1"]
    assert told.endswith('result\n{\n  "paid": 5\n}\n')
    shown = snorri.run("show", "orders", "o-1").stdout
    assert [line.split()[:3] for line in shown.splitlines() if line.startswith("reserve")] == [
        ["reserve", "completed", "2"]
    ]


def test_a_failure_names_step_code_and_undos(snorri: Snorri) -> None:
    ran = snorri.run("start", "orders", '{"total":500}', "--key", "o-2", "--wait", code=1)
    assert "orders/o-2 is compensated" in ran.stdout
    assert "pay: declined (CARD_DECLINED)" in ran.stdout
    assert "undone, in this order: reserve" in ran.stdout
    assert "it did not complete; see `snorri show orders o-2`" in ran.stderr
    shown = snorri.run("show", "orders", "o-2").stdout.splitlines()
    (undone,) = [line for line in shown if line.startswith("reserve")]
    assert "done, attempt 1" in undone


def test_json_has_the_names_of_the_api(snorri: Snorri) -> None:
    told = snorri.json("start", "orders", '{"total":7}', "--key", "o-3", "--wait")
    assert (told["done"], told["success"], told["status"]) == (True, True, "completed")
    assert (told["output"], told["attempts"], told["failedStep"]) == ({"paid": 7}, 1, "")
    assert told["steps"]["reserve"]["attempts"] == 2
    assert told["context"]["rid"] == "r-7"


def test_what_does_not_end_in_time_goes_on(snorri: Snorri) -> None:
    wait = ("--wait", "--timeout", "1")
    late = snorri.run("start", "Quoting", '{"total":7}', "--key", "q-1", *wait, code=1)
    assert "has not ended within 1 s" in late.stderr
    rows = [line.split() for line in snorri.run("show", "Quoting", "q-1").stdout.splitlines()]
    assert ["quote", "completed", "1"] in [row[:3] for row in rows]
    assert ["signal:accept", "waiting", "1"] in [row[:3] for row in rows]
    snorri.run("signal", "Quoting", "q-1", "--name", "accept", "--payload", "true")


def test_an_input_that_does_not_fit_starts_nothing(snorri: Snorri) -> None:
    bad = snorri.run("start", "orders", '{"total":"much"}', "--key", "o-9", code=1)
    assert "does not fit orders: Expected `int`" in bad.stderr
    assert "has no instance" in snorri.run("show", "orders", "o-9", code=1).stderr


def test_what_new_writes_runs_as_it_is(tmp_path: Path) -> None:
    Snorri(tmp_path).run("init", "shop")
    snorri = Snorri(tmp_path / "shop")
    snorri.run("new", "step-list", "create-order")
    snorri.run("new", "workflow", "OrderApproval")
    process = dev(tmp_path / "shop")
    try:
        small, large = '{"orderId":"a","amount":5}', '{"orderId":"b","amount":5000}'
        told = snorri.json("start", "create-order", small, "--wait")
        assert told["success"]
        assert list(told["output"]) == ["charge"]
        assert snorri.json("start", "OrderApproval", small, "--wait")["output"]["orderId"] == "a"
        snorri.run("start", "OrderApproval", large, "--key", "b")
        snorri.run("signal", "OrderApproval", "b", "--name", "approve", "--payload", "false")
        _ended(snorri, "OrderApproval", "b", "compensated")
        bad = '{"orderId":"c","amount":-1}'
        assert "BAD_AMOUNT" in snorri.run("start", "create-order", bad, "--wait", code=1).stdout
    finally:
        process.close()


def _ended(snorri: Snorri, saga: str, key: str, status: str) -> None:
    def look() -> bool:
        return snorri.json("show", saga, key)["status"] == status

    snorri.eventually(look, f"{saga}/{key} to be {status}")
