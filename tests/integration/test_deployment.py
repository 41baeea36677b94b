"""Goal: what compose.yaml runs works together, and API processes answer alike (R12's topology).

Method: without containers, the same commands with the same settings: three nats-servers with the
shipped configuration and the users that `snorri nats-users` writes, an engine, a worker, two API
processes with users and projections of their own. Only names of machines, ports and folders are
put in for those of containers.
"""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from server.embedded import find_server
from tests.integration.cli_kit import Process, Snorri
from tests.waiting import eventually_sync

pytestmark = [pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
NODES = ("nats-1", "nats-2", "nats-3")
INSTANCES = "/api/v1/sagas/instances"
SAGAS = "/api/v1/sagas/sagas"
EXECUTIONS = "/api/v1/workers/executions"
READY = "Ctrl-C stops"


class Deployment:
    """The services of compose.yaml as processes of this machine."""

    def __init__(self, home: Path, stack: ExitStack) -> None:
        self.home = home
        self._stack = stack
        self._services: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())[
            "services"
        ]
        self._ports = {name: _free_ports(3) for name in NODES}
        self._token = ""

    def start(self) -> None:
        """Users, servers, then everything else."""
        beside = Snorri(self.home, SNORRI_AUTH="auth.toml")
        beside.run("nats-users", "--app", "jobs.examples", "--out", "users")
        beside.run("access", "user", "ada", "--role", "admin", "--password-stdin", input="x" * 16)
        self._token = beside.json("access", "token", "ci", "--role", "operator")["token"]
        for name in NODES:
            self._start_node(name)
        for name in NODES:
            url = f"http://127.0.0.1:{self._ports[name][1]}/healthz"
            eventually_sync(lambda url=url: _answers(url), 40, f"{name} being healthy")

    def run(self, service: str, *arguments: str) -> Process:
        """The command of a service, ready."""
        home = self.home / f"{service}{len(list(self.home.glob(f'{service}*')))}"
        home.mkdir()
        command = self._services[service]["command"]
        process = Process(home, *command, *arguments, **self._environment(service))
        self._stack.callback(process.close)
        process.until(READY)
        return process

    def client(self, process: Process) -> httpx.Client:
        """HTTP to an API process, with a token."""
        found = re.search(r"http://[\d.]+:(\d+)", process.output)
        assert found is not None, process.output
        headers = {"authorization": f"Bearer {self._token}"}
        url = f"http://127.0.0.1:{found[1]}"
        return self._stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=20))

    def _environment(self, service: str) -> dict[str, str]:
        """The settings of a service with the places of this machine."""
        found = dict(self._services[service]["environment"])
        found = {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text) for name, text in found.items()}
        for name in NODES:
            port = self._ports[name][0]
            url = found["SNORRI_NATS_URL"].replace(f"{name}:4222", f"127.0.0.1:{port}")
            found["SNORRI_NATS_URL"] = url
        key = Path(found["SNORRI_NATS_CREDS"]).name
        found |= {
            "SNORRI_NATS_CREDS": str(self.home / "users" / f"{key}.nk"),
            "SNORRI_METRICS_PORT": "0",
            "SNORRI_METRICS_HOST": "127.0.0.1",
            "SNORRI_LOG_LEVEL": "warning",
        }
        if "SNORRI_AUTH" in found:
            found |= {"SNORRI_AUTH": str(self.home / "auth.toml"), "SNORRI_PORT": "0"}
        return found

    def _start_node(self, name: str) -> None:
        home = self.home / name
        home.mkdir()
        text = (ROOT / "deploy" / "nats-cluster.conf").read_text()
        client, monitor, route = self._ports[name]
        for port, ours in ((4222, client), (8222, monitor), (6222, route)):
            text = text.replace(f'"0.0.0.0:{port}"', f'"127.0.0.1:{ours}"')
        for node, ports in self._ports.items():
            text = text.replace(f"{node}:6222", f"127.0.0.1:{ports[2]}")
        text = text.replace("/data/js", str(home / "js")).replace("4GB", "1GB")
        (home / "nats.conf").write_text(text)
        (home / "tls.conf").write_text((ROOT / "deploy" / "tls-off.conf").read_text())
        (home / "users.conf").write_text((self.home / "users" / "users.conf").read_text())
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                [find_server(), "-c", home / "nats.conf"],
                env={"NODE_NAME": name},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._stack.callback(process.wait, 20)
        self._stack.callback(process.kill)


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """All of compose.yaml, its servers running."""
    with ExitStack() as stack:
        made = Deployment(tmp_path, stack)
        made.start()
        yield made


def test_what_is_deployed_works_together_and_answers_alike(deployment: Deployment) -> None:
    deployment.run("engine")
    deployment.run("jobs")
    serving = [deployment.run(name) for name in ("serve-1", "serve-2")]
    first, second = (deployment.client(process) for process in serving)
    assert httpx.get(first.base_url.join(INSTANCES)).status_code == 401

    for number in range(12):
        door = (first, second)[number % 2]
        body = {"type": "OrderCreated", "key": f"o-{number}", "payload": {"orderId": f"o-{number}"}}
        answer = door.post("/api/v1/sagas/publish", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["published"] is True

    def completed(client: httpx.Client) -> bool:
        answer = client.get(INSTANCES, params={"status": "completed", "limit": 50})
        return answer.status_code == 200 and len(answer.json()["items"]) == 12

    for client in (first, second):
        eventually_sync(lambda client=client: completed(client), 60, "all orders in the list")
    for path in (INSTANCES, "/api/v1/sagas/events", EXECUTIONS, SAGAS):

        def items(client: httpx.Client, path: str = path) -> Any:
            answer = client.get(path, params={"limit": 200} if path != SAGAS else {})
            assert answer.status_code == 200, (path, answer.text)
            return answer.json()["items"]

        def alike(items: Any = items) -> bool:
            return bool(items(first)) and items(first) == items(second)

        eventually_sync(alike, 30, f"{path} being the same at both")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False
