"""Settings of the interpreter for long-running processes."""

from __future__ import annotations

import atexit
import gc

YOUNG_OBJECTS_MAX = 200_000


def tune() -> None:
    """Let the garbage collector look at short-lived objects less often.

    An engine makes thousands of small objects for each commit and hardly any cycles; with the
    interpreter's default of 700 the collector takes a fifth of its time. Call it once, after the
    imports.
    """
    gc.collect()
    gc.freeze()
    # Looked at again at the end: DuckDB would complain of what stays frozen as leaked.
    atexit.register(gc.unfreeze)
    gc.set_threshold(YOUNG_OBJECTS_MAX, 20, 50)
