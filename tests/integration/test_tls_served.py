"""Goal: with the settings for TLS every hop of a whole installation is encrypted and checked.

Method: `snorri dev` as a process on a nats-server with mutual TLS, serving HTTPS; commands and HTTP
clients beside it, with the CA, without it, and with files that can't be used.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from store.events import Published, Rejected
from store.publisher import create_publisher
from store.runs import connect
from store.subjects import Names
from tests.certificates import Certificates, make_certificates
from tests.integration.cli_kit import Process, Snorri
from tests.nats_guarded import GuardedNats
from tests.waiting import eventually_sync


class _Place:
    """A running installation and how to reach it."""

    def __init__(self, folder: Path) -> None:
        self.papers: Certificates = make_certificates(folder / "papers")
        papers = self.papers
        more = (
            f'tls {{ cert_file: "{papers.server}", key_file: "{papers.server_key}", '
            f'ca_file: "{papers.ca}", verify: true }}'
        )
        self.nats = GuardedNats(folder / "nats", Names(), more=more)
        self.nats.start()
        self.environment = {
            "SNORRI_NATS_URL": f"tls://127.0.0.1:{self.nats.port}",
            "SNORRI_NATS_CREDS": str(self.nats.users["operator"].file),
            "SNORRI_NATS_TLS_CA": papers.ca,
            "SNORRI_NATS_TLS_CERT": papers.client,
            "SNORRI_NATS_TLS_KEY": papers.client_key,
            "SNORRI_TLS_CA": papers.ca,
        }
        serving = {"SNORRI_TLS_CERT": papers.server, "SNORRI_TLS_KEY": papers.server_key}
        self.process = Process(folder, "dev", "--port", "0", **self.environment, **serving)
        self.process.until("Ctrl-C stops everything")
        found = re.search(r"https://127\.0\.0\.1:(\d+)", self.process.output)
        assert found is not None, self.process.output
        self.address, self.port = found[0], found[1]
        self.trust = ssl.create_default_context(cafile=papers.ca)
        eventually_sync(self.ready, 30, "the API being ready")

    def ready(self) -> bool:
        """Whether the API calls itself ready."""
        return httpx.get(f"{self.address}/health/ready", verify=self.trust).status_code == 200

    def close(self) -> None:
        """End all of it."""
        self.process.close()
        self.nats.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Place]:
    """The installation of this module."""
    place = _Place(tmp_path_factory.mktemp("place"))
    yield place
    place.close()


def test_commands_reach_nats_and_the_api(place: _Place, tmp_path: Path) -> None:
    snorri = Snorri(tmp_path, **place.environment)
    snorri.run("publish", "OrderCreated", '{"orderId":"o-1","total":1}', "--key", "o-1")
    sql = ("sql", "SELECT key FROM instances", "--format", "csv", "--port", place.port)
    eventually_sync(lambda: "o-1" in snorri.run(*sql).stdout, what="the instance in SQL")
    found = {row["what"]: row for row in snorri.json("doctor", "--port", place.port, code=0)}
    assert "https://" in found["API"]["found"]


def test_a_client_without_the_ca_is_told_which_setting_it_lacks(
    place: _Place, tmp_path: Path
) -> None:
    without = {**place.environment, "SNORRI_TLS_CA": "", "SNORRI_TLS_CERT": place.papers.server}
    snorri = Snorri(tmp_path, **without)
    told = snorri.run("sql", "SELECT 1", "--port", place.port, code=3).stderr
    assert "SNORRI_TLS_CA" in told
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{place.address}/health/live")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{place.port}/health/live")


def test_browsers_stay_with_https(place: _Place) -> None:
    answer = httpx.get(f"{place.address}/health/live", verify=place.trust)
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


@pytest.mark.asyncio
async def test_programs_publish_and_call_runs_over_https(place: _Place) -> None:
    async with create_publisher(base_url=place.address, tls_ca=place.papers.ca) as publisher:
        assert isinstance(await publisher.publish("T", {}, key="k"), Published)
    async with create_publisher(base_url=place.address, attempts=1) as publisher:
        assert isinstance(await publisher.publish("T", {}, key="k"), Rejected)
    with pytest.raises(ValueError, match=r"absent\.pem"):
        async with connect(base_url=place.address, tls_ca="absent.pem"):
            pass


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SNORRI_TLS_CERT", "absent.pem"),
        ("SNORRI_TLS_KEY", "absent.pem"),
        ("SNORRI_NATS_TLS_CA", "absent.pem"),
        ("SNORRI_NATS_TLS_CERT", "absent.pem"),
    ],
)
def test_files_that_can_not_be_used_are_wrong_usage(
    place: _Place, tmp_path: Path, name: str, value: str
) -> None:
    environment = {**place.environment, name: value}
    told = Snorri(tmp_path, **environment).run("serve", "--port", "0", code=2).stderr
    assert name in told
