"""What a page cuts short, whole: the document of one version, and all versions as a file."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Stream
from msgspec import Raw

from sagas.instance import encode
from store.closing import closing
from store.lookup import HistoryElsewhere
from ui.desk import Desk, Who
from ui.render import missing
from ui.stretch import Mask, elsewhere, masked, stretch_around


@get("/instances/{saga:str}/{key:str}/document", opt={"role": "viewer"})
async def document(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    saga: FromPath[str],
    key: FromPath[str],
    version: Annotated[int | None, QueryParameter(ge=1)] = None,
    unmask: FromQuery[bool] = False,
) -> Response[Any]:
    """The KV value of a version (default: the last), secret fields masked."""
    mask = desk.shower(request, unmask, f"the document of {saga}/{key}")
    try:
        stretch = await stretch_around(desk, saga, key, version, mask)
    except HistoryElsewhere as error:
        return elsewhere(request, desk, error)
    revision = stretch.at(version or stretch.last) if stretch is not None else None
    if revision is None:
        return _missing(request, desk, saga, key)
    data = msgspec.json.format(encode(revision.instance), indent=2)
    return Response(data, media_type="application/json")


@get("/instances/{saga:str}/{key:str}/history.json", opt={"role": "viewer"})
async def history(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    saga: FromPath[str],
    key: FromPath[str],
    unmask: FromQuery[bool] = False,
) -> Response[Any]:
    """All versions as one JSON file, each with its sequence, time and hash."""
    mask = desk.shower(request, unmask, f"the history of {saga}/{key}")
    if await desk.client.latest(saga, key) is None:
        return _missing(request, desk, saga, key)
    name = quote(f"{saga}-{key}.json", safe="")
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    return Stream(_versions(desk, saga, key, mask), media_type="application/json", headers=headers)


async def _versions(desk: Desk, saga: str, key: str, mask: Mask) -> AsyncGenerator[bytes]:
    """A JSON array, a version at a time, so that a long history needs no memory."""
    before = b"["
    async with closing(desk.client.history(saga, key)) as revisions:
        async for revision in revisions:
            shown = {
                "seq": revision.seq,
                "at": revision.at,
                "hash": revision.hash,
                "document": Raw(encode(masked(revision, mask).instance)),
            }
            yield before + msgspec.json.encode(shown)
            before = b",\n"
    yield b"]\n"


def _missing(request: Request[Who, Any, State], desk: Desk, saga: str, key: str) -> Response[str]:
    return missing(
        request,
        desk,
        f"{saga} has no such version of {key}",
        "Check the key and the version, or search for a part of the key.",
        ("/instances", {"saga": saga}),
    )


ROUTES = (document, history)
