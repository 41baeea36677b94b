"""Goal: the page on jobs names all that a job or a step is given and all that may be declared.

Method: the public names of the contexts, of providers and of policies against the page.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import jobs
from jobs import ErrorPolicy, JobContext, Providers, StepContext, job

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "jobs.md").read_text(encoding="utf-8")
INNER = {"resolve_need", "second", "added", "left", "enter"}  # what the machinery reads
INNER |= {"transaction", "rolled_back"}  # of steps in a database transaction
GIVEN = {
    name
    for context in (JobContext, StepContext)
    for name in (*vars(context), *context.__slots__)
    if not name.startswith("_") and name not in INNER
}
ERRORS = [name for name in jobs.__all__ if "error" in name] + ["ErrorPolicy", "PermanentFailure"]
PROVIDERS = ("provide", "override", "check", "for_tenant", "tenant_by")


def _row_names(what: str) -> set[str]:
    """The first cells of the table whose head begins with ``what``."""
    table = TEXT[TEXT.index(f"| {what}") :].partition("\n\n")[0]
    cells = " ".join(row.split("|")[1] for row in table.splitlines()[2:])
    return set(re.findall(r"`(\w+)", cells))


def test_all_that_a_context_gives_is_in_its_tables() -> None:
    assert _row_names("`ctx` |") | _row_names("`ctx` of a step") == GIVEN


def test_all_that_job_takes_is_in_its_table() -> None:
    parameters = set(inspect.signature(job).parameters) - {"description"}
    assert _row_names("argument of `@job`") >= parameters


@pytest.mark.parametrize("name", PROVIDERS)
def test_providers(name: str) -> None:
    assert hasattr(Providers, name)
    assert name in TEXT


@pytest.mark.parametrize("name", [*ERRORS, *ErrorPolicy.__struct_fields__])
def test_what_ends_a_step(name: str) -> None:
    assert re.search(rf"\b{name}\b", TEXT)
