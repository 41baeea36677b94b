"""When an undo runs: only after its step has ended well, or also after it failed half way.

UploadAlbum has one step of each kind. ``CreateAlbum`` is strict (the default): its undo needs the
album's id, which there is only after success. ``UploadPhotos`` is ``strict=False``: it may fail
with some photos uploaded, so its undo runs in any case, is told that the step has ``failed``, and
gets what the step has left for it.

    snorri start UploadAlbum '{"title":"Iceland","photos":["a","b","c"]}' --key a-1 --wait
    snorri start UploadAlbum '{"title":"Iceland","photos":["a","broken","c"]}' --key a-2 --wait
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from jobs import PermanentFailure, StepContext
from jobs.examples.simulation import stable_id
from sagas import step, steps


class Album(Struct):
    """Photos by name; one that is named "broken" can't be uploaded, the title "taken" is."""

    title: str
    photos: list[str] = []


async def create_album(ctx: StepContext[Album], album: Album) -> dict[str, str]:
    """Make an empty album."""
    if album.title == "taken":
        raise PermanentFailure("there is such an album already")
    return {"albumId": stable_id("alb", ctx)}


async def delete_album(ctx: StepContext[Album], made: dict[str, str]) -> None:
    """Delete it; never asked for an album that was not made."""
    ctx.log.info("album deleted", album=made["albumId"])


async def upload_photos(ctx: StepContext[Album], album: Album) -> dict[str, Any]:
    """Upload one after the other, leaving on record how far it came."""
    uploaded: list[str] = []
    for photo in album.photos:
        if photo == "broken":
            raise PermanentFailure(f"{photo!r} is no picture")
        uploaded.append(photo)
        ctx.leave({"uploaded": uploaded})
    return {"uploaded": uploaded}


async def delete_photos(ctx: StepContext[Album], left: dict[str, list[str]] | None) -> None:
    """Delete what is there, after a success as after a failure; perhaps nothing is."""
    ctx.log.info("photos deleted", failed=ctx.failed, photos=(left or {}).get("uploaded", []))


async def publish_album(ctx: StepContext[Album]) -> dict[str, str]:
    """Let everybody see it."""
    return {"url": f"https://albums.example.org/{ctx.get('albumId')}"}


upload_album = steps(
    "UploadAlbum",
    [
        step("CreateAlbum", create_album, delete_album),
        step("UploadPhotos", upload_photos, delete_photos, strict=False),
        step("PublishAlbum", publish_album, nothing_to_undo=True),
    ],
    input=Album,
    description="Make an album of photos, or leave nothing behind.",
)
