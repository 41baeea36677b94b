"""Files of messages: compressed, in blocks, each message with its sequence, time and headers.

A file is written under another name and given its own when it is whole and synced; so whatever has
the name of a segment is one. Reading streams block by block.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from store.backup.manifest import BackupError, Segment
from store.durable import file_hash, sync_folder
from store.port import NO_HEADERS, Stored, StreamName

SEGMENT_MESSAGES = 200_000
SEGMENT_BYTES = 128 * 1024 * 1024  # of payloads, before they are compressed
BLOCK_MESSAGES = 1_000
LEVEL = 1  # JSON shrinks to a fifth with it; higher levels take several times as long

Row: TypeAlias = tuple[str, int, int, bytes, dict[str, str] | None]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Row]).decode


class Digest:
    """The hash of messages in order, the same wherever they are read from."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, stored: Stored) -> None:
        """The next message."""
        self._hash.update(_encode(_row(stored)))

    def hex(self) -> str:
        """The hash so far."""
        return self._hash.hexdigest()


class SegmentWriter:
    """Writes one segment into ``folder``; ``close`` makes it one, anything else leaves nothing."""

    def __init__(self, folder: Path, stream: StreamName, number: int) -> None:
        self._path = folder / f"{stream}-{number:06}.gz"
        self._part = self._path.with_suffix(".part")
        self._stream: StreamName = stream
        self._raw = self._part.open("wb")
        self._file = gzip.GzipFile("", "wb", LEVEL, self._raw, mtime=0)
        self._block: list[Row] = []
        self._digest = Digest()
        self._first = self._last = self._messages = self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether the next message belongs into another file."""
        return self._messages >= SEGMENT_MESSAGES or self._bytes >= SEGMENT_BYTES

    def add(self, stored: Stored) -> None:
        """The next message; raises OSError when the disk is full."""
        self._block.append(_row(stored))
        self._digest.add(stored)
        self._first = self._first or stored.seq
        self._last = stored.seq
        self._messages += 1
        self._bytes += len(stored.data)
        if len(self._block) >= BLOCK_MESSAGES:
            self._flush()

    def close(self) -> Segment:
        """Sync it, give it its name, and tell what is in it."""
        self._flush()
        self._file.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())
        self._raw.close()
        self._part.replace(self._path)
        sync_folder(self._path.parent)
        return Segment(
            file=self._path.name,
            stream=self._stream,
            first=self._first,
            last=self._last,
            messages=self._messages,
            bytes=self._path.stat().st_size,
            sha256=file_hash(self._path),
            digest=self._digest.hex(),
        )

    def drop(self) -> None:
        """Give up: remove what was written."""
        self._raw.close()
        self._part.unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._block:
            data = _encode(self._block)
            self._file.write(len(data).to_bytes(4, "big") + data)
            self._block.clear()


def read_segment(folder: Path, segment: Segment) -> Iterator[Stored]:
    """The messages of a segment; raises BackupError when the file is gone or damaged."""
    path = folder / segment.file
    try:
        with gzip.open(path, "rb") as file:
            while head := file.read(4):
                for row in _decode(file.read(int.from_bytes(head, "big"))):
                    yield Stored(row[0], row[1], row[2], row[3], row[4] or NO_HEADERS)
    except (OSError, EOFError, msgspec.MsgspecError) as error:
        raise BackupError(f"{path} can't be read ({error}); use another backup") from error


def damages(folder: Path, segments: Sequence[Segment]) -> Iterator[str]:
    """Which files are not what the manifest says, in words."""
    for segment in segments:
        path = folder / segment.file
        try:
            found = file_hash(path)
        except OSError as error:
            yield f"{path}: {error.strerror}"
            continue
        if found != segment.sha256:
            yield f"{path}: its bytes are not those that were written"


def _row(stored: Stored) -> Row:
    headers = dict(stored.headers) if stored.headers else None
    return (stored.subject, stored.seq, stored.at_ns, stored.data, headers)
