"""Which versions of nats-server Snorri works with, and why the older ones are refused.

Pure: text in, verdict out. Both the embedded server and the connection to an external one ask here.
It knows nothing of how a version was found.
"""

from __future__ import annotations

import re

Version = tuple[int, int, int]

#: Older than this lost the server's own headers of a schedule written in a batch, and could panic.
VERSION_MIN: Version = (2, 14, 3)
#: Older than this mixed up which batch owns the expectation on a subject.
VERSION_SOUND: Version = (2, 14, 4)
#: What the tests and the lock file use.
VERSION_RECOMMENDED: Version = (2, 15, 1)

_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")


class BrokerTooOld(Exception):
    """This nats-server lacks what Snorri's guarantees rest on; the message names the next step."""


def parse_version(text: str) -> Version:
    """The first ``major.minor.patch`` in ``text``; raises ValueError when there is none."""
    found = _VERSION.search(text)
    if found is None:
        raise ValueError(f"no version of nats-server in {text.strip()!r}")
    major, minor, patch = (int(part) for part in found.groups())
    return major, minor, patch


def format_version(version: Version) -> str:
    """``2.15.1``, as nats-server writes it."""
    return ".".join(str(part) for part in version)


def check_version(text: str) -> str | None:
    """None when the version in ``text`` is fine, a warning when it works but should be replaced.

    Raises BrokerTooOld below VERSION_MIN and ValueError when ``text`` holds no version.
    """
    version = parse_version(text)
    wanted = format_version(VERSION_RECOMMENDED)
    if version < VERSION_MIN:
        raise BrokerTooOld(
            f"nats-server {format_version(version)} is too old: before "
            f"{format_version(VERSION_MIN)} a timer in an atomic batch can lose its headers. "
            f"Install {wanted} or newer and start again."
        )
    if version < VERSION_SOUND:
        return (
            f"nats-server {format_version(version)} has known defects in atomic batches; "
            f"upgrade it to {wanted} or newer"
        )
    return None
