"""Goal: wrong usage is answered with words and the right exit code, before anything is connected.

Method: click's runner, in a temporary folder; no command here reaches a broker, and the one that
looks for one finds nothing on a port that is closed.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from server.cli import cli
from server.commands.reach import did_you_mean

Snorri = Callable[..., Result]


@pytest.fixture
def snorri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Snorri:
    """Runs a command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: str, input: str | None = None) -> Result:
        return CliRunner().invoke(cli, list(arguments), prog_name="snorri", input=input)

    return run


@pytest.fixture
def closed_url() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"nats://127.0.0.1:{probe.getsockname()[1]}"


def test_the_help_names_every_command_in_a_group(snorri: Snorri) -> None:
    text = snorri("--help").output
    for word in (*cli.commands, "Run", "Send", "Look", "Act", "Set up"):
        assert word in text
    assert "Commands" not in text  # the heading of those without a group


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_every_command_has_help(snorri: Snorri, command: str) -> None:
    result = snorri(command, "--help")
    assert result.exit_code == 0
    assert "\x1b" not in result.output


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (["nothing"], "No such command"),
        (["show", "Saga"], "Missing argument"),
        (["publish"], "give a TYPE"),
        (["publish", "T", "{not json"], "is not JSON"),
        (["publish", "T", "{}", "--header", "x"], "has no ="),
        (["publish", "T", "--file", "absent.jsonl"], "does not exist"),
        (["start", "S", "[1,"], "is not JSON"),
        (["instances", "--status", "happy"], "happy"),
        (["instances", "--limit", "0"], "0"),
        (["sql", "SELECT 1", "--param", "x"], "NAME=VALUE"),
        (["sql", "SELECT 1", "--format", "xml"], "xml"),
        (["sql", "SELECT 1", "--limit", "0"], "0"),
        (["patch", "S", "k", "--patch", "{"], "--patch is not JSON"),
        (["patch", "S", "k", "--version", "x"], "x"),
        (["signal", "S", "k"], "--name"),
        (["patch", "S", "k", "--state", "{}", "--patch", "{}"], "give one of them"),
        (["sagas", "--bucket", "a.b"], "bucket"),
        (["sagas", "--nats-url", "http://localhost"], "nats://host:4222"),
        (["sagas", "--nats-url", "nats://localhost:99999"], "no address of a NATS server"),
        (["sagas", "--nats-creds", "absent.creds"], "SNORRI_NATS_CREDS"),
        (["sagas", "--nats-port", "99999"], "nats_port"),
        (["dev", "--host", "0.0.0.0"], "SNORRI_AUTH"),
        (["serve", "--host", "0.0.0.0"], "SNORRI_AUTH"),
        (["serve", "--auth", "absent.toml"], "absent.toml"),
        (["dead-letters", "redrive"], "ID"),
        (["doctor", "--tail", "-1"], "-1"),
    ],
)
def test_wrong_usage_is_2_and_says_why(snorri: Snorri, line: list[str], word: str) -> None:
    result = snorri(*line)
    assert result.exit_code == 2, result.output
    assert word in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "line",
    [
        ["publish", "T", "{}"],
        ["start", "S", "{}"],
        ["sagas"],
        ["instances"],
        ["show", "S", "k"],
        ["history", "S", "k", "--follow"],
        ["pause", "S", "k"],
        ["cancel", "CheckoutSaga", "k", "--dry-run"],
        ["dead-letters"],
        ["dead-letters", "show", "x"],
        ["dead-letters", "redrive", "x"],
        ["dead-letters", "discard", "x"],
        ["doctor"],
        ["engine", "--wait", "0"],
        ["jobs", "--wait", "0"],
        ["dev", "--port", "0"],
        ["serve", "--port", "0", "--wait", "0"],
    ],
)
def test_a_broker_out_of_reach_is_3(
    snorri: Snorri, closed_url: str, line: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNORRI_NATS_URL", closed_url)
    result = snorri(*line)
    assert result.exit_code == 3, result.output
    assert "no connection to NATS" in result.output


@pytest.mark.parametrize(
    "line", [["sql", "SELECT 1"], ["sql", "-"], ["instances", "--where", "version > 1"]]
)
def test_an_api_out_of_reach_is_3(snorri: Snorri, closed_url: str, line: list[str]) -> None:
    result = snorri(*line, "--port", closed_url.rpartition(":")[2])
    assert result.exit_code == 3, result.output
    assert "no API answers" in result.output
    assert "snorri serve" in result.output


@pytest.mark.parametrize("command", ["engine", "jobs", "dev", "serve"])
def test_an_app_that_is_not_there_is_1(snorri: Snorri, command: str) -> None:
    port = ("--port", "0") if command in ("dev", "serve") else ()  # its own may be somebody's
    result = snorri(command, "--app", "absent_module", *port)
    assert result.exit_code == 1
    assert "no module 'absent_module'" in result.output


@pytest.mark.parametrize(
    ("word", "known", "near"),
    [
        ("ChekoutSaga", ["CheckoutSaga", "HotelSaga", "NightlyReportSaga"], "CheckoutSaga"),
        ("order", ["OrderCreated", "Charged"], "OrderCreated"),
        ("o-1004", ["o-1003", "o-1001", "x"], "o-1003 or o-1001"),
        ("Nope", ["CheckoutSaga"], ""),
    ],
)
def test_only_names_that_come_near_are_offered(word: str, known: list[str], near: str) -> None:
    assert did_you_mean(word, known) == (f" (did you mean {near}?)" if near else "")


def test_an_unknown_target_is_named_before_anything_runs(snorri: Snorri, closed_url: str) -> None:
    result = snorri("jobs", "proces-payment", "--nats-url", closed_url, "--wait", "0")
    assert result.exit_code == 1
    assert "did you mean 'process-payment'" in result.output


def test_a_dry_run_needs_the_code(snorri: Snorri, closed_url: str) -> None:
    result = snorri("pause", "Elsewhere", "k", "--dry-run", "--nats-url", closed_url)
    assert result.exit_code == 2
    assert "name its module with --app" in result.output


def test_config_tells_origins_and_hides_passwords(
    snorri: Snorri, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "snorri.toml").write_text('bucket = "SHOP"\n')
    monkeypatch.setenv("SNORRI_NATS_URL", "nats://me:hunter2@host:4222")
    assert "hunter2" not in snorri("config").output
    rows = {row["name"]: row for row in json.loads(snorri("config", "--json").output)}
    assert rows["nats_url"]["value"] == "nats://***@host:4222"
    assert rows["nats_url"]["origin"] == "environment SNORRI_NATS_URL"
    assert rows["bucket"]["value"] == "SHOP"
    assert "snorri.toml" in rows["bucket"]["origin"]
    assert rows["port"]["origin"] == "default"


def test_a_broken_settings_file_is_2(snorri: Snorri, tmp_path: Path) -> None:
    (tmp_path / "snorri.toml").write_text('buckett = "SHOP"\n')
    result = snorri("config")
    assert result.exit_code == 2
    assert "did you mean bucket" in result.output


def test_version_prints_versions(snorri: Snorri) -> None:
    versions = json.loads(snorri("version", "--json").output)
    assert set(versions) == {"snorri", "python", "nats-server", "nats-py"}
    assert versions["python"] in snorri("version").output


def test_init_and_new(snorri: Snorri, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert snorri("init", "my-shop").exit_code == 0
    again = snorri("init", "my-shop")
    assert again.exit_code == 1
    assert "nothing was written" in again.output
    assert snorri("init", "jobs").exit_code == 1
    monkeypatch.chdir(tmp_path / "my-shop")
    assert snorri("new", "saga", "refund").exit_code == 0
    assert snorri("new", "job", "do-refund").exit_code == 0
    assert (tmp_path / "my-shop/my_shop/sagas/refund.py").is_file()
    assert snorri("new", "saga", "refund").exit_code == 1
    assert snorri("new", "saga", "!").exit_code == 1


def test_a_payload_without_end_is_not_read_to_the_end(
    snorri: Snorri, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.commands.common.STDIN_BYTES_MAX", 1000)
    result = snorri("publish", "T", "-", input='"' + "x" * 2000)
    assert result.exit_code == 2
    assert "over 1000 bytes" in result.output


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_path_that_can_not_be_is_told_with_the_next_step(
    snorri: Snorri, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()
    result = snorri("dev", "--nats-port", "0", "--port", "0", "--data", place)
    assert result.exit_code == 1
    assert f"{place}: " in result.output
    assert "or name another" in result.output


def test_payloads_come_from_stdin_too(snorri: Snorri, closed_url: str) -> None:
    assert snorri("publish", "T", "-", input="nonsense").exit_code == 2
    assert snorri("publish", "T", "-", "--nats-url", closed_url, input='{"a":1}').exit_code == 3
