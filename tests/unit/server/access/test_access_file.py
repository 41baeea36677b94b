"""Goal: a file of users that says something wrong is refused with the place and the next step, and
what it says holds from the moment it is written.

Method: hostile and broken files as bytes; a real file that is changed, broken, removed.
"""

from __future__ import annotations

import logging
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.access.file import FILE_BYTES_MAX, AccessFile, AccessFileError, parse, read
from server.access.source import AccessSource
from tests.access_kit import FILE, HASH

USER = f'[users.anna]\npassword = "{HASH}"\nrole = "viewer"\n'
PROXY = """[proxy]
identity_header = "X-User"
secret_header = "X-Secret"
secret_sha256 = "{digest}"
trusted = {trusted}
""".replace("{digest}", "0" * 64)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "nobody could come in"),
        ("users = 1", "users"),
        ("[users.anna", "not TOML"),
        (USER.replace("viewer", "root"), "users"),
        (USER.replace(HASH, "hunter2hunter2"), "no argon2 hash"),
        (USER + "rolle = 1", "rolle"),
        (USER + "\n[user.bob]", "user"),
        (USER + f"[tokens.ci]\nsha256 = '{'g' * 64}'\nrole = 'viewer'", "SHA-256"),
        (
            USER + f"[tokens.ci]\nsha256 = '{'0' * 64}'\nrole = 'viewer'\nexpires = 'soon'",
            "expires",
        ),
        (f'[users."{"x" * 101}"]\npassword = "{HASH}"\nrole = "viewer"', "printable"),
        (f'[users."a\\u0007"]\npassword = "{HASH}"\nrole = "viewer"', "printable"),
        ('session_lifetime = "soon"\n' + USER, "session_lifetime"),
        ('session_lifetime = "1s"\n' + USER, "between 1m and 30d"),
        ('session_lifetime = "9000d"\n' + USER, "session_lifetime"),
        ('allowed_hosts = ["http://x"]\n' + USER, "without a port"),
        ('allowed_hosts = ["*"]\n' + USER, "allowed_hosts"),
        (USER + PROXY.replace("{trusted}", "[]"), "trusted"),
        (USER + PROXY.replace("{trusted}", '["everywhere"]'), "10.0.0.7"),
        (USER + PROXY.replace("{trusted}", '["10.0.0.7"]').replace("X-User", "X User"), "proxy"),
        ("a = " + "[" * 5000, "nested"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, words: str) -> None:
    with pytest.raises(AccessFileError, match=words) as caught:
        parse(text.encode(), "access.toml")
    assert "access.toml" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert HASH not in str(caught.value)


def test_the_file_of_the_page_is_one_that_works() -> None:
    page = (Path(__file__).parents[4] / "docs" / "access.md").read_text(encoding="utf-8")
    block = page.split("```toml\n")[1].split("```")[0]
    file = parse(block.encode(), "docs/access.md")
    assert set(AccessFile.__struct_fields__) <= set(re.findall(r"^\[?(\w+)", block, re.MULTILINE))
    assert file.proxy is not None
    assert set(file.proxy.__struct_fields__) <= set(re.findall(r"^(\w+) =", block, re.MULTILINE))


def test_bytes_that_are_no_text_and_files_without_an_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AccessFileError, match="UTF-8"):
        parse(b"\xff\xfe", "access.toml")
    huge = tmp_path / "access.toml"
    huge.write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    with pytest.raises(AccessFileError, match="bytes"):
        read(huge)
    with pytest.raises(AccessFileError, match="snorri access user"):
        read(tmp_path / "none.toml")
    with pytest.raises(AccessFileError, match="can't be read"):
        read(tmp_path)


def test_an_expiry_without_a_zone_is_utc() -> None:
    text = f"[tokens.ci]\nsha256 = '{'0' * 64}'\nrole = 'viewer'\nexpires = 2030-01-01T00:00:00"
    token = parse(text.encode(), "f").tokens["ci"]
    assert not token.expired(datetime(2029, 12, 31, tzinfo=UTC))
    assert token.expired(datetime(2030, 1, 1, tzinfo=UTC))


def _write(path: Path, text: str) -> None:
    """Replace the file as an editor does: a new file in its place."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.chmod(0o600)
    os.replace(other, path)


def test_a_change_holds_at_once(tmp_path: Path) -> None:
    path = tmp_path / "access.toml"
    _write(path, USER)
    source = AccessSource(path)
    assert source.current().users["anna"].role == "viewer"
    _write(path, USER.replace("viewer", "admin"))
    assert source.current().users["anna"].role == "admin"
    assert source.current() is source.current()


def test_a_broken_file_leaves_the_last_good_one_a_missing_one_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "access.toml"
    _write(path, USER)
    source = AccessSource(path)
    _write(path, "[users")
    assert "anna" in source.current().users
    assert "stay in force" in caplog.text
    path.unlink()
    assert not source.current().users
    assert "is gone" in caplog.text
    _write(path, USER)
    assert "anna" in source.current().users


def test_a_file_others_can_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "access.toml"
    path.write_text(FILE)
    path.chmod(0o600)
    with caplog.at_level(logging.WARNING):
        AccessSource(path)
        assert not caplog.records
        path.chmod(0o640)
        AccessSource(path)
    assert "chmod 600" in caplog.text
