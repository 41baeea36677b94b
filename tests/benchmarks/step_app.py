"""What is measured of steps: a list of three, the last of which fails in one run of ten."""

from __future__ import annotations

from typing import Any

from jobs import JobRegistry, StepContext
from jobs.steps import step_jobs
from sagas import Registry, StepList, StepResponse, retry, step, steps

RUN = "bench-run"
FAILS_EVERY = 10


async def _reserve(ctx: StepContext) -> StepResponse[dict[str, int]]:
    return StepResponse({"reserved": 1}, {"reservation": 1})


async def _charge(ctx: StepContext) -> StepResponse[dict[str, int]]:
    return StepResponse({"charged": 1}, {"charge": 1})


async def _undo(ctx: StepContext, data: dict[str, int]) -> None:
    return None


async def _ship(ctx: StepContext) -> dict[str, int] | StepResponse[dict[str, int]]:
    if ctx.get("number", 0) % FAILS_EVERY == 0:
        return StepResponse.permanent_failure("no carrier")
    return {"shipped": 1}


def run_list() -> StepList[dict[str, int], Any]:
    """The measured list."""
    return steps(
        RUN,
        [
            step("reserve", _reserve, _undo),
            step("charge", _charge, _undo),
            step("ship", _ship, retry=retry(1)),
        ],
        input=dict[str, int],
    )


def registry() -> Registry:
    """The measured definitions."""
    return Registry([run_list()])


def jobs() -> JobRegistry:
    """The jobs of their steps."""
    return JobRegistry(step_jobs(run_list()))


def input_of(number: int) -> bytes:
    """The input of a run."""
    return b'{"number":%d}' % number
