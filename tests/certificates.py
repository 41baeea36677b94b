"""Certificates for tests of TLS: a CA of its own, a server on loopback, a client."""

from __future__ import annotations

from pathlib import Path

import trustme
from msgspec import Struct


class Certificates(Struct, frozen=True):
    """PEM files: whom to trust, and who server and client are, each with its key."""

    ca: str
    server: str
    server_key: str
    client: str
    client_key: str


def make_certificates(folder: Path, *hosts: str) -> Certificates:
    """New ones in ``folder``, the server's for ``hosts`` (default: loopback)."""
    folder.mkdir(exist_ok=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    for name, leaf in {
        "server": authority.issue_cert(*(hosts or ("127.0.0.1", "localhost"))),
        "client": authority.issue_cert("client@snorri.test"),
    }.items():
        leaf.private_key_pem.write_to_path(str(folder / f"{name}-key.pem"))
        for blob in leaf.cert_chain_pems:
            blob.write_to_path(str(folder / f"{name}.pem"), append=True)
    return Certificates(
        ca=str(folder / "ca.pem"),
        server=str(folder / "server.pem"),
        server_key=str(folder / "server-key.pem"),
        client=str(folder / "client.pem"),
        client_key=str(folder / "client-key.pem"),
    )
