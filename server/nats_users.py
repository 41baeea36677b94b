"""The users of one installation for nats-server: their keys as files, their rights as an include.

The configuration holds public keys only, so it may be read by anybody; each seed is a file of its
own, for the process that uses it. A seed that exists is kept, so that the rights can be written
anew without handing out keys again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from msgspec import Struct

from server.errors import SetupError
from store.jetstream import nkeys
from store.jetstream.login import read_keys
from store.jetstream.permissions import ABOUT, USERS, Permissions, User, permissions
from store.subjects import Names

CONF = "users.conf"


class NatsUser(Struct, frozen=True, kw_only=True):
    """One user; ``file`` holds the seed, which stands nowhere else."""

    user: User
    about: str
    file: Path
    public: str
    inbox: str
    rights: Permissions
    is_new: bool


def write_users(
    folder: Path,
    names: Names,
    targets: Sequence[str],
    *,
    account: str,
    rotate: Collection[User] = (),
) -> list[NatsUser]:
    """Write ``users.conf`` and the seeds that are missing or in ``rotate``; who there is now.

    Raises SetupError, BadLogin for a seed that can't be read, and OSError.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    inboxes: dict[User, str] = {user: f"_INBOX_{names.bucket}_{user}" for user in USERS}
    users: list[NatsUser] = []
    for user, inbox in inboxes.items():
        path = folder / f"{user}.nk"
        public, is_new = _key(path, inbox, anew=user in rotate)
        rights = permissions(user, names, inbox, targets, answers=inboxes["operator"])
        users.append(
            NatsUser(
                user=user,
                about=ABOUT[user],
                file=path,
                public=public,
                inbox=inbox,
                rights=rights,
                is_new=is_new,
            )
        )
    _replace(folder / CONF, render(users, names, account), 0o644)
    return users


def _key(path: Path, inbox: str, *, anew: bool) -> tuple[str, bool]:
    """The public key of a seed's file, made when there is none, and whether it was."""
    is_new = anew or not path.exists()
    if not is_new and path.stat().st_mode & 0o077:
        raise SetupError(f"others can read the seed {path}; set it with: chmod 600 {path}")
    seed = nkeys.new_seed() if is_new else read_keys(str(path)).seed
    _replace(path, f"# inbox: {inbox}\n{seed}\n", 0o600)
    return nkeys.public_key(seed), is_new


def _replace(path: Path, text: str, mode: int) -> None:
    """Write a file so that it is whole, and never readable by more than ``mode`` says."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
    draft.replace(path)


def render(users: Sequence[NatsUser], names: Names, account: str) -> str:
    """The include for nats-server's configuration."""
    lines = [
        f"# Users of the installation {names.bucket} (namespace {names.namespace}), written by",
        "# `snorri nats-users`; write it again rather than change it. It has no secret: seeds are",
        "# in files of their own. In nats-server's configuration: include ./users.conf",
        "accounts {",
        f"  {account} {{",
        "    jetstream: enabled",
        "    users: [",
    ]
    for one in users:
        lines += [f"      # {one.user}: {one.about}", f"      {{ nkey: {one.public}"]
        lines += ["        permissions: {", "          publish: {"]
        lines += _subjects("allow", one.rights.publish)
        lines += _subjects("deny", one.rights.deny) if one.rights.deny else []
        lines += ["          }", "          subscribe: {"]
        lines += _subjects("allow", one.rights.subscribe)
        lines += ["          }", "        }", "      }"]
    return "\n".join([*lines, "    ]", "  }", "}", ""])


def _subjects(word: str, subjects: Sequence[str]) -> list[str]:
    rows = [f"              {json.dumps(subject)}" for subject in subjects]
    return [f"            {word}: [", *rows, "            ]"]
