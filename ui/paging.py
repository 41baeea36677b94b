"""The place of a page of records in an address: readable by nobody, harmless when made up. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from store.projection.records import Listing, R

T = TypeVar("T")


def write_place(place: Sequence[object] | None) -> str:
    """The parameter for the page behind a place, empty for none."""
    if place is None:
        return ""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def read_place(listing: Listing[R], text: str) -> Sequence[object] | None:
    """The place a parameter means; None (the first page) when it means none of this listing."""
    return read_tuple(listing.place_type, text)


def read_tuple(type: type[T], text: str) -> T | None:
    """The place a parameter means where it is a tuple of this type; None for the first page."""
    if not text:
        return None
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return msgspec.json.decode(data, type=type)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        return None
