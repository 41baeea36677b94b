"""The access file as it is now: read again when it changes, so that a revocation holds at once."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from server.access.file import AccessFile, AccessFileError, read

log = logging.getLogger("snorri.access")

OTHERS = stat.S_IRWXG | stat.S_IRWXO

_Seen = tuple[int, int, int]


class AccessSource:
    """``current()`` is what the file says now. Made with a file that can be read, else it raises.

    A file that is broken later leaves the last good one in force and says so in the log; one that
    is gone lets nobody in.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: _Seen | None = self._look()
        self._file = read(path)
        self._warn_when_open()

    def current(self) -> AccessFile:
        """The file's content; costs one look at its time and size."""
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            self._reload()
        return self._file

    def _reload(self) -> None:
        if self._seen is None:
            log.error("%s is gone, so nobody comes in; put the file back", self.path)
            self._file = AccessFile()
            return
        try:
            self._file = read(self.path)
        except AccessFileError as error:
            log.error("the users and tokens from before stay in force: %s", error)
            return
        log.info("%s was read again", self.path)
        self._warn_when_open()

    def _look(self) -> _Seen | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _warn_when_open(self) -> None:
        try:
            mode = stat.S_IMODE(os.stat(self.path).st_mode)
        except OSError:
            return
        if mode & OTHERS:
            log.warning(
                "%s can be read by others (mode %03o); set it with: chmod 600 %s",
                self.path,
                mode,
                self.path,
            )
