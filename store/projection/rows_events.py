"""A message of the events stream becomes staged rows. Pure, and it never fails.

Anyone may publish there, so nothing is believed: a subject or a payload that can't be read makes a
row that shows what there is, and the record of an attempt that is none is named as unreadable.
"""

from __future__ import annotations

from collections.abc import Sequence

from sagas.names import BadName
from store import codec
from store.port import Stored
from store.projection.rows_log import Masking, headers_json
from store.projection.staged import ATTEMPTS, Rows
from store.subjects import Names

RECORD_ONLY = "the record of an attempt that will be repeated; it changes no instance"


class EventRows:
    """Reads events into the lists of a batch."""

    def __init__(self, names: Names, mask: Masking) -> None:
        self._names = names
        self._mask = mask

    def read(self, messages: Sequence[Stored], rows: Rows) -> None:
        """Add the rows of ``messages``, which are in the order of the stream."""
        mask, add = self._mask, rows.events.append
        for stored in messages:
            data, headers = stored.data, dict(stored.headers.items())
            try:
                type, key = self._names.parse_event(stored.subject)
            except (BadName, IndexError):
                type, key = stored.subject, None
            if headers:
                headers = self._masked(headers, data)
            tell = headers.get
            add(
                (
                    stored.seq,
                    type,
                    key or "",
                    tell(codec.MSG_ID, ""),
                    stored.at_ns,
                    mask(data),
                    tell(codec.CAUSE, ""),
                    tell(codec.OUTCOME) == "failed",
                    tell(codec.TRACEPARENT, ""),
                    headers_json(headers) if headers else b"{}",
                    len(data),
                    tell(codec.EXECUTION, ""),
                )
            )
            if codec.EXECUTION in headers:
                rows.traits.add(ATTEMPTS)
            if type == codec.ATTEMPTED:  # the engine passes it by without a note
                rows.outcomes.append(
                    (
                        *("events", stored.seq, type, "", "", ""),
                        *("ignored", "record", RECORD_ONLY, "", stored.at_ns),
                    )
                )

    def _masked(self, headers: dict[str, str], data: bytes) -> dict[str, str]:
        record, reason = headers.get(codec.EXECUTION, ""), headers.get(codec.DEAD_LETTER, "")
        if not reason and '"error"' not in record:  # only what failed quotes what it was given
            return headers
        shown = dict(headers)
        for name, text in ((codec.EXECUTION, record), (codec.DEAD_LETTER, reason)):
            if text:
                shown[name] = self._mask.text(text, data)
        return shown
