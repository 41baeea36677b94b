"""Goal: who may come in is decided by the file while a real installation serves, at its start and
whenever the file changes.

Method: `snorri dev` with a file that `snorri access` made, asked over HTTP by a program and by a
browser.
"""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from server.access.access import COOKIE
from tests.integration.cli_kit import Process, Snorri, dev

PASSWORD = "correct horse battery"
ME = "/api/v1/me"


@pytest.fixture
def snorri(tmp_path: Path) -> Snorri:
    """The command line in an empty folder, with users and tokens in access.toml."""
    made = Snorri(tmp_path, SNORRI_AUTH="access.toml")
    made.run("access", "user", "ada", "--role", "admin", "--password-stdin", input=PASSWORD)
    return made


def _url(process: Process) -> str:
    found = re.search(r"API\s+(http://[\d.]+:\d+)", process.output)
    assert found is not None, process.output
    return found.group(1)


def test_a_host_others_can_reach_is_refused_without_users(tmp_path: Path) -> None:
    here = Snorri(tmp_path)
    for command in ("dev", "serve"):
        said = here.fail(command, "--host", "0.0.0.0", code=2)
        assert "SNORRI_AUTH" in said
        said = here.fail(command, "--host", "0.0.0.0", "--auth", "none.toml", code=2)
        assert "snorri access user" in said
    (tmp_path / "broken.toml").write_text("[users")
    assert "not TOML" in here.fail("dev", "--auth", "broken.toml", code=2)


def test_the_file_rules_while_it_runs_and_sessions_outlive_a_restart(
    snorri: Snorri, tmp_path: Path
) -> None:
    token = snorri.json("access", "token", "ci", "--role", "viewer")["token"]
    program = {"Authorization": f"Bearer {token}"}
    process = dev(tmp_path, "--host", "0.0.0.0", SNORRI_AUTH="access.toml")
    try:
        url = _url(process)
        assert httpx.get(url + ME).status_code == 401
        assert httpx.get(url + ME, headers=program).json()["role"] == "viewer"
        asked = httpx.post(f"{url}/api/v1/sql", json={"sql": "SELECT 1 AS one"}, headers=program)
        assert asked.status_code == 200, asked.text
        snorri.run("access", "remove", "ci")
        assert httpx.get(url + ME, headers=program).status_code == 401
        form = {"username": "ada", "password": PASSWORD}
        cookie = httpx.post(f"{url}/login", data=form).cookies[COOKIE]
        assert httpx.get(url + ME, cookies={COOKIE: cookie}).json()["role"] == "admin"
    finally:
        process.stop()
    assert PASSWORD not in process.output
    assert token not in process.output
    process = dev(tmp_path, SNORRI_AUTH="access.toml")
    try:
        me = httpx.get(_url(process) + ME, cookies={COOKIE: cookie}).json()
        assert (me["name"], me["via"]) == ("ada", "session")
        snorri.run("access", "user", "ada", "--role", "viewer", "--keep-password")
        assert httpx.get(_url(process) + ME, cookies={COOKIE: cookie}).json()["role"] == "viewer"
    finally:
        process.stop()
