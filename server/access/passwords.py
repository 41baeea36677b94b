"""Passwords and tokens: hashing and checking, without telling anything by the time it takes."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

PASSWORD_CHARS_MIN = 10
PASSWORD_CHARS_MAX = 1000
TOKEN_PREFIX = "snorri_"  # noqa: S105  # found by scanners of repositories, no secret itself
TOKEN_BYTES = 32

# Each check takes 64 MiB and a core for tens of milliseconds; more wait.
CHECKS_AT_ONCE = 2

_hasher = PasswordHasher()


def hash_password(password: str) -> str:
    """The argon2id hash of a password."""
    return _hasher.hash(password)


def weakness(password: str) -> str:
    """What is wrong with a new password, empty when nothing is."""
    if len(password) < PASSWORD_CHARS_MIN:
        return f"the password has fewer than {PASSWORD_CHARS_MIN} characters; take a longer one"
    if len(password) > PASSWORD_CHARS_MAX:
        return f"the password has over {PASSWORD_CHARS_MAX} characters; take a shorter one"
    return ""


def new_token() -> tuple[str, str]:
    """A token and its SHA-256 in hex."""
    token = TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    return token, sha256(token)


def sha256(text: str) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def same(given: str, expected: str) -> bool:
    """Equality of hex digests in constant time."""
    return hmac.compare_digest(given, expected)


class PasswordCheck:
    """Checks passwords in threads, a few at once; unknown names cost as much as wrong passwords."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(CHECKS_AT_ONCE)

    async def __call__(self, password: str, hash: str | None) -> bool:
        """Whether ``password`` has this hash; None is somebody unknown and always False."""
        async with self._slots:
            return await asyncio.to_thread(_verify, password[: PASSWORD_CHARS_MAX + 1], hash)


def _verify(password: str, hash: str | None) -> bool:
    try:
        return _hasher.verify(hash or _nobody(), password) and hash is not None
    except (Argon2Error, InvalidHashError):
        return False


@cache
def _nobody() -> str:
    """The hash of a password that nobody has."""
    return _hasher.hash(secrets.token_urlsafe(TOKEN_BYTES))
