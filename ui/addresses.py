"""Addresses of our own pages: the one place that knows how a thing becomes a path.

Keys may hold any character, slashes included, so every part is percent-encoded whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlencode

Query = Mapping[str, str | int | Sequence[str] | None]


class Addresses:
    """Builds addresses below ``base``; parameters that are None or empty are left out."""

    def __init__(self, base: str = "") -> None:
        self.base = base

    def page(self, path: str, query: Query | None = None) -> str:
        """A page by its path, e.g. ``/instances``."""
        return f"{self.base}{path}{_query(query)}"

    def instance(self, saga: str, key: str, tail: str = "", query: Query | None = None) -> str:
        """The page of an instance, or a part of it (``/act/retry``)."""
        return f"{self.base}/instances/{_part(saga)}/{_part(key)}{tail}{_query(query)}"

    def saga(self, saga: str, tail: str = "", query: Query | None = None) -> str:
        """The page of a definition, or a part of it (``/start``)."""
        return f"{self.base}/sagas/{_part(saga)}{tail}{_query(query)}"

    def job(self, target: str, tail: str = "", query: Query | None = None) -> str:
        """The page of a job, or a part of it (``/run``)."""
        return f"{self.base}/jobs/{_part(target)}{tail}{_query(query)}"

    def event(self, seq: int, tail: str = "", query: Query | None = None) -> str:
        """The page that tells what happened to an event, or a part of it (``/resend``)."""
        return f"{self.base}/events/{seq}{tail}{_query(query)}"

    def letter(self, id: str, tail: str = "", query: Query | None = None) -> str:
        """The page of a dead letter, or a part of it (``/redrive``)."""
        return f"{self.base}/failures/dead-letters/{_part(id)}{tail}{_query(query)}"

    def failure(self, fingerprint: str, tail: str = "", query: Query | None = None) -> str:
        """The page of a group of failures, or a part of it."""
        return f"{self.base}/failures/{_part(fingerprint)}{tail}{_query(query)}"


def _part(text: str) -> str:
    return quote(text, safe="")


def _query(query: Query | None) -> str:
    given = {name: value for name, value in (query or {}).items() if value not in (None, "", ())}
    return f"?{urlencode(given, doseq=True)}" if given else ""
