"""The file that says who may come in: users, tokens, a reverse proxy, hosts. TOML, read only here.

    allowed_hosts = ["snorri.example.com"]
    session_lifetime = "12h"

    [users.anna]
    password = "$argon2id$…"
    role = "operator"

    [tokens.ci]
    sha256 = "…"
    role = "viewer"
    expires = 2027-01-31T00:00:00Z

    [proxy]
    trusted = ["10.0.0.7"]
    identity_header = "X-Forwarded-User"
    secret_header = "X-Proxy-Secret"
    secret_sha256 = "…"

What is wrong with it is an AccessFileError that names the place and the next step.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta, Struct

from sagas.durations import seconds
from server.access.roles import Role
from server.errors import SettingsError

NAME_CHARS_MAX = 100
LIFETIME_MIN_S = 60.0
LIFETIME_MAX_S = 30 * 86_400.0
FILE_BYTES_MAX = 1_000_000

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
HeaderName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,100}\Z")]
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class AccessFileError(SettingsError):
    """The file of users and tokens can't be used; the message says where and what to do."""


class User(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody who logs in; ``password`` is an argon2 hash."""

    password: Annotated[str, Meta(pattern=r"^\$argon2(id|i|d)\$", max_length=500)]
    role: Role


class Token(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A program's token: the SHA-256 of it, and when it ends (UTC unless it says otherwise)."""

    sha256: Sha256
    role: Role
    expires: datetime | None = None

    @property
    def ends(self) -> datetime | None:
        """When it ends, aware; None is never."""
        end = self.expires
        return end.replace(tzinfo=UTC) if end is not None and end.tzinfo is None else end

    def expired(self, now: datetime) -> bool:
        """Whether it has ended at ``now`` (aware)."""
        return self.ends is not None and self.ends <= now


class Proxy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """A reverse proxy that has authenticated whoever asks, and how it is known to be that proxy.

    ``roles`` maps the groups of ``groups_header`` (comma separated) to roles; somebody in none of
    them has ``default_role``, and is refused when there is none.
    """

    trusted: Annotated[tuple[str, ...], Meta(min_length=1)]
    identity_header: HeaderName
    secret_header: HeaderName
    secret_sha256: Sha256
    groups_header: HeaderName | None = None
    roles: dict[str, Role] = {}
    default_role: Role | None = None

    @cached_property
    def networks(self) -> tuple[Network, ...]:
        """The addresses it may come from; raises ValueError."""
        return tuple(ipaddress.ip_network(one, strict=False) for one in self.trusted)


class AccessFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that the file says. ``allowed_hosts`` empty: any, since nobody comes in unasked."""

    users: dict[str, User] = {}
    tokens: dict[str, Token] = {}
    proxy: Proxy | None = None
    allowed_hosts: tuple[str, ...] = ()
    session_lifetime: str = "12h"
    secure_cookies: bool = False

    @property
    def lifetime(self) -> timedelta:
        """How long a login lasts."""
        return timedelta(seconds=seconds(self.session_lifetime))


def read(path: Path) -> AccessFile:
    """The content of the file; raises AccessFileError."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise AccessFileError(
            f"{path} (SNORRI_AUTH) does not exist; make it with: "
            f"snorri access user NAME --role admin --auth {path}"
        ) from None
    except OSError as error:
        raise AccessFileError(
            f"{path} (SNORRI_AUTH) can't be read: {error.strerror}; let this user read the file"
        ) from None
    if len(data) > FILE_BYTES_MAX:
        raise AccessFileError(f"{path} has over {FILE_BYTES_MAX} bytes; it is no file of users")
    return parse(data, str(path))


def parse(data: bytes, path: str) -> AccessFile:
    """The same from its bytes; ``path`` is for the message. Raises AccessFileError."""
    try:
        tables = tomllib.loads(data.decode())
    except UnicodeDecodeError:
        raise AccessFileError(f"{path} is not UTF-8; save it as that") from None
    except tomllib.TOMLDecodeError as error:
        raise AccessFileError(f"{path} is not TOML: {error}; correct it there") from None
    except RecursionError:
        raise AccessFileError(f"{path} is nested too deeply; it is no file of users") from None
    try:
        file = msgspec.convert(tables, AccessFile)
    except msgspec.ValidationError as error:
        raise AccessFileError(f"{path}: {_place(error)}; correct it there") from None
    _check(file, path)
    return file


def _place(error: msgspec.ValidationError) -> str:
    """msgspec's complaint with the key as the file spells it, and never a hash."""
    text = str(error)
    what, _, where = text.partition(" - at `$.")
    if "argon2" in what:
        what = "the password is no argon2 hash; make one with snorri access user NAME"
    elif "[0-9a-f]" in what:
        what = "this is no SHA-256 in 64 hex digits; snorri access token NAME makes a token"
    return f"key {where.rstrip('`')}: {what}" if where else what


def _check(file: AccessFile, path: str) -> None:
    for kind, names in (("users", file.users), ("tokens", file.tokens)):
        for name in names:
            if not 0 < len(name) <= NAME_CHARS_MAX or not name.isprintable():
                raise AccessFileError(
                    f"{path}: the name {name[:50]!r} in {kind} must be 1 to {NAME_CHARS_MAX} "
                    "printable characters; rename it"
                )
    try:
        lifetime_s = file.lifetime.total_seconds()
    except (ValueError, TypeError, OverflowError) as error:
        raise AccessFileError(f"{path}: session_lifetime: {error}; write it as 12h") from None
    if not LIFETIME_MIN_S <= lifetime_s <= LIFETIME_MAX_S:
        raise AccessFileError(f"{path}: session_lifetime must be between 1m and 30d, as 12h")
    if file.proxy is not None:
        try:
            assert file.proxy.networks
        except ValueError as error:
            raise AccessFileError(
                f"{path}: proxy.trusted: {error}; write addresses as 10.0.0.7 or 10.0.0.0/24"
            ) from None
    for host in file.allowed_hosts:
        if not re.fullmatch(r"(\*\.)?[A-Za-z0-9.-]{1,253}", host):
            raise AccessFileError(
                f"{path}: allowed_hosts has {host!r}; write names without a port, as "
                "snorri.example.com or *.example.com"
            )
    if not file.users and not file.tokens and file.proxy is None:
        raise AccessFileError(
            f"{path} has no users, no tokens and no proxy, so nobody could come in; add one: "
            f"snorri access user NAME --role admin --auth {path}"
        )
