"""The tables of NATS users in docs/security.md, made from the table of permissions."""

from __future__ import annotations

import re
from pathlib import Path

from store.jetstream.permissions import ABOUT, USERS, permissions
from store.subjects import Names

SECURITY = Path(__file__).resolve().parents[2] / "docs" / "security.md"
TABLE = re.compile(r"(<!-- permissions -->\n).*?(<!-- end -->)", re.DOTALL)
JOB = "charge"


def permissions_page() -> str:
    """The page with its table as it should be."""
    rows = ["| user | for | may publish | but not | may subscribe to |", "|---|---|---|---|---|"]
    for user in USERS:
        rights = permissions(
            user, Names(), f"_INBOX_SAGA_{user}", [JOB], answers="_INBOX_SAGA_operator"
        )
        cells = (_list(rights.publish), _list(rights.deny), _list(rights.subscribe))
        rows.append(f"| {user} | {ABOUT[user]} | {' | '.join(cells)} |")
    table = "\n".join(rows) + "\n"
    text = SECURITY.read_text(encoding="utf-8")
    return TABLE.sub(lambda found: f"{found[1]}{table}{found[2]}", text)


def _list(subjects: tuple[str, ...]) -> str:
    return " ".join(f"`{subject}`" for subject in subjects)
