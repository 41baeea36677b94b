"""``access``: who may come in, kept in the file that SNORRI_AUTH names."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import rich_click as click

from sagas.durations import seconds
from sagas.errors import BadDelay
from server.access import edit, passwords
from server.access.file import NAME_CHARS_MAX, read
from server.access.roles import ROLES, Role
from server.commands.common import FAILED, USAGE, Failed, json_option, settings_options
from server.commands.output import emit, note, say, table, time_text
from server.settings import Settings

role_option = click.option(
    "--role",
    type=click.Choice(ROLES),
    required=True,
    help="viewer looks; operator acts on instances too; admin sees secret fields too.",
)


@click.group()
def access() -> None:
    """Users and API tokens in the file that SNORRI_AUTH (or --auth) names."""


@access.command("user")
@click.argument("name")
@role_option
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line.")
@click.option("--keep-password", is_flag=True, help="Only change the role.")
@settings_options("auth")
def user(
    settings: Settings, name: str, role: str, password_stdin: bool, keep_password: bool
) -> None:
    """Add a user, or give one a new password and role; makes the file when there is none."""
    path, name = _path(settings), _name(name)
    if password_stdin and keep_password:
        raise Failed("--password-stdin and --keep-password exclude each other; give one", USAGE)
    hash = None if keep_password else passwords.hash_password(_password(password_stdin))
    new = edit.set_user(path, name, cast("Role", role), hash)
    say(f"{name} is {'a new' if new else 'now'} {role} in {path}")
    if not new and not keep_password:
        note("logins with the old password have ended")


@access.command("token")
@click.argument("name")
@role_option
@click.option("--expires", default=None, metavar="TIME", help="How long it is good for, e.g. 30d.")
@json_option
@settings_options("auth")
def token(settings: Settings, name: str, role: str, expires: str | None, as_json: bool) -> None:
    """Make an API token and print it, once; the file keeps its hash only.

    A token of the same name is replaced.
    """
    path, name = _path(settings), _name(name)
    ends = _end(expires)
    text, digest = passwords.new_token()
    new = edit.set_token(path, name, cast("Role", role), digest, ends)
    until = time_text(ends) if ends else None
    if as_json:
        emit({"name": name, "role": role, "token": text, "expires": until, "replaced": not new})
        return
    sys.stdout.write(text + "\n")
    note(f"token {name}, {role}, good {f'until {until}' if until else 'until it is removed'}")
    note("It is not shown again. Send it as: Authorization: Bearer TOKEN")


@access.command("remove")
@click.argument("name")
@settings_options("auth")
def remove(settings: Settings, name: str) -> None:
    """Remove the user and the token of that name; both end at once."""
    path = _path(settings)
    read(path)
    found = edit.remove(path, name)
    if not found:
        raise Failed(f"{path} has no user and no token {name!r}; see snorri access list", FAILED)
    say(f"removed the {' and the '.join(found)} {name} from {path}")


@access.command("list")
@json_option
@settings_options("auth")
def list_(settings: Settings, as_json: bool) -> None:
    """Show users and tokens, never their hashes."""
    path = _path(settings)
    file = read(path)
    now = datetime.now(UTC)
    rows: list[dict[str, Any]] = [
        {"kind": "user", "name": name, "role": one.role, "expires": None, "expired": False}
        for name, one in file.users.items()
    ]
    for name, one in file.tokens.items():
        ends = one.ends
        row = {"kind": "token", "name": name, "role": one.role, "expired": one.expired(now)}
        rows.append({**row, "expires": time_text(ends) if ends else None})
    if as_json:
        emit(rows)
        return
    table(
        ("kind", "name", "role", "good until"),
        (
            (row["kind"], row["name"], row["role"], _until(row["expires"], row["expired"]))
            for row in rows
        ),
    )
    if file.proxy is not None:
        note(f"and whoever {file.proxy.identity_header} of the proxy names")


def _until(expires: str | None, expired: bool) -> str:
    return "" if expires is None else f"{expires} (expired)" if expired else expires


def _path(settings: Settings) -> Path:
    if settings.auth is None:
        raise Failed("no file of users is named; give --auth FILE or set SNORRI_AUTH", USAGE)
    return Path(settings.auth)


def _name(name: str) -> str:
    if not 0 < len(name) <= NAME_CHARS_MAX or not name.isprintable():
        raise Failed(f"a name has 1 to {NAME_CHARS_MAX} printable characters; give another", USAGE)
    return name


def _password(from_stdin: bool) -> str:
    if from_stdin:
        text = sys.stdin.readline().rstrip("\r\n")
    else:
        text = cast("str", click.prompt("Password", hide_input=True, confirmation_prompt=True))
    if weak := passwords.weakness(text):
        raise Failed(weak, USAGE)
    return text


def _end(expires: str | None) -> datetime | None:
    if expires is None:
        return None
    try:
        length_s = seconds(expires)
    except BadDelay as error:
        raise Failed(str(error), USAGE) from None
    if length_s < 1:
        raise Failed("a token that expires at once is of no use; give for example 30d", USAGE)
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=length_s)
