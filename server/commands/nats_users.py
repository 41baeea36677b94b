"""``nats-users``: who may do what on NATS, as files for nats-server and for each process."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

import rich_click as click

from server.commands.common import USAGE, Failed, json_option, settings_options
from server.commands.output import emit, note, say, table
from server.connecting import names_of
from server.loading import load_app
from server.nats_users import CONF, write_users
from server.settings import Settings
from store.jetstream.permissions import USERS, User

ACCOUNT_SHAPE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@click.command("nats-users")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("nats-users"),
    show_default=True,
    metavar="DIR",
    help="Where the files go; seeds that are there are kept.",
)
@click.option(
    "--rotate",
    multiple=True,
    type=click.Choice(USERS),
    help="Make a new key for this user; the old one ends when nats-server reads the file.",
)
@click.option(
    "--account", default="SNORRI", show_default=True, help="Name of the NATS account they are in."
)
@settings_options("app", "bucket", "namespace")
@json_option
def nats_users(
    settings: Settings, out: Path, rotate: tuple[str, ...], account: str, as_json: bool
) -> None:
    """Write NATS users with the least rights each needs: keys, an include for nats-server.

    With --app workers get the queues of its jobs only, and nobody else may touch these.
    """
    if ACCOUNT_SHAPE.fullmatch(account) is None:
        raise Failed(f"{account!r} is no name of an account; use letters and digits", USAGE)
    targets = sorted(load_app(settings.app).jobs.targets) if settings.app else []
    users = write_users(
        out, names_of(settings), targets, account=account, rotate=cast("tuple[User, ...]", rotate)
    )
    if as_json:
        emit(
            [
                {
                    "user": one.user,
                    "about": one.about,
                    "file": str(one.file),
                    "public": one.public,
                    "inbox": one.inbox,
                    "publish": one.rights.publish,
                    "deny": one.rights.deny,
                    "subscribe": one.rights.subscribe,
                    "new": one.is_new,
                }
                for one in users
            ]
        )
        return
    table(
        ("user", "seed", "inbox", "for"),
        [(one.user, str(one.file), one.inbox, one.about) for one in users],
    )
    say(f"include {out / CONF} in nats-server's configuration, then reload or restart it")
    say(f"each process: SNORRI_NATS_CREDS={out}/engine.nk snorri engine …")
    note(f"new keys: {', '.join(one.user for one in users if one.is_new) or 'none'}")
    if not targets:
        note("without --app workers may take the commands of any job")
