"""Duplicates a DuckDB file while it is written; run as a script with two paths.

Between two checkpoints DuckDB leaves every block alone that the file's header leads to, for a crash
must find them whole. So a duplicate is sound when the header was the same before and after; the
exit code is 1 when it was not. In a process of its own, since closing a file gives up all locks the
process has on it, also those of the database. Imports nothing of Snorri.
"""

from __future__ import annotations

import shutil
import sys

HEADER_BYTES = 3 * 4096


def _header(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(HEADER_BYTES)


def main(source: str, target: str) -> int:
    """Duplicate ``source``; 0 when ``target`` is sound."""
    before = _header(source)
    shutil.copyfile(source, target)
    return int(_header(source) != before)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
