"""The configuration file of the embedded nats-server, as a value and as text.

Pure but for a look at the free disk. It owns the defaults that make an acknowledged write safe:
loopback only, an explicit store, an fsync before each acknowledgement, a budget below the disk (a
full disk looks like time-outs until the server restarts, a full budget is a clear error at once).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from msgspec import Struct

HOST = "127.0.0.1"
CLUSTER_NAME = "snorri"
DISK_SHARE_MAX = 0.8
STORE_BYTES_MIN = 64 * 1024 * 1024
MEMORY_BYTES_MAX = 256 * 1024 * 1024
PAYLOAD_BYTES_MAX = 1024 * 1024
LOG_BYTES_MAX = 10 * 1024 * 1024


class Member(Struct, frozen=True, kw_only=True):
    """A server's place in a cluster: its stable ``name``, the port it listens on for routes, and
    the addresses where it finds the others, as ``host:port``.

    ``advertise`` is the address that it tells the others instead of its own, empty for its own.
    """

    name: str
    route_port: int
    routes: tuple[str, ...]
    advertise: str = ""


class ServerConf(Struct, frozen=True, kw_only=True):
    """What differs between two embedded servers; ``home`` is their folder, port 0 means any."""

    home: Path
    port: int
    sync_always: bool
    store_bytes_max: int
    member: Member | None = None


def store_bytes_default(store: Path) -> int:
    """A budget for ``store``: most of what the disk has free, with what it already holds."""
    used = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    free = shutil.disk_usage(store).free
    return max(STORE_BYTES_MIN, int((used + free) * DISK_SHARE_MAX))


def render(conf: ServerConf) -> str:
    """The file's text; paths are quoted, so spaces and ``$`` in them are safe."""
    member = conf.member
    own = member.name if member else hashlib.sha256(str(conf.home).encode()).hexdigest()[:8]
    sync = "always" if conf.sync_always else "2m"
    return f"""\
# Written by Snorri at each start; changes made here are lost.
server_name: "snorri-{own}"
listen: "{HOST}:{conf.port or -1}"
http: "{HOST}:-1"
ports_file_dir: {_quoted(conf.home)}
log_file: {_quoted(conf.home / "server.log")}
logfile_size_limit: {LOG_BYTES_MAX}
logfile_max_num: 3
max_payload: {PAYLOAD_BYTES_MAX}
write_deadline: "5s"
ping_interval: "20s"
ping_max: 3
jetstream {{
  store_dir: {_quoted(conf.home / "js")}
  max_file_store: {conf.store_bytes_max}
  max_memory_store: {MEMORY_BYTES_MAX}
  sync_interval: {sync}
  limits {{ max_ack_pending: 10000, duplicate_window: "2h" }}
}}
{_cluster(member) if member else ""}"""


def _cluster(member: Member) -> str:
    """The part of a member of a cluster.

    The names must not change: the servers know each other, and whose copy is whose, by them. One
    route to each other server is enough on one machine. Nothing is advertised, so that a server is
    met only where it was said to be.
    """
    routes = ", ".join(f'"nats://{route}"' for route in member.routes)
    advertise = f'\n  advertise: "{member.advertise}"' if member.advertise else ""
    return f"""\
lame_duck_duration: "30s"
lame_duck_grace_period: "2s"
cluster {{
  name: "{CLUSTER_NAME}"
  listen: "{HOST}:{member.route_port}"{advertise}
  routes: [{routes}]
  no_advertise: true
  pool_size: 1
}}
"""


def _quoted(path: Path) -> str:
    return json.dumps(str(path), ensure_ascii=False)
