"""The part of a history that a page shows: all of a short one, of a long one the versions around
the one that is looked at.

Documents come from the log; where they stand in it the projections know. What those don't know yet
is found by reading the whole history.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from msgspec import Struct, structs

from sagas.instance import Instance, encode
from store.lookup import HistoryElsewhere, Revision
from ui.desk import Desk, Who
from ui.render import missing

VERSIONS_MAX = 100  # shown at once; the address of a version reaches every other one

Mask = Callable[[bytes], bytes]

SEQS = """
SELECT version, seq FROM transitions
WHERE saga = $saga AND key = $key AND version BETWEEN $first AND $last ORDER BY version
"""


class _Place(Struct, frozen=True):
    version: int
    seq: int


class Stretch(Struct, frozen=True):
    """Versions in order without a gap, secret fields masked; ``last`` is the last there is.

    The first of them may be there only for what came before the second, ``shown`` leaves it out.
    """

    revisions: list[Revision]
    last: int

    @property
    def first(self) -> int:
        """The version the stretch begins with."""
        return self.revisions[0].instance.version

    @property
    def shown(self) -> list[Revision]:
        """The versions to show."""
        return self.revisions[1:] if self.first > 1 else self.revisions

    def at(self, version: int) -> Revision | None:
        """A version, None when it is not in the stretch."""
        index = version - self.first
        return self.revisions[index] if 0 <= index < len(self.revisions) else None


async def stretch_around(
    desk: Desk, saga: str, key: str, version: int | None, mask: Mask
) -> Stretch | None:
    """The stretch with a version (default and for one that is not there: the last) in its middle.

    None when there is no such instance; raises IllegalTransition where the history is broken.
    """
    now = await desk.client.latest(saga, key)
    if now is None:
        return None
    last = now.instance.version
    around = version if version is not None and version <= last else last
    first = max(1, min(last - VERSIONS_MAX + 1, around - VERSIONS_MAX // 2))
    begin, end = max(1, first - 1), min(last, first + VERSIONS_MAX - 1)
    found = await _by_place(desk, saga, key, begin, end) if last > VERSIONS_MAX else None
    if found is None:
        found = [one async for one in desk.client.history(saga, key)]
        last = found[-1].instance.version
        found = found[begin - 1 : end if last > VERSIONS_MAX else None]
    return Stretch([masked(one, mask) for one in found], last)


async def _by_place(
    desk: Desk, saga: str, key: str, first: int, last: int
) -> list[Revision] | None:
    """Versions by where the projections say they are; None when those don't know all of them."""
    about = {"saga": saga, "key": key, "first": first, "last": last}
    places = await desk.read.fetch(SEQS, about, _Place)
    if [one.version for one in places] != list(range(first, last + 1)):
        return None
    return await desk.client.revisions(saga, key, [one.seq for one in places])


def elsewhere(
    request: Request[Who, Any, State], desk: Desk, error: HistoryElsewhere
) -> Response[str]:
    """The page for a history whose archive is not at hand."""
    what = "A part of this history is not at hand"
    return missing(request, desk, what, f"{error}.", desk_link=("/instances", {}))


def masked(revision: Revision, mask: Mask) -> Revision:
    """The revision with secret fields replaced; its hash stays the stored one."""
    document = msgspec.json.decode(mask(encode(revision.instance)), type=Instance)
    return structs.replace(revision, instance=document)
