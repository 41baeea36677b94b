"""Goal: the page on security says what the code does.

Method: the table of users against the one in the code.
"""

from __future__ import annotations

from tests.docs.permissions_page import SECURITY, permissions_page


def test_the_table_of_users_is_current() -> None:
    assert SECURITY.read_text(encoding="utf-8") == permissions_page(), "run `make docs`"
