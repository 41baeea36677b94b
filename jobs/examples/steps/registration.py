"""A registration: a check that changes nothing, an account with an undo, a mail nobody waits for.

Shows that only what has an effect needs an undo, and a failure for good without an exception.

    snorri start UserRegistration '{"email":"ada@example.org","name":"Ada"}' --key ada --wait
    snorri start UserRegistration '{"email":"","name":"Ada"}' --wait
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from jobs import PermanentFailure, StepContext
from jobs.examples.simulation import stable_id
from sagas import StepResponse, WorkflowSaga, step, workflow


class Registration(Struct):
    """Who wants an account; ``simulate``: taken."""

    email: str
    name: str = ""
    simulate: str = ""


class Account(Struct):
    """An account that was made."""

    userId: str


@step("ValidateRegistration", nothing_to_undo=True)
async def validate(
    ctx: StepContext[Registration], wanted: Registration
) -> StepResponse[dict[str, bool]]:
    """Look at what was given; an answer of no is not tried again."""
    if "@" not in wanted.email:
        return StepResponse.permanent_failure("an e-mail address is required", code="BAD_EMAIL")
    return StepResponse({"valid": True})


async def delete_account(ctx: StepContext[Registration], key: dict[str, str]) -> None:
    """Remove the account again; ``key`` is what the step left for this, not its output."""
    ctx.log.info("account deleted", user=key["userId"])


@step("CreateAccount", compensate=delete_account)
async def create_account(
    ctx: StepContext[Registration], wanted: Registration
) -> StepResponse[Account]:
    """Make the account."""
    account = Account(stable_id("user", ctx))
    return StepResponse(account, {"userId": account.userId})


@step("ReserveName", nothing_to_undo=True)
async def reserve_name(ctx: StepContext[Registration], wanted: Registration) -> dict[str, str]:
    """Names are reserved for a day by themselves, so there is nothing to undo."""
    if wanted.simulate == "taken":
        raise PermanentFailure(f"the name {wanted.name!r} is taken", code="NAME_TAKEN")
    return {"name": wanted.name}


@step("SendWelcomeMail", background=True)
async def welcome(ctx: StepContext[Registration], wanted: Registration) -> None:
    """Greet; the registration does not wait for it and does not fail with it."""
    ctx.log.info("welcome mail sent", to=wanted.email)


@workflow("UserRegistration")
async def registration(saga: WorkflowSaga, wanted: Registration) -> dict[str, Any]:
    """Register a user."""
    await validate(saga, wanted)
    account = await create_account(saga, wanted)
    reserved = await reserve_name(saga, wanted)
    await welcome(saga, wanted)
    return {"userId": account.userId, **reserved}
