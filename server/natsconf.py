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

DISK_SHARE_MAX = 0.8
STORE_BYTES_MIN = 64 * 1024 * 1024
MEMORY_BYTES_MAX = 256 * 1024 * 1024
PAYLOAD_BYTES_MAX = 1024 * 1024
LOG_BYTES_MAX = 10 * 1024 * 1024


class ServerConf(Struct, frozen=True, kw_only=True):
    """What differs between two embedded servers; ``home`` is their folder, port 0 means any."""

    home: Path
    port: int
    sync_always: bool
    store_bytes_max: int


def store_bytes_default(store: Path) -> int:
    """A budget for ``store``: most of what the disk has free, with what it already holds."""
    used = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    free = shutil.disk_usage(store).free
    return max(STORE_BYTES_MIN, int((used + free) * DISK_SHARE_MAX))


def render(conf: ServerConf) -> str:
    """The file's text; paths are quoted, so spaces and ``$`` in them are safe."""
    name = hashlib.sha256(str(conf.home).encode()).hexdigest()[:8]
    sync = "always" if conf.sync_always else "2m"
    return f"""\
# Written by Snorri at each start; changes made here are lost.
server_name: "snorri-{name}"
listen: "127.0.0.1:{conf.port or -1}"
http: "127.0.0.1:-1"
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
"""


def _quoted(path: Path) -> str:
    return json.dumps(str(path), ensure_ascii=False)
