"""Goal: whether somebody is known can't be told from the time that a password takes to check.

Method: what an unknown name is checked against costs what a hash that we made costs.
"""

from __future__ import annotations

import pytest
from argon2 import extract_parameters

from server.access import passwords
from server.access.passwords import PasswordCheck, hash_password

PASSWORD = "correct horse battery"


def test_nobody_has_a_hash_like_everybody() -> None:
    ours, nobodys = hash_password(PASSWORD), passwords._nobody()
    assert extract_parameters(nobodys) == extract_parameters(ours)


@pytest.mark.asyncio
async def test_nobody_has_no_password() -> None:
    assert not await PasswordCheck()(PASSWORD, None)
