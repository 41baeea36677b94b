"""The place of a page of records in an address: readable by nobody, harmless when made up. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import msgspec

from store.projection.records import Listing, R


def write_place(place: Sequence[object] | None) -> str:
    """The parameter for the page behind a place, empty for none."""
    if place is None:
        return ""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def read_place(listing: Listing[R], text: str) -> Sequence[object] | None:
    """The place a parameter means; None (the first page) when it means none of this listing."""
    if not text:
        return None
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return msgspec.json.decode(data, type=listing.place_type)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        return None
