"""Goal: every field an author marks as secret is found, under the name it has in JSON.

Method: types of each kind with marks at each place where one can stand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Generic, NewType, TypedDict, TypeVar

import msgspec

from jobs import job
from jobs.context import JobContext
from sagas import Context, Message, SagaHandle, Secret, define_saga
from sagas.secrets import secret_names

T = TypeVar("T")
CardNumber = NewType("CardNumber", str)


class Card(msgspec.Struct, rename="camel"):
    """A Struct whose names differ in JSON."""

    card_number: Annotated[str, Secret]
    holder: str = ""
    cvv: Annotated[str | None, Secret] = None


class Order(msgspec.Struct):
    """Cards at every depth, and a Struct that holds itself."""

    id: str
    cards: list[Card] = []
    backup: Card | None = None
    tokens: dict[str, Annotated[str, Secret]] = {}
    parts: list[Order] = []


@dataclass
class Person:
    """A dataclass."""

    name: str
    iban: Annotated[str, "bank", Secret()]


class Login(TypedDict):
    """A TypedDict."""

    user: str
    password: Annotated[str, Secret]


class Page(msgspec.Struct, Generic[T]):
    """A Struct that is told its type later."""

    items: list[T]


def test_names_are_those_of_the_json_at_every_depth() -> None:
    assert secret_names(Order) == {"cardNumber", "cvv", "tokens"}


def test_dataclasses_typed_dicts_and_generics_have_fields_too() -> None:
    assert secret_names(Person, Login) == {"iban", "password"}
    assert secret_names(Page[Card] | None) == {"cardNumber", "cvv"}


def test_what_has_no_fields_has_no_secrets() -> None:
    assert secret_names(Any, dict, dict[str, Any], int, CardNumber, None) == frozenset()


def test_a_definition_names_the_secrets_of_its_state_and_of_all_it_takes() -> None:
    def paid(saga: SagaHandle[Card], message: Message[Person]) -> None: ...

    def signed(saga: SagaHandle[Card], message: Message[Login], context: Context[Card]) -> None: ...

    saga = (
        define_saga("Secretive")
        .state(Card(card_number="1"))
        .on("Paid", paid, starts=True)
        .on_signal("sign", signed)
        .build()
    )
    assert saga.secrets == ("cardNumber", "cvv", "iban", "password")


def test_a_job_names_the_secrets_of_its_payload() -> None:
    @job("charge")
    async def charge(ctx: JobContext[Card], payload: Card) -> None: ...

    assert charge.secrets == ("cardNumber", "cvv")
