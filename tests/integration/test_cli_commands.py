"""Goal: looking, sending and acting from the command line do what they say on a real installation.

Method: one `snorri dev` with the samples for the module; each test has instances of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli_kit import Process, Snorri, dev


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Everything on this machine, for all tests of the module."""
    process = dev(tmp_path_factory.mktemp("dev"))
    yield process
    process.close()


@pytest.fixture
def snorri(running: Process) -> Snorri:
    """Commands in the directory of the running installation."""
    return Snorri(running.cwd)


def _order(snorri: Snorri, key: str, simulate: str = "") -> None:
    order = json.dumps({"orderId": key, "total": 5, "simulate": simulate})
    snorri.run("publish", "OrderCreated", order, "--key", key)


def _status(snorri: Snorri, key: str, wanted: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = snorri.json("instances", "--saga", "CheckoutSaga", "--limit", "1000")
        mine = [one for one in found if one["key"] == key and one["status"] == wanted]
        return mine[0] if mine else None

    return snorri.eventually(look, f"{key} to be {wanted}")


def _letter(snorri: Snorri, key: str, type: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = snorri.json("dead-letters", "list", "--limit", "1000")
        mine = [one for one in found if one.get("key") == key and one["type"] == type]
        return mine[0] if mine else None

    return snorri.eventually(look, f"a dead letter of {key}")


def test_publish_and_look(snorri: Snorri) -> None:
    receipt = snorri.json("publish", "OrderCreated", '{"orderId":"a b","total":5}', "--id", "i-1")
    assert receipt["published"] is True
    assert int(receipt["seq"]) > 0
    again = snorri.json("publish", "OrderCreated", '{"orderId":"a b","total":5}', "--id", "i-1")
    assert again == {"published": True, "seq": receipt["seq"], "duplicate": True}
    _status(snorri, "a b", "completed")
    shown = snorri.run("show", "CheckoutSaga", "a b").stdout
    assert "CheckoutSaga/a b" in shown
    assert "trackingNumber" in shown
    versions = snorri.run("history", "CheckoutSaga", "a b", "--json").stdout.splitlines()
    documents = [json.loads(line) for line in versions]
    assert [document["version"] for document in documents] == [1, 2, 3, 4]
    assert documents[-1] == snorri.json("show", "CheckoutSaga", "a b")
    assert "send process-payment" in snorri.run("history", "CheckoutSaga", "a b").stdout
    cards = {card["id"]: card for card in snorri.json("sagas")}
    assert cards["CheckoutSaga"]["starting"] == ["OrderCreated"]
    assert cards["CheckoutSaga"]["instances"]["completed"] >= 1
    assert "CheckoutSaga" in snorri.run("sagas").stdout
    assert "a b" in snorri.run("instances").stdout


def test_history_follows_until_the_end(snorri: Snorri) -> None:
    _order(snorri, "f-1", "slow")
    _status(snorri, "f-1", "running")
    followed = snorri.run("history", "CheckoutSaga", "f-1", "--follow", "--json").stdout
    statuses = [json.loads(line)["status"] for line in followed.splitlines()]
    assert statuses == ["running", "running", "running", "completed"]


def test_names_that_do_not_exist_are_told_with_near_ones(snorri: Snorri) -> None:
    _order(snorri, "near-1")
    _status(snorri, "near-1", "completed")
    assert "did you mean near-1" in snorri.run("show", "CheckoutSaga", "near-2", code=1).stderr
    assert "did you mean CheckoutSaga" in snorri.run("show", "CheckoutSage", "x", code=1).stderr
    assert "there is no saga" in snorri.run("instances", "--saga", "Nothing", code=1).stderr
    assert "did you mean" in snorri.run("start", "checkoutsaga", "{}", code=1).stderr
    assert "did you mean near-1" in snorri.run("cancel", "CheckoutSaga", "near_1", code=1).stderr


def test_a_file_of_events(snorri: Snorri, tmp_path: Path) -> None:
    lines = [
        json.dumps({"type": "UserRegistered", "payload": {"userId": f"u{n}"}, "key": f"u{n}"})
        for n in range(1200)
    ]
    lines[3] = "not json"
    lines[700] = '{"payload":{}}'
    lines[701] = ""
    lines[702] = '{"type":"T","payload":{},"unknown":1}'
    lines[1199] = json.dumps({"type": "", "payload": {}})
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(lines))
    done = snorri.run("publish", "--file", str(file), "--json", code=1)
    answer = json.loads(done.stdout)
    assert answer["published"] == 1195
    assert [row["line"] for row in answer["rejected"]] == [4, 701, 703, 1200]
    for number in (4, 701, 703, 1200):
        assert f"line {number}: " in done.stderr

    def all_done() -> bool:
        cards = {card["id"]: card["instances"] for card in snorri.json("sagas")}
        return cards["user-settings-saga"].get("completed") == 1195

    snorri.eventually(all_done, "1195 users with settings")
    one = '{"type":"UserRegistered","payload":{"userId":"z"},"key":"z"}\n'
    assert "published 1 events" in snorri.run("publish", "--file", "-", input=one).stdout


def test_an_operator_steps_in(snorri: Snorri) -> None:
    _order(snorri, "op-1", "slow")
    _status(snorri, "op-1", "running")
    snorri.run("pause", "CheckoutSaga", "op-1", "--by", "ann", "--reason", "lunch")
    refused = snorri.run("pause", "CheckoutSaga", "op-1", code=1)
    assert "pause is not allowed" in refused.stderr
    patched = snorri.run("patch", "CheckoutSaga", "op-1", "--patch", '{"customerId":"c-9"}')
    assert "patch done" in patched.stdout
    assert snorri.run("resume", "CheckoutSaga", "op-1").stdout.startswith("resume done")
    _status(snorri, "op-1", "completed")
    lines = snorri.run("history", "CheckoutSaga", "op-1", "--json").stdout.splitlines()
    causes = [json.loads(line)["cause"] for line in lines]
    pause = next(cause for cause in causes if cause["type"] == "pause")
    assert (pause["kind"], pause["by"], pause["reason"]) == ("operator", "ann", "lunch")
    assert snorri.json("show", "CheckoutSaga", "op-1")["state"]["customerId"] == "c-9"


def test_a_plan_is_shown_and_then_exactly_it_happens(snorri: Snorri) -> None:
    _order(snorri, "plan-1")
    _status(snorri, "plan-1", "completed")
    shown = snorri.run("compensate", "CheckoutSaga", "plan-1", "--dry-run").stdout
    for words in ("completed -> compensating", "send refund-payment", "nothing was changed"):
        assert words in shown
    plan = snorri.json("compensate", "CheckoutSaga", "plan-1", "--dry-run")
    assert snorri.json("show", "CheckoutSaga", "plan-1")["version"] == 4
    snorri.run("compensate", "CheckoutSaga", "plan-1", "--plan", plan["hash"])
    moved = snorri.run("compensate", "CheckoutSaga", "plan-1", "--plan", plan["hash"], code=1)
    assert moved.stderr.startswith("error: ")
    refused = snorri.run("resume", "CheckoutSaga", "plan-1", "--dry-run", code=1)
    assert "resume is not allowed" in refused.stderr


def _park(snorri: Snorri, key: str) -> None:
    """An order whose handler raises: the event it is told has no transactionId."""
    snorri.run("publish", "OrderPlaced", json.dumps({"orderId": key}), "--key", key)
    snorri.eventually(lambda: _order_state(snorri, key) == "awaiting-fulfillment", "the payment")
    snorri.run("publish", "PaymentCaptured", json.dumps({"orderId": key}), "--key", key)
    snorri.eventually(lambda: _show(snorri, key)["status"] == "parked", "it to be parked")


def _show(snorri: Snorri, key: str) -> dict[str, Any]:
    found = [one["key"] for one in snorri.json("instances", "--saga", "order-saga")]
    return snorri.json("show", "order-saga", key) if key in found else {"state": {"status": ""}}


def _order_state(snorri: Snorri, key: str) -> str:
    return _show(snorri, key)["state"]["status"]


def test_a_parked_instance_is_retried(snorri: Snorri) -> None:
    snorri.run("publish", "OrderPlaced", '{"orderId":"p-0"}', "--key", "p-0")
    snorri.eventually(lambda: snorri.json("instances", "--saga", "order-saga"), "an order")
    _park(snorri, "p-1")
    shown = snorri.run("show", "order-saga", "p-1").stdout
    assert "KeyError" in shown
    assert "snorri retry order-saga p-1" in shown
    wait, *_ = snorri.json("show", "order-saga", "p-1")["waitsFor"]
    assert wait["kind"] == "parked"
    assert " on PaymentCaptured: KeyError: 'transactionId'; mend the cause" in wait["words"]
    planned = snorri.run("retry", "order-saga", "p-1", "--dry-run").stdout
    assert "parked  KeyError: 'transactionId'" in planned
    again = snorri.run("retry", "order-saga", "p-1", code=1)  # the same message, the same fault
    assert "parked again" in again.stderr
    assert _show(snorri, "p-1")["status"] == "parked"
    mended = '{"orderId":"p-1","transactionId":"t-1"}'
    snorri.run("retry", "order-saga", "p-1", "--payload", mended, "--reason", "asked the bank")
    now = _show(snorri, "p-1")
    assert (now["status"], now["state"]["transactionId"]) == ("running", "t-1")


def test_a_parked_instance_goes_on_without_the_message(snorri: Snorri) -> None:
    _park(snorri, "s-1")
    snorri.run("publish", "OrderFulfilled", '{"orderId":"s-1"}', "--key", "s-1")
    snorri.eventually(lambda: _show(snorri, "s-1").get("backlog"), "a message in the backlog")
    snorri.run("skip", "order-saga", "s-1")
    snorri.eventually(lambda: _show(snorri, "s-1")["status"] == "completed", "the end")


def test_dead_letters_are_mended(snorri: Snorri) -> None:
    snorri.run("publish", "OrderCreated", '{"orderId":"d-1","total":"much"}', "--key", "d-1")
    letter = _letter(snorri, "d-1", "OrderCreated")
    assert letter["id"] in snorri.run("dead-letters").stdout
    shown = snorri.json("dead-letters", "show", letter["id"])
    assert shown["message"]["payload"] == {"orderId": "d-1", "total": "much"}
    assert "much" in snorri.run("dead-letters", "show", letter["id"]).stdout
    mended = '{"orderId":"d-1","total":5}'
    snorri.run("dead-letters", "redrive", letter["id"], "--payload", mended, "--by", "ann")
    _status(snorri, "d-1", "completed")
    again = snorri.run("dead-letters", "redrive", letter["id"], code=1)
    assert "redriven by ann before" in again.stderr
    snorri.run("publish", "OrderCreated", '{"total":1}', "--key", "d-2")
    other = _letter(snorri, "d-2", "OrderCreated")
    snorri.run("dead-letters", "discard", other["id"], "--reason", "a test")
    near = snorri.run("dead-letters", "discard", letter["id"] + "x", code=1)
    assert "did you mean" in near.stderr
    statuses = {
        one["id"]: one["status"]
        for one in snorri.json("dead-letters", "list", "--status", "all", "--limit", "1000")
    }
    assert (statuses[letter["id"]], statuses[other["id"]]) == ("redriven", "discarded")


def test_the_doctor_finds_it_well(snorri: Snorri) -> None:
    findings = {one["what"]: one["level"] for one in snorri.json("doctor")}
    assert "fail" not in findings.values()
    assert {findings["NATS"], findings["history"], findings["engines"], findings["workers"]} == {
        "ok"
    }
    assert findings["fsync"] == "warn"  # this installation runs with --no-sync-always
    assert "sync_interval: always" in snorri.run("doctor").stdout


def test_a_reader_that_goes_away_is_no_error(snorri: Snorri) -> None:
    command = [sys.executable, "-m", "server", "history", "CheckoutSaga", "pipe-1", "--json"]
    _order(snorri, "pipe-1")
    _status(snorri, "pipe-1", "completed")
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait()
    writer = subprocess.run(
        command,
        cwd=snorri.cwd,
        env=snorri.environment,
        stdout=reader.stdin,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert reader.stdin is not None
    reader.stdin.close()
    assert writer.stderr == ""
    assert writer.returncode == 1


def test_history_tells_what_changed(snorri: Snorri) -> None:
    _order(snorri, "h-1", "decline")
    _status(snorri, "h-1", "cancelled")
    first, second = snorri.run("history", "CheckoutSaga", "h-1").stdout.split("   2  ")
    assert "state {" in first
    reason = "payment failed: the card was declined"
    assert f'changed {{"status":"cancelled","cancelReason":"{reason}"}}' in second
    assert second.count(f"cancel: {reason}") == 1
    assert f"cancelled: {reason}" not in second  # the effect has told


def test_start_finds_the_key_in_the_input_and_starts_nothing_twice(snorri: Snorri) -> None:
    order = '{"orderId":"st-1","total":5}'
    assert (
        "CheckoutSaga/st-1 is completed"
        in snorri.run("start", "CheckoutSaga", order, "--wait").stdout
    )
    assert "exists and is completed" in snorri.run("start", "CheckoutSaga", order, code=1).stderr
    assert snorri.json("show", "CheckoutSaga", "st-1")["version"] == 4
    assert "no 'orderId'" in snorri.run("start", "CheckoutSaga", '{"total":5}', code=2).stderr
    bad = '{"orderId":"st-2","total":"much"}'
    assert "does not fit CheckoutSaga" in snorri.run("start", "CheckoutSaga", bad, code=1).stderr


def test_publish_tells_who_takes_the_event(snorri: Snorri) -> None:
    taken = snorri.run("publish", "FulfillmentFailed", '{"orderId":"who-1"}', "--key", "w").stdout
    assert "; for order-saga\n" in taken
    typo = snorri.run("publish", "OrderCraeted", "{}").stdout
    assert "no saga handles it (did you mean OrderCreated" in typo
    elsewhere = ("--header", "Snorri-Saga=Nobody")
    assert "no saga 'Nobody'" in snorri.run("publish", "OrderCreated", "{}", *elsewhere).stdout


def test_dead_letters_alone_lists_with_options(snorri: Snorri) -> None:
    data = str(snorri.cwd / ".snorri")
    assert snorri.run("dead-letters", "--data", data, "--json").stdout.startswith("[")


def test_a_patch_that_does_not_fit_is_refused_with_the_field(snorri: Snorri) -> None:
    _order(snorri, "pt-1", "slow")
    _status(snorri, "pt-1", "running")
    patch = ("patch", "CheckoutSaga", "pt-1", "--patch", '{"total":"much"}')
    told = snorri.run(*patch, code=1).stderr
    assert "would not fit CheckoutSaga" in told
    assert "$.total" in told
