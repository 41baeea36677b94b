"""Goal: no password, key, token or session of an installation is in anything it says: processes,
logs, commands, errors, pages, figures.

Method: an installation in which every credential is a marker; all that it prints, logs, serves and
shows in the list of processes is searched, also when the broker goes away and comes back. That a
marker is found where it does stand is shown at the end.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from server.access.access import COOKIE
from store.subjects import Names
from tests.certificates import make_certificates
from tests.integration.cli_kit import Process, Snorri
from tests.nats_guarded import GuardedNats
from tests.waiting import eventually_sync

PASSWORD = "marker-password-of-ada-8c1f"
URL_PASSWORD = "marker-inside-the-address-77aa"
BAD_TOKEN = "snorri_marker-token-that-is-wrong-5d02"
BAD_PASSWORD = "marker-password-that-is-wrong-19be"


class _House:
    """A running `snorri dev` with users, a key for NATS and one for HTTPS."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        papers = make_certificates(folder / "papers")
        self.nats = GuardedNats(folder / "nats", Names())
        self.nats.start()
        seed = self.nats.users["operator"].file
        self.environment = {
            "SNORRI_NATS_URL": f"nats://ada:{URL_PASSWORD}@127.0.0.1:{self.nats.port}",
            "SNORRI_NATS_CREDS": str(seed),
            "SNORRI_AUTH": str(folder / "access.toml"),
            "SNORRI_TLS_CERT": papers.server,
            "SNORRI_TLS_KEY": papers.server_key,
            "SNORRI_TLS_CA": papers.ca,
            "SNORRI_LOG_LEVEL": "debug",
            "SNORRI_LOG_FORMAT": "json",
        }
        snorri = Snorri(folder, **self.environment)
        snorri.run("access", "user", "ada", "--role", "admin", "--password-stdin", input=PASSWORD)
        self.token: str = snorri.json("access", "token", "ci", "--role", "admin")["token"]
        self.environment["SNORRI_TOKEN"] = self.token
        self.snorri = Snorri(folder, **self.environment)
        key = Path(papers.server_key).read_text().splitlines()[1]
        hashes = re.findall(r'"(\$argon2[^"]+|[0-9a-f]{64})"', (folder / "access.toml").read_text())
        self.markers = {
            "the password of a person": PASSWORD,
            "a wrong password": BAD_PASSWORD,
            "the password in the address of NATS": URL_PASSWORD,
            "a wrong token": BAD_TOKEN,
            "a token": self.token,
            "a seed": seed.read_text().splitlines()[-1],
            "a key of TLS": key,
        } | {f"hash {number}": text for number, text in enumerate(hashes)}
        self.process = Process(folder, "dev", "--port", "0", **self.environment)
        self.process.until("Ctrl-C stops everything")
        found = re.search(r"https://127\.0\.0\.1:(\d+)", self.process.output)
        assert found is not None, self.process.output
        self.address, self.port = found[0], found[1]
        trust = ssl.create_default_context(cafile=papers.ca)
        self.http = httpx.Client(base_url=self.address, verify=trust)
        eventually_sync(
            lambda: self.http.get("/health/ready").status_code == 200, 30, "the API being ready"
        )

    def found_in(self, text: str) -> list[str]:
        """The markers that a text has."""
        return [name for name, marker in self.markers.items() if marker in text]

    def close(self) -> None:
        """End all of it."""
        self.http.close()
        self.process.close()
        self.nats.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_House]:
    """The installation of this module."""
    house = _House(tmp_path_factory.mktemp("house"))
    yield house
    house.close()


def test_the_list_of_processes_has_none(house: _House) -> None:
    lines = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            status = (place / "stat").read_text()
            lines.append((place / "cmdline").read_bytes().decode(errors="replace"))
        except OSError:
            continue
        assert status
    assert any("dev" in line and "server" in line for line in lines)
    assert house.found_in("\n".join(lines)) == []


@pytest.mark.parametrize(
    "command",
    [
        ("config",),
        ("config", "--json"),
        ("doctor",),
        ("doctor", "--json"),
        ("version",),
        ("access", "list"),
        ("nats-users", "--out", "nats"),
        ("nats-users", "--out", "nats", "--json"),
        ("sql", "SELECT * FROM instances"),
        ("sagas", "--json"),
    ],
    ids=" ".join,
)
def test_commands_show_none(house: _House, command: tuple[str, ...]) -> None:
    if command[0] in ("doctor", "sql"):
        command = (*command, "--port", house.port)
    done = house.snorri.run(*command)
    assert house.found_in(done.stdout + done.stderr) == []


def test_errors_show_none(house: _House) -> None:
    gone = {**house.environment, "SNORRI_NATS_URL": f"nats://ada:{URL_PASSWORD}@127.0.0.1:1"}
    told = Snorri(house.folder, **gone).run("sagas", code=3).stderr
    wrong = {**house.environment, "SNORRI_TOKEN": BAD_TOKEN}
    told += (
        Snorri(house.folder, **wrong).run("sql", "SELECT 1", "--port", house.port, code=2).stderr
    )
    spoiled = house.folder / "spoiled.nk"
    seed = house.markers["a seed"]
    other = "A" if seed[20] != "A" else "B"  # the last letter has bits that do not count
    spoiled.write_text(seed[:20] + other + seed[21:])
    bad = {**house.environment, "SNORRI_NATS_CREDS": str(spoiled)}
    told += Snorri(house.folder, **bad).run("sagas", code=2).stderr
    assert "spoiled.nk" in told
    assert house.found_in(told) == []
    assert spoiled.read_text() not in told


def test_nothing_that_is_served_has_any(house: _House) -> None:
    bearer = {"Authorization": f"Bearer {house.token}"}
    bodies = [house.http.get("/metrics", headers=bearer).text]
    pages = ["/", "/system", "/sagas", "/jobs", "/instances", "/audit", "/sql", "/login", "/timers"]
    for path in (*pages, "/api/v1/me", "/api/v1/overview", "/health/ready", "/version", "/schema"):
        answer = house.http.get(path, headers=bearer)
        assert answer.status_code == 200, path
        bodies.append(f"{answer.headers}{answer.text}")
    bodies.append(
        house.http.get("/api/v1/me", headers={"Authorization": f"Bearer {BAD_TOKEN}"}).text
    )
    assert house.found_in("\n".join(bodies)) == []


def test_a_session_is_in_its_cookie_only(house: _House) -> None:
    form = {"username": "ada", "password": BAD_PASSWORD}
    assert house.http.post("/login", data=form).status_code == 401
    answer = house.http.post("/login", data={**form, "password": PASSWORD})
    assert answer.status_code == 303
    session = answer.cookies[COOKIE]
    assert "Secure" in answer.headers["set-cookie"]
    page = house.http.get("/")
    assert page.status_code == 200
    assert session not in page.text
    house.markers["a session"] = session
    house.http.cookies.clear()


def test_the_log_has_none_through_trouble_and_to_the_end(house: _House) -> None:
    house.http.get("/api/v1/me", headers={"Authorization": f"Bearer {BAD_TOKEN}"})
    house.nats.close()
    eventually_sync(
        lambda: house.http.get("/health/ready").status_code == 503, 30, "the loss being noticed"
    )
    house.nats.start()
    house.process.until("reconnected to NATS")
    house.process.stop()
    log = house.process.output
    assert "a token was refused" in log
    assert "logged in" in log
    assert house.found_in(log) == []
    # What is searched for is there to be found where it may stand.
    kept = (house.folder / "access.toml").read_text()
    kept += house.nats.users["operator"].file.read_text()
    kept += Path(house.environment["SNORRI_TLS_KEY"]).read_text()
    assert len(house.found_in(kept)) >= 4
