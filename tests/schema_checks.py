"""What we add to schemathesis: a check, and how many of its cases are sent.

A request that the document allows is refused for its meaning only, never for its form. Its own
check for this knows statuses only, and 400 is ours for both; the type of the problem document tells
them apart. Loaded by schemathesis itself (``SCHEMATHESIS_HOOKS``).
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import schemathesis
from schemathesis.generation import GenerationMode

FORM = {"invalid-request", "unknown-parameter", "unsupported-media-type", "method-not-allowed"}
FLOAT = "Expected `int`, got `float`"
PREFIX = "urn:snorri:problem:"


FIRST, EVERY = 8, 6  # of an operation's cases: the first ones, and of the others every sixth
ALL = bool(os.environ.get("SNORRI_TEST_LONG"))

_seen: Counter[str] = Counter()


@schemathesis.hook
def filter_case(_context: Any, case: schemathesis.Case) -> bool:
    """Whether a case is sent: operations with many fields have hundreds, of the same few kinds."""
    label = case.operation.label
    _seen[label] += 1
    return ALL or _seen[label] <= FIRST or _seen[label] % EVERY == 0


@schemathesis.check
def refused_for_meaning_only(
    _context: Any, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """Fails for a valid request that was answered with a complaint about its form."""
    mode = case.meta.generation.mode if case.meta is not None else None
    if mode != GenerationMode.POSITIVE or response.status_code < 400:
        return
    problem = response.json()
    type = str(problem.get("type", "")).removeprefix(PREFIX)
    # A form that no schema can tell (one of two fields, but not both) comes without ``errors``. To
    # JSON Schema 1.0 is an integer; to us it is none, and no client of ours would write it.
    errors = [one for one in problem.get("errors", []) if not one["message"].endswith(FLOAT)]
    if type in FORM and (errors or type != "invalid-request"):
        raise AssertionError(f"a valid request was refused: {problem.get('detail')}")
