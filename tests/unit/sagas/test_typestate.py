"""Goal: a wrong chain is an error in the editor, where types can say it, not only at run time.

Method: the type checker reads one file of right chains and one in which each marked line is wrong;
it must complain about exactly those lines.
"""

from __future__ import annotations

from pathlib import Path

from tests.typing.checking import assert_wrong_where_said

CHAINS = """
from msgspec import Struct
from sagas import Message, SagaHandle, define_saga, send


class State(Struct):
    n: int = 0


class Other(Struct):
    m: int = 0


class Order(Struct):
    orderId: str


def right(saga: SagaHandle[State], message: Message[Order]):
    saga.state.n += 1
    return [send("job", {"id": message.payload.orderId})]


def wrong_state(saga: SagaHandle[Other]):
    saga.state.m += 1


async def wrong_async(saga: SagaHandle[State]):
    return None


def wrong_return(saga: SagaHandle[State]):
    return "send"


define_saga("S").name("N").state(State()).correlate("id").on("A", right).build()
define_saga("S").state({"n": 1}).on("A", lambda saga, message: send("job", message.payload)).build()
define_saga("S").on("A", right)  # wrong: no state yet
define_saga("S").build()  # wrong: no state yet
define_saga("S").state(State()).state(State())  # wrong: a second state
define_saga("S").state(State()).on("A", wrong_state)  # wrong: another state
define_saga("S").state(State()).on("A", wrong_async)  # wrong: async
define_saga("S").state(State()).on("A", wrong_return)  # wrong: no effect
define_saga("S").state(State()).durability("t9")  # wrong: no such tier
define_saga("S").state(State()).on_unknown("explode")  # wrong: no such policy
define_saga("S").state(State()).on(5, right)  # wrong: no name
define_saga("S").state(State()).on("A", right).build().handlers = {}  # wrong: it is frozen
"""


def test_the_type_checker_sees_wrong_chains(tmp_path: Path) -> None:
    assert_wrong_where_said(tmp_path, CHAINS)
