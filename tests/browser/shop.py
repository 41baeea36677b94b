"""The app of the browser tests: a parcel that can be declined, held, signalled and undone.

Jobs write what they do to ``effects.jsonl`` in the working directory, so that a test can tell which
work was really done. They fail as the payload says, and wait for files, so that a test decides when
something ends:

| field | what it does |
|---|---|
| card "expired" | charge-card answers no, and the parcel is parked |
| hold true | the parcel waits for a signal instead of being sent |
| bank "closed" | refund-card fails while there is no file ``bank-opens`` |
| address "" | recall-parcel fails; a retry with another payload helps |
| stock "lost", mail "bounces" | restock, tell-customer fail whatever is done |
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from jobs import JobContext, PermanentFailure, failure, job
from sagas import Effects, Message, SagaHandle, complete, define_saga, schedule, send
from sagas.retry import ONCE
from tests.waiting import eventually

EFFECTS = Path("effects.jsonl")
PATIENCE_S = 60.0


class Parcel(Struct):
    """What is ordered, and what is to go wrong with it."""

    parcelId: str
    card: str = "good"
    hold: bool = False
    bank: str = "open"
    address: str = "Main Street 1"
    stock: str = "there"
    mail: str = "arrives"
    gate: str = ""


class ParcelState(Struct):
    """The order, and how far it is."""

    order: Parcel | None = None
    status: str = "new"
    hurried: str = ""


class Hurry(Struct):
    """Payload of the signal: why it is in a hurry."""

    why: str


Handle = SagaHandle[ParcelState]


def _order(saga: Handle) -> Parcel:
    assert saga.state.order is not None
    return saga.state.order


def ordered(saga: Handle, message: Message[Parcel]) -> Effects:
    """Charge the card, or wait when the order is on hold."""
    saga.state.order = message.payload
    if message.payload.hold:
        saga.state.status = "held"
        return schedule({"type": "HeldTooLong"}, "1h", id="hold")
    return send("charge-card", {"parcelId": _order(saga).parcelId, "card": _order(saga).card})


def charged(saga: Handle) -> Effects:
    """Send it."""
    saga.state.status = "charged"
    return send("send-parcel", {"parcelId": _order(saga).parcelId})


def sent(saga: Handle) -> Effects:
    """Done."""
    saga.state.status = "sent"
    return complete()


def hurry(saga: Handle, message: Message[Hurry]) -> Effects:
    """Note why."""
    saga.state.hurried = message.payload.why


def _undo(target: str, *fields: str) -> Any:
    def undo(saga: Handle) -> Effects:
        order = msgspec.to_builtins(_order(saga))
        return send(target, {name: order[name] for name in ("parcelId", "gate", *fields)})

    return undo


parcels = (
    define_saga("ParcelSaga")
    .name("Parcel")
    .description("Charges a card and sends a parcel; four things can be undone.")
    .topic("tests")
    .state(ParcelState())
    .correlate("parcelId")
    .on("ParcelOrdered", ordered)
    .on("CardCharged", charged)
    .on("ParcelSent", sent)
    .on("HeldTooLong", sent)
    .compensate("RefundCard", _undo("refund-card", "bank"))
    .compensate("RecallParcel", _undo("recall-parcel", "address"))
    .compensate("Restock", _undo("restock", "stock"))
    .compensate("TellCustomer", _undo("tell-customer", "mail"))
    .on_signal("hurry", hurry)
    .build()
)


def _did(job: str, ctx: JobContext[Any], **more: str) -> None:
    """Write down that the work was done."""
    line = {"job": job, "parcel": ctx.key, "command": ctx.command_id, **more}
    with EFFECTS.open("ab") as file:
        file.write(msgspec.json.encode(line) + b"\n")


@job("charge-card", retry=ONCE, on_success="CardCharged")
async def charge_card(ctx: JobContext[dict[str, Any]], payload: dict[str, Any]) -> Any:
    """Take the money."""
    if payload["card"] == "expired":
        return failure("the card was declined")
    _did("charge-card", ctx, card=payload["card"])
    return {"parcelId": payload["parcelId"]}


@job("send-parcel", retry=ONCE, on_success="ParcelSent")
async def send_parcel(ctx: JobContext[dict[str, Any]], payload: dict[str, Any]) -> Any:
    """Give it to the carrier."""
    _did("send-parcel", ctx)
    return {"parcelId": payload["parcelId"]}


@job("refund-card", retry=ONCE)
async def refund_card(ctx: JobContext[dict[str, Any]], payload: dict[str, Any]) -> Any:
    """Give the money back, as soon as ``gate`` is there."""
    await _gate(payload)
    if payload["bank"] == "closed" and not Path("bank-opens").exists():
        raise PermanentFailure("the bank is closed")
    _did("refund-card", ctx)


@job("recall-parcel", retry=ONCE)
async def recall_parcel(ctx: JobContext[dict[str, Any]], payload: dict[str, Any]) -> Any:
    """Ask the carrier to bring it back."""
    if not payload["address"]:
        raise PermanentFailure("nobody knows the address")
    _did("recall-parcel", ctx, address=payload["address"])


@job("restock", retry=ONCE)
async def restock(ctx: JobContext[dict[str, Any]], payload: dict[str, Any]) -> Any:
    """Put the goods back."""
    if payload["stock"] == "lost":
        raise PermanentFailure("the goods are lost")
    _did("restock", ctx)


@job("tell-customer", retry=ONCE)
async def tell_customer(ctx: JobContext[dict[str, Any]], payload: dict[str, Any]) -> Any:
    """Send a mail."""
    if payload["mail"] == "bounces":
        raise PermanentFailure("the mail bounced")
    _did("tell-customer", ctx)


async def _gate(payload: dict[str, Any]) -> None:
    if payload["gate"]:
        await eventually(Path(payload["gate"]).exists, PATIENCE_S, f"the file {payload['gate']}")
