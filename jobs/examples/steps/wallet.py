"""Wallets as keyed entities: one change at a time for each owner, transfers that are undone.

``transfer`` books on both sides with steps; when the second booking fails, the first is undone and
the balance stays as it was. BuyTicket calls a wallet from a workflow and pays back by itself, since
what an entity has answered is not undone by others.

    snorri publish Wallet '{"handler":"deposit","input":{"amount":100}}' --key ada
    snorri publish Wallet '{"handler":"transfer","input":{"to":"bob","amount":30}}' --key ada
    snorri start BuyTicket '{"owner":"ada","price":20}' --wait
    curl localhost:8092/api/v1/sagas/instances/Wallet/ada/query/balance
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from jobs import PermanentFailure, StepContext
from jobs.examples.simulation import stable_id
from sagas import StepFailed, WorkflowFailed, WorkflowSaga, entity, step, workflow


class Balance(Struct):
    """The state of a wallet, in the smallest unit of its currency."""

    amount: int = 0
    moves: int = 0


class Deposit(Struct):
    """Money that comes in."""

    amount: int


class Withdrawal(Struct):
    """Money that goes out."""

    amount: int


class Transfer(Struct):
    """Money for another wallet; the bank refuses the owner "nobody"."""

    to: str
    amount: int


class Ticket(Struct):
    """What is bought from whose wallet; ``simulate``: sold-out."""

    owner: str
    price: int
    simulate: str = ""


async def unbook(ctx: StepContext[Any], booked: dict[str, str]) -> None:
    """Take a booking back."""
    ctx.log.info("booking taken back", booking=booked["bookingId"])


@step("DebitAccount", compensate=unbook)
async def debit(ctx: StepContext[Transfer], wanted: Transfer) -> dict[str, str]:
    """Book the money out at the bank."""
    return {"bookingId": stable_id("deb", ctx)}


@step("CreditAccount", compensate=unbook)
async def credit(ctx: StepContext[Transfer], wanted: Transfer) -> dict[str, str]:
    """Book it in for the other owner."""
    if wanted.to == "nobody":
        raise PermanentFailure("the bank knows no such owner", code="NO_OWNER")
    return {"bookingId": stable_id("cre", ctx)}


wallet = entity("Wallet", state=Balance, description="What somebody has.")


@wallet.handler("deposit")
async def deposit(saga: WorkflowSaga, paid: Deposit) -> int:
    """Put money in; gives the new balance."""
    return _change(saga, paid.amount)


@wallet.handler("withdraw")
async def withdraw(saga: WorkflowSaga, wanted: Withdrawal) -> int:
    """Take money out; gives the new balance."""
    return _change(saga, -wanted.amount)


@wallet.handler("transfer")
async def transfer(saga: WorkflowSaga, wanted: Transfer) -> int:
    """Send money to another wallet; it hears of it when both bookings are made."""
    left = _change(saga, -wanted.amount)
    await debit(saga, wanted)
    await credit(saga, wanted)
    deposit.tell(saga, wanted.to, Deposit(wanted.amount))
    return left


def _change(saga: WorkflowSaga, amount: int) -> int:
    if saga.state.amount + amount < 0:
        raise WorkflowFailed(f"only {saga.state.amount} left", code="NOT_ENOUGH")
    saga.state = Balance(saga.state.amount + amount, saga.state.moves + 1)
    return saga.state.amount


@wallet.shared("balance")
def balance(state: Balance) -> int:
    """How much is there; asked at any time, also while a handler works."""
    return state.amount


@step("IssueTicket", nothing_to_undo=True)
async def issue(ctx: StepContext[Ticket], ticket: Ticket) -> dict[str, str]:
    """Print the ticket."""
    if ticket.simulate == "sold-out":
        raise PermanentFailure("no seat left")
    return {"ticketId": stable_id("tic", ctx)}


@workflow("BuyTicket")
async def buy_ticket(saga: WorkflowSaga, ticket: Ticket) -> dict[str, Any]:
    """Pay from a wallet, get a ticket or the money back."""
    left = await withdraw.call(saga, ticket.owner, Withdrawal(ticket.price))
    try:
        issued = await issue(saga, ticket)
    except StepFailed:
        await deposit.call(saga, ticket.owner, Deposit(ticket.price))
        raise
    return {**issued, "left": left}
