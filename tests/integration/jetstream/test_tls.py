"""Goal: a connection that is to be private is, with whoever it should be, or there is none.

Method: real servers with certificates made here; one that pretends to have no TLS and listens to
what it is sent; kills; certificates of another CA and for another name.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from store.events import Published
from store.jetstream import api, connect
from store.jetstream.backend import connect_door
from store.jetstream.dial import dial
from store.jetstream.link import CLOSE_S
from store.jetstream.login import BadLogin, Login
from store.port import Unreachable
from store.publisher import create_publisher
from store.subjects import Names
from tests.certificates import Certificates, make_certificates
from tests.nats_guarded import GuardedNats
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

INFO = b'INFO {"server_id":"x","version":"2.15.1","headers":true,"jetstream":true,%b}\r\n'


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The certificates of all servers here."""
    return make_certificates(tmp_path_factory.mktemp("papers"))


def _tls(papers: Certificates, *, mutual: bool) -> str:
    return (
        f'tls {{ cert_file: "{papers.server}", key_file: "{papers.server_key}", '
        f'ca_file: "{papers.ca}", verify: {str(mutual).lower()} }}'
    )


@pytest_asyncio.fixture
async def nats(tmp_path: Path, papers: Certificates) -> AsyncIterator[GuardedNats]:
    """A server that speaks TLS only, and lets in the users of the usual installation."""
    nats = GuardedNats(tmp_path / "nats", Names(), more=_tls(papers, mutual=False))
    nats.start()
    yield nats
    nats.close()


def _login(nats: GuardedNats, papers: Certificates, **more: str) -> Login:
    return Login(creds=str(nats.users["engine"].file), tls_ca=papers.ca, **more)


@pytest.mark.parametrize("scheme", ["nats", "tls"])
async def test_everything_goes_over_tls_also_after_a_restart(
    nats: GuardedNats, papers: Certificates, scheme: str
) -> None:
    url = f"{scheme}://127.0.0.1:{nats.port}"
    backend = await connect(url, Names(), login=_login(nats, papers))
    big = b'"' + b"x" * 300_000 + b'"'
    await backend.door.publish(Names().event("T", "k"), big)
    stored = await backend.log.at("events", 1)
    assert stored is not None
    assert stored.data == big
    nats.close()
    nats.start()

    async def again() -> bool:
        try:
            return await backend.log.at("events", 1) is not None
        except Unreachable:
            return False

    await eventually(again, what="an answer of the server after its restart")
    await backend.close()


async def test_a_server_that_can_not_be_known_is_sent_nothing(
    nats: GuardedNats, tmp_path: Path, papers: Certificates
) -> None:
    other = make_certificates(tmp_path / "other")
    url = f"tls://127.0.0.1:{nats.port}"
    for login in (Login(), Login(tls_ca=other.ca)):
        with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
            await dial(url, login=login, timeout_s=1)


async def test_the_name_counts(tmp_path: Path) -> None:
    papers = make_certificates(tmp_path / "papers", "nats.example")
    nats = GuardedNats(tmp_path / "nats", Names(), more=_tls(papers, mutual=False))
    nats.start()
    try:
        with pytest.raises(Unreachable, match="not valid for"):
            await dial(f"tls://127.0.0.1:{nats.port}", login=_login(nats, papers), timeout_s=1)
    finally:
        nats.close()


async def test_a_client_proves_who_it_is_where_that_is_asked_for(
    tmp_path: Path, papers: Certificates
) -> None:
    nats = GuardedNats(tmp_path / "nats", Names(), more=_tls(papers, mutual=True))
    nats.start()
    try:
        url = f"tls://127.0.0.1:{nats.port}"
        with pytest.raises(Unreachable):
            await dial(url, login=_login(nats, papers), timeout_s=1)
        own = _login(nats, papers, tls_cert=papers.client, tls_key=papers.client_key)
        backend = await connect(url, Names(), login=own)
        await backend.close()
        publisher = create_publisher(
            url,
            creds=str(nats.users["publisher"].file),
            tls_ca=papers.ca,
            tls_cert=papers.client,
            tls_key=papers.client_key,
        )
        async with publisher:
            assert isinstance(await publisher.publish("T", {}, key="k"), Published)
    finally:
        nats.close()


async def test_hanging_up_does_not_wait_for_a_server_that_says_nothing(
    nats: GuardedNats, papers: Certificates
) -> None:
    link = await dial(f"tls://127.0.0.1:{nats.port}", login=_login(nats, papers))
    nats.pause()
    begun_s = time.monotonic()
    await link.hang_up()
    assert time.monotonic() - begun_s < 2 * CLOSE_S


@pytest.mark.parametrize("offer", [b'"tls_required":false', b'"tls_available":true'])
async def test_nobody_talks_us_out_of_tls(
    nats: GuardedNats, papers: Certificates, offer: bytes
) -> None:
    heard = bytearray()

    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(INFO % (offer + b',"auth_required":true,"nonce":"abc","max_payload":1048576'))
        heard.extend(await reader.read(4096))
        writer.close()

    server = await asyncio.start_server(pretend, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for url, login in (
        (f"tls://127.0.0.1:{port}", Login(creds=str(nats.users["engine"].file))),
        (f"nats://127.0.0.1:{port}", _login(nats, papers)),
    ):
        with pytest.raises(Unreachable, match="offers no TLS"):
            await dial(url, login=login, timeout_s=0.5)
    server.close()
    assert not heard


async def test_without_tls_nothing_changes(tmp_path: Path) -> None:
    nats = GuardedNats(tmp_path / "nats", Names())
    nats.start()
    try:
        link = await dial(nats.url, login=nats.login("engine"))
        await api.ask(link, "INFO")
        await link.hang_up()
        with pytest.raises(Unreachable, match="offers no TLS"):
            await dial(f"tls://127.0.0.1:{nats.port}", login=nats.login("engine"), timeout_s=0.5)
    finally:
        nats.close()


@pytest.mark.parametrize(
    ("login", "words"),
    [
        (Login(tls_ca="absent.pem"), "absent.pem.*SNORRI_NATS_TLS_CA"),
        (Login(tls_cert="absent.pem"), "absent.pem.*SNORRI_NATS_TLS_CERT"),
        (Login(tls_key="key.pem"), "SNORRI_NATS_TLS_CERT"),
    ],
)
async def test_files_that_can_not_be_used_are_named(login: Login, words: str) -> None:
    with pytest.raises(BadLogin, match=words):
        await connect_door("tls://127.0.0.1:1", Names(), login=login)


async def test_a_ca_file_must_hold_certificates(tmp_path: Path, papers: Certificates) -> None:
    with pytest.raises(BadLogin, match="SNORRI_NATS_TLS_CA"):
        Login(tls_ca=papers.server_key).check()
    with pytest.raises(BadLogin, match="SNORRI_NATS_TLS_KEY"):
        Login(tls_cert=papers.client, tls_key=papers.server_key).check()
