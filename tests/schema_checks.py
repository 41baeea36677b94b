"""A check of ours for schemathesis: a request that the document allows is refused for its meaning
only, never for its form.

Loaded by schemathesis itself (``SCHEMATHESIS_HOOKS``). Its own check for this knows statuses only,
and 400 is ours for both; the type of the problem document tells them apart.
"""

from __future__ import annotations

from typing import Any

import schemathesis
from schemathesis.generation import GenerationMode

FORM = {"invalid-request", "unknown-parameter", "unsupported-media-type", "method-not-allowed"}
FLOAT = "Expected `int`, got `float`"
PREFIX = "urn:snorri:problem:"


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
