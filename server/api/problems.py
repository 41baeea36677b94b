"""Errors of the API as problem documents (RFC 9457): what happened and what to do next."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import UNSET, Struct, UnsetType

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """What a handler raises to answer with a problem document.

    ``type`` is a short word for programs (it becomes ``urn:snorri:problem:<type>``), ``detail``
    says what happened here, ``next`` what to do about it; ``more`` are further members.
    """

    def __init__(
        self,
        status: int,
        type: str,
        title: str,
        detail: str,
        next: str,
        more: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.type = type
        self.title = title
        self.detail = detail
        self.next = next
        self.more = dict(more or {})
        self.headers = dict(headers or {})


class ProblemDocument(Struct, frozen=True, kw_only=True):
    """The body of an error; further members depend on the problem."""

    type: str
    title: str
    status: int
    detail: str
    next: str
    instance: str | UnsetType = UNSET
