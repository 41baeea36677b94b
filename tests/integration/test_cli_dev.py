"""Goal: `snorri dev` brings everything up, says what to try, goes down in order, whatever ends it.

Method: real processes in temporary folders; signals are sent and exit codes and orphans looked at.
"""

from __future__ import annotations

import re
import shlex
import signal
import socket
from pathlib import Path

import pytest

from server.datadir import command_line, holder_of
from tests.integration.cli_kit import Process, Snorri, dev, nats_url
from tests.waiting import eventually_sync


def _line_to_try(output: str) -> str:
    return next(found for found in re.findall(r"^ +\S*snorri (.*)$", output, re.MULTILINE))


def test_what_it_says_to_try_works(tmp_path: Path) -> None:
    process = dev(tmp_path)
    try:
        output = process.output
        line = _line_to_try(output)
        snorri = Snorri(tmp_path)
        snorri.run(*shlex.split(line))

        def completed() -> bool:
            return snorri.json("show", "CheckoutSaga", "o-1001")["status"] == "completed"

        snorri.eventually(completed, "the checkout to complete")
        assert "nats pub saga.events.OrderCreated.o-1001 '{" in output
        for words in ("embedded", str(tmp_path / ".snorri"), "CheckoutSaga", "process-payment"):
            assert words in output
        assert "no login" in output
        assert process.stop() == 130
    finally:
        process.close()
    assert holder_of(tmp_path / ".snorri") is None


def test_sigterm_is_an_orderly_end(tmp_path: Path) -> None:
    process = dev(tmp_path)
    try:
        holder = holder_of(tmp_path / ".snorri")
        assert holder is not None
        assert holder.server_pid is not None
        assert process.stop(signal.SIGTERM) == 0
        assert "nats-server" not in command_line(holder.server_pid)
    finally:
        process.close()


def test_a_second_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    process = dev(tmp_path)
    try:
        snorri = Snorri(tmp_path)
        order = '{"orderId":"o-1","total":1,"simulate":"slow"}'
        snorri.run("publish", "OrderCreated", order, "--key", "o-1")
        snorri.eventually(
            lambda: snorri.json("instances", "--saga", "CheckoutSaga"), "the slow job to begin"
        )
        holder = holder_of(tmp_path / ".snorri")
        assert holder is not None
        assert holder.server_pid is not None
        pid = holder.server_pid
        process.process.send_signal(signal.SIGINT)
        process.process.send_signal(signal.SIGINT)
        assert process.process.wait(20) == 130
        eventually_sync(lambda: "nats-server" not in command_line(pid), what="no orphan")
    finally:
        process.close()


def test_state_survives_and_a_second_start_is_refused(tmp_path: Path) -> None:
    first = dev(tmp_path)
    try:
        snorri = Snorri(tmp_path)
        snorri.run("start", "CheckoutSaga", '{"orderId":"o-7","total":1}', "--key", "o-7", "--wait")
        second = Process(tmp_path, "dev", "--nats-port", "0", "--port", "0")
        assert second.process.wait(30) == 1
        assert "is in use by another Snorri" in second.output
        assert "Traceback" not in second.output
        assert first.stop() == 130
    finally:
        first.close()
    again = dev(tmp_path)
    try:
        assert snorri.json("show", "CheckoutSaga", "o-7")["status"] == "completed"
    finally:
        again.close()


def test_after_kill_9_it_goes_on_where_it_was(tmp_path: Path) -> None:
    """The same engine takes its leases over at once, and what was committed is still there."""
    first = dev(tmp_path)
    snorri = Snorri(tmp_path)
    try:
        snorri.run("publish", "CartChanged", '{"cartId":"c-1","patience":"1s"}', "--key", "c-1")
        snorri.eventually(lambda: snorri.json("instances"), "the cart")
        first.process.kill()
        first.process.wait(20)
    finally:
        first.close()
    again = dev(tmp_path)
    try:
        (engine,) = [one for one in snorri.json("doctor") if one["what"] == "engines"]
        assert "dev" in engine["found"]

        def reminded() -> bool:
            return snorri.json("show", "CartReminderSaga", "c-1")["status"] == "completed"

        snorri.eventually(reminded, "the timer that was due meanwhile")
    finally:
        again.close()


def test_a_taken_port_and_a_strange_directory_are_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        told = Snorri(tmp_path).fail("dev", "--nats-port", port, "--port", "0", code=1)
    assert f"port {port} is taken" in told
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "layout").write_text("99\n")
    told = Snorri(tmp_path).fail(
        *("dev", "--data", "strange", "--nats-port", "0", "--port", "0"), code=1
    )
    assert "layout '99'" in told


def test_engine_and_jobs_as_processes_of_their_own(tmp_path: Path) -> None:
    host = dev(tmp_path / ".", "--bucket", "OTHER", "--namespace", "other")
    url = nats_url(tmp_path / ".snorri")
    where = ("--nats-url", url, "--log-level", "info")
    worker = Process(tmp_path, "jobs", "process-payment", *where)
    engine = None
    try:
        worker.until("waiting up to")  # there is no bucket yet
        engine = Process(tmp_path, "engine", *where)
        engine.until("engine on nats://")
        worker.until("jobs on nats://")
        snorri = Snorri(tmp_path, SNORRI_NATS_URL=url)
        order = '{"orderId":"o-1","total":1,"simulate":"decline"}'
        done = snorri.run("start", "CheckoutSaga", order, "--key", "o-1", "--wait", code=1)
        assert "did not complete" in done.stderr
        assert snorri.json("show", "CheckoutSaga", "o-1")["status"] == "cancelled"
        assert engine.stop(signal.SIGTERM) == 0
        assert worker.stop() == 130
        stored = snorri.run("pause", "CheckoutSaga", "o-1", "--timeout", "0.3", code=1)
        assert "Is an engine running?" in stored.stderr
    finally:
        for process in (worker, engine, host):
            if process is not None:
                process.close()


def test_an_app_from_init_runs(tmp_path: Path) -> None:
    Snorri(tmp_path).run("init", "my-shop")
    home = tmp_path / "my-shop"
    process = dev(home, "--app", "my_shop")
    try:
        snorri = Snorri(home)
        line = next(
            found for found in re.findall(r"^ +\S*snorri (.*)$", process.output, re.MULTILINE)
        )
        snorri.run(*shlex.split(line))

        def completed() -> bool:
            found = snorri.json("instances", "--saga", "order-saga")
            return [one["status"] for one in found] == ["completed"]

        snorri.eventually(completed, "the order to complete")
    finally:
        process.close()


@pytest.mark.parametrize("command", ["dev", "engine"])
def test_an_unreachable_server_is_3(tmp_path: Path, command: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    wait = ["--wait", "0"] if command == "engine" else ["--port", "0"]
    told = Snorri(tmp_path).fail(command, "--nats-url", f"nats://127.0.0.1:{port}", *wait, code=3)
    assert "no connection to NATS" in told


def test_ctrl_c_in_a_command_is_130(tmp_path: Path) -> None:
    host = dev(tmp_path)
    try:
        snorri = Snorri(tmp_path)
        snorri.run("start", "CartReminderSaga", '{"cartId":"c-1"}', "--key", "c-1")
        follow = Process(tmp_path, "history", "CartReminderSaga", "c-1", "--follow")
        try:
            follow.until("set timer patience")
            assert follow.stop() == 130
            assert "Traceback" not in follow.output
        finally:
            follow.close()
    finally:
        host.close()
