"""The doctor's look at the API and at who may come in: facts become findings."""

from __future__ import annotations

import ssl
import stat
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import httpx
import msgspec
from msgspec import Struct

from server.access.file import AccessFile, AccessFileError, read
from server.doctor import Finding
from server.health import Health
from server.settings import Settings

ASK_S = 5.0
OTHERS = stat.S_IRWXG | stat.S_IRWXO

# What to do about a check of readiness that failed; its own words say what it is.
MENDS = {
    "nats": "look at NATS first",
    "engines": "start an engine: `snorri engine`",
    "projections": "wait while it shrinks; when it does not, see the log, then `snorri rebuild`",
}


class Reached(Struct, frozen=True):
    """What the API at ``url`` said: its readiness, or why there is none."""

    url: str
    health: Health | None
    why: str = ""


def judge_access(settings: Settings, now: datetime) -> Finding:
    """The file of users and tokens, or that there is none."""
    what = "users and tokens"
    if settings.auth is None:
        found = "no file: everybody on this machine may do anything, nobody else anything"
        return Finding(level="ok", what=what, found=found)
    path = Path(settings.auth)
    try:
        file = read(path)
        mode = stat.S_IMODE(path.stat().st_mode)
    except (AccessFileError, OSError) as error:
        mend = "mend the file; a process that runs keeps to the last good one"
        return Finding(level="fail", what=what, found=str(error), mend=mend)
    expired = sum(1 for token in file.tokens.values() if token.expired(now))
    shown = f"{len(file.users)} users and {len(file.tokens)} tokens, {expired} of them expired"
    if mode & OTHERS:
        mend = f"set it with: chmod 600 {path}"
        found = f"{shown}; others can read the file (mode {mode:03o})"
        return Finding(level="warn", what=what, found=found, mend=mend)
    if not _has_admin(file):
        mend = "make one: snorri access user NAME --role admin"
        return Finding(level="warn", what=what, found=f"{shown}; none is an admin", mend=mend)
    return Finding(level="ok", what=what, found=shown)


def judge_api(reached: Reached) -> Sequence[Finding]:
    """Whether the API answers, and each thing that keeps it from being ready."""
    if reached.health is None:
        mend = "start it with `snorri serve`, or say where it is with --host and --port"
        found = f"none answers at {reached.url} ({reached.why})"
        return [Finding(level="warn", what="API", found=found, mend=mend)]
    bad = [check for check in reached.health.checks if not check.ok]
    if not bad:
        found = f"ready at {reached.url}"
        told = [check.detail for check in reached.health.checks if check.name == "projections"]
        return [Finding(level="ok", what="API", found="; ".join([found, *told]))]
    return [
        Finding(
            level="fail",
            what=f"API: {check.name}",
            found=check.detail,
            mend=MENDS.get(check.name, "see the log of that process"),
        )
        for check in bad
    ]


async def ask_api(url: str, verify: ssl.SSLContext | bool = True) -> Reached:
    """What the API at ``url`` says of itself; never raises."""
    try:
        async with httpx.AsyncClient(timeout=ASK_S, verify=verify) as client:
            answer = await client.get(f"{url}/health/ready")
        return Reached(url, msgspec.json.decode(answer.content, type=Health))
    except httpx.HTTPError as error:
        return Reached(url, None, str(error) or type(error).__name__)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Reached(url, None, "what answers there is no API of Snorri")


def _has_admin(file: AccessFile) -> bool:
    members = [*file.users.values(), *file.tokens.values()]
    groups = file.proxy.roles.values() if file.proxy is not None else ()
    default = file.proxy.default_role if file.proxy is not None else None
    return "admin" in [*(one.role for one in members), *groups, default]
