"""Changing the access file: comments and order stay, the file is replaced whole, mode 0600.

What would make a file that can't be used is refused before anything is written.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

from server.access.file import AccessFileError, parse
from server.access.roles import Role

OWN_MODE = 0o600


def set_user(path: Path, name: str, role: Role, password_hash: str | None) -> bool:
    """Add a user or change one; a hash of None keeps the password. Whether it is a new user.

    Raises AccessFileError.
    """
    document = _load(path)
    users = _table(document, "users")
    known = name in users
    if password_hash is None and not known:
        raise AccessFileError(f"there is no user {name!r} in {path}; give a new one a password")
    entry = tomlkit.table()
    entry["password"] = password_hash if password_hash is not None else users[name]["password"]
    entry["role"] = role
    users[name] = entry
    _save(path, document)
    return not known


def set_token(path: Path, name: str, role: Role, digest: str, expires: datetime | None) -> bool:
    """Add a token or replace the one of that name. Whether it is new. Raises AccessFileError."""
    document = _load(path)
    tokens = _table(document, "tokens")
    known = name in tokens
    entry = tomlkit.table()
    entry["sha256"] = digest
    entry["role"] = role
    if expires is not None:
        entry["expires"] = expires
    tokens[name] = entry
    _save(path, document)
    return not known


def remove(path: Path, name: str) -> list[str]:
    """Remove the user and the token of that name; which of them there were.

    Raises AccessFileError, also when nobody could come in any more.
    """
    document = _load(path)
    found: list[str] = []
    for kind in ("users", "tokens"):
        table = document.get(kind)
        if table is not None and name in table:
            del table[name]
            found.append(kind.removesuffix("s"))
            if not table:
                del document[kind]
    if found:
        _save(path, document)
    return found


def _load(path: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return tomlkit.document()
    except (OSError, UnicodeDecodeError, TOMLKitError, RecursionError) as error:
        raise AccessFileError(f"{path} can't be changed: {error}; correct it first") from None


def _table(document: tomlkit.TOMLDocument, kind: str) -> Table:
    table = document.get(kind)
    if table is None:
        document[kind] = tomlkit.table(is_super_table=True)
        table = document[kind]
    if not isinstance(table, Table):
        raise AccessFileError(f"{kind} in the file is no table; correct it first")
    return table


def _save(path: Path, document: tomlkit.TOMLDocument) -> None:
    data = tomlkit.dumps(document).encode()
    parse(data, str(path))
    real = path.resolve()  # a link stays a link
    real.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(data)
            os.fchmod(out.fileno(), OWN_MODE)
            out.flush()
            os.fsync(out.fileno())
        os.replace(name, real)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
