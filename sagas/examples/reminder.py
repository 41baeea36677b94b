"""A cart that is left standing gets a reminder. Shows timers: set, cancelled in time, set anew.

Each CartChanged sets the timer again, since a timer with the same id is replaced. CartCheckedOut
ends the instance, and an end takes its timers with it.

| job | payload | answers |
|---|---|---|
| send-reminder | cartId, simulate | ReminderSent {mailId} |
"""

from __future__ import annotations

from msgspec import Struct

from sagas import Effects, Message, SagaHandle, cancel, complete, define_saga, schedule, send

PATIENCE = "30m"


class CartChanged(Struct):
    """Somebody put something into a cart; ``patience`` is how long to wait, such as "5s"."""

    cartId: str
    patience: str = PATIENCE
    simulate: str = ""


class CartState(Struct):
    """How often the cart was changed, and how it went on."""

    cartId: str = ""
    changes: int = 0
    simulate: str = ""
    outcome: str = "open"


Cart = SagaHandle[CartState]


def cart_changed(saga: Cart, message: Message[CartChanged]) -> Effects:
    """Start waiting, from now."""
    saga.state.cartId = message.payload.cartId
    saga.state.simulate = message.payload.simulate
    saga.state.changes += 1
    return schedule({"type": "CartAbandoned"}, message.payload.patience, id="patience")


def cart_checked_out(saga: Cart) -> Effects:
    """In time: no reminder."""
    saga.state.outcome = "checked out"
    return complete()


def cart_abandoned(saga: Cart) -> Effects:
    """The timer fired."""
    saga.state.outcome = "reminded"
    reminder = {"cartId": saga.state.cartId}
    if saga.state.simulate:
        reminder["simulate"] = saga.state.simulate
    return send("send-reminder", reminder)


reminder = (
    define_saga("CartReminderSaga")
    .name("Cart reminder")
    .description(f"Reminds of a cart that was left for {PATIENCE}.")
    .topic("shop")
    .retention("30d")
    .state(CartState())
    .correlate("cartId")
    .on_unknown("ignore")
    .on("CartChanged", cart_changed)
    .on("CartCheckedOut", cart_checked_out)
    .on("CartAbandoned", cart_abandoned)
    .on("ReminderSent", lambda saga, message: complete({"reminded": True}))
    .on_signal("Unsubscribe", lambda saga: cancel("the customer wants no reminders"))
    .build()
)
