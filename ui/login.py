"""The page that asks who somebody is. Its links are relative: it works wherever it stands."""

from __future__ import annotations

from msgspec import Struct

from ui.render import ENVIRONMENT


class LoginPage(Struct, frozen=True, kw_only=True):
    """The context of ``login.html``: a form (``name`` empty), or who is logged in already.

    ``next`` is the page to go on to, ``error`` why the last try failed, ``csrf`` the token of a
    session that may be ended (empty: there is none to end).
    """

    next: str = ""
    error: str = ""
    name: str = ""
    role: str = ""
    open: bool = False
    csrf: str = ""


def login_html(page: LoginPage) -> str:
    """The page as HTML."""
    return ENVIRONMENT.get_template("login.html").render(page=page)
