"""Goal: the commands make a file that works, keep what else is in it, and show no secret twice.

Method: click's runner on a temporary file; what was made is read by the part that serves it.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from server.access import passwords
from server.access.file import read
from server.access.passwords import PasswordCheck, sha256
from server.cli import cli
from tests.access_kit import PASSWORD, PasswordHasher

Snorri = Callable[..., Result]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a file that is not there yet, named by SNORRI_AUTH."""
    path = tmp_path / "etc" / "access.toml"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SNORRI_AUTH", str(path))
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(1, 8, 1))
    return path


@pytest.fixture
def snorri(file: Path) -> Snorri:
    """Runs ``snorri access …``."""

    def run(*arguments: str, input: str | None = None) -> Result:
        return CliRunner().invoke(cli, ["access", *arguments], prog_name="snorri", input=input)

    return run


@pytest.mark.asyncio
async def test_a_user_who_was_made_can_log_in(snorri: Snorri, file: Path) -> None:
    result = snorri("user", "anna", "--role", "operator", input=f"{PASSWORD}\n{PASSWORD}\n")
    assert result.exit_code == 0, result.output
    assert "new operator" in result.output
    assert PASSWORD not in result.output
    user = read(file).users["anna"]
    assert user.role == "operator"
    assert await PasswordCheck()(PASSWORD, user.password)
    assert not await PasswordCheck()(PASSWORD + "x", user.password)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_role_and_a_password_change_by_themselves(snorri: Snorri, file: Path) -> None:
    snorri("user", "anna", "--role", "admin", "--password-stdin", input=PASSWORD + "\n")
    before = read(file).users["anna"].password
    assert snorri("user", "anna", "--role", "viewer", "--keep-password").exit_code == 0
    assert (read(file).users["anna"].role, read(file).users["anna"].password) == ("viewer", before)
    result = snorri("user", "anna", "--role", "viewer", "--password-stdin", input="x" * 20)
    assert "have ended" in result.output
    assert read(file).users["anna"].password != before


def test_a_token_is_shown_once_and_kept_as_its_hash(snorri: Snorri, file: Path) -> None:
    result = snorri("token", "ci", "--role", "viewer", "--expires", "30d", "--json")
    made = json.loads(result.stdout)
    token = read(file).tokens["ci"]
    assert token.sha256 == sha256(made["token"])
    assert made["token"] not in file.read_text()
    ends = token.ends
    assert ends is not None
    assert abs(ends - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=1)
    assert not made["replaced"]
    other = snorri("token", "ci", "--role", "viewer")
    assert other.stdout.strip() != made["token"]
    assert read(file).tokens["ci"].sha256 == sha256(other.stdout.strip())


def test_the_list_shows_no_hash(snorri: Snorri, file: Path) -> None:
    snorri("user", "anna", "--role", "admin", "--password-stdin", input=PASSWORD)
    snorri("token", "ci", "--role", "viewer", "--expires", "1d")
    for result in (snorri("list"), snorri("list", "--json")):
        assert "anna" in result.output
        assert "ci" in result.output
        assert "argon2" not in result.output
        assert read(file).tokens["ci"].sha256 not in result.output
    rows = json.loads(snorri("list", "--json").stdout)
    assert [(row["kind"], row["role"]) for row in rows] == [("user", "admin"), ("token", "viewer")]


def test_what_people_wrote_into_the_file_stays(snorri: Snorri, file: Path) -> None:
    snorri("user", "anna", "--role", "admin", "--password-stdin", input=PASSWORD)
    file.write_text('# ours\nallowed_hosts = ["a.example"]  # the only one\n' + file.read_text())
    snorri("user", "bob@example.com", "--role", "viewer", "--password-stdin", input=PASSWORD)
    snorri("token", "a.b c", "--role", "viewer")
    text = file.read_text()
    assert text.startswith('# ours\nallowed_hosts = ["a.example"]  # the only one\n')
    assert set(read(file).users) == {"anna", "bob@example.com"}
    assert set(read(file).tokens) == {"a.b c"}


def test_removing_ends_user_and_token_but_never_the_last_way_in(snorri: Snorri, file: Path) -> None:
    snorri("user", "anna", "--role", "admin", "--password-stdin", input=PASSWORD)
    snorri("user", "bob", "--role", "admin", "--password-stdin", input=PASSWORD)
    snorri("token", "bob", "--role", "viewer")
    assert "user and the token" in snorri("remove", "bob").output
    assert set(read(file).users) == {"anna"}
    assert not read(file).tokens
    last = snorri("remove", "anna")
    assert (last.exit_code, "nobody could come in" in last.output) == (2, True)
    assert set(read(file).users) == {"anna"}
    assert snorri("remove", "nobody").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "input", "words"),
    [
        (("user", "a", "--role", "root"), None, "root"),
        (("user", "a"), None, "--role"),
        (("user", "a", "--role", "viewer", "--password-stdin"), "short\n", "longer"),
        (("user", "a", "--role", "viewer", "--password-stdin"), "", "longer"),
        (("user", "a", "--role", "viewer", "--keep-password"), None, "no user"),
        (("user", "", "--role", "viewer", "--keep-password"), None, "printable"),
        (("user", "a\x07", "--role", "viewer", "--keep-password"), None, "printable"),
        (("user", "a", "--role", "viewer", "--keep-password", "--password-stdin"), "", "exclude"),
        (("token", "t", "--role", "viewer", "--expires", "soon"), None, "30s"),
        (("token", "t", "--role", "viewer", "--expires", "0s"), None, "of no use"),
        (("list",), None, "does not exist"),
        (("remove", "a"), None, "does not exist"),
    ],
)
def test_wrong_usage_says_what_to_do_and_writes_nothing(
    snorri: Snorri, file: Path, arguments: tuple[str, ...], input: str | None, words: str
) -> None:
    result = snorri(*arguments, input=input)
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert not file.exists()


def test_a_broken_file_is_left_as_it_is(snorri: Snorri, file: Path) -> None:
    file.parent.mkdir()
    file.write_text("[users")
    result = snorri("token", "ci", "--role", "viewer")
    assert result.exit_code == 2
    assert "correct it first" in result.output
    assert file.read_text() == "[users"
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_without_a_file_named_it_asks_for_one(
    snorri: Snorri, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SNORRI_AUTH")
    result = snorri("list")
    assert result.exit_code == 2
    assert "SNORRI_AUTH" in result.output
