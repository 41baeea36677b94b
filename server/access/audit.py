"""Who came in, who was refused, who saw what is hidden: one line each of the log ``snorri.audit``.

What operators do to instances is in the history of the instances; this is for all the rest.
"""

from __future__ import annotations

import logging

from server.access.roles import Identity

log = logging.getLogger("snorri.audit")

TEXT_CHARS_MAX = 2000


def record(what: str, who: Identity | str, address: str, **more: object) -> None:
    """One line: ``what`` happened, who did it (a name where nobody is known), from where."""
    known = isinstance(who, Identity)
    fields: dict[str, object] = {
        "who": who.name if known else who,
        "role": who.role if known else "",
        "via": who.via if known else "",
        "address": address,
        **more,
    }
    log.info(what, extra={name: _short(value) for name, value in fields.items()})


def _short(value: object) -> object:
    return value[:TEXT_CHARS_MAX] if isinstance(value, str) else value
