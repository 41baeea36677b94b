"""Goal: no password, token or secret value reaches the log, in whatever form it is logged.

Method: the real set-up writes lines of each kind into a buffer, once for people, once for machines.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
import pytest
import structlog

from server.logs import configure_logs, redactor
from store.masking import AT_WORK, MASKED

VALUE = "4111-1111-1111-1111"
TOKEN = "snorri_AbCdEfGhIjKlMnOpQrStUvWxYz012345"
Form = Literal["console", "json"]


class Card(msgspec.Struct):
    """Something that is logged whole."""

    holder: str
    card: str


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    redactor.hide(lambda: ["card"])
    yield
    redactor.hide(tuple)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("form", ["console", "json"])
@pytest.mark.parametrize(
    "value",
    [
        {"card": VALUE},
        {"CARD": VALUE},
        {"payload": {"deep": [{"card": {"number": VALUE}}]}},
        {"payload": Card(holder="anna", card=VALUE)},
        {"payload": [Card(holder="anna", card=VALUE)]},
        {"payload": f'{{"holder":"anna","card":"{VALUE}"}}'},
        {"payload": f'{{"holder":"anna","card":"{VALUE}"}}'.encode()},
        {"payload": repr(Card(holder="anna", card=VALUE))},
        {"payload": repr({"card": VALUE})},
        {"payload": f"card={VALUE}&holder=anna"},
        {"payload": f"card: {VALUE}, holder: anna"},
        {"payload": '{\\"card\\": \\"' + VALUE + '\\"}'},
        {"password": VALUE},
        {"headers": {"Authorization": VALUE}},
        {"payload": f"Authorization: Bearer {VALUE}"},
        {"url": f"nats://user:{VALUE}@host:4222"},
    ],
)
def test_a_value_under_a_secret_name_is_hidden(form: Form, value: dict[str, Any]) -> None:
    out = io.StringIO()
    configure_logs(form, stream=out)
    structlog.get_logger("jobs.charge").info("charging", **value)
    logging.getLogger("else").info("charging %s", value, extra=value)
    assert VALUE not in out.getvalue()
    assert MASKED in out.getvalue()
    assert "charging" in out.getvalue()


@pytest.mark.parametrize("form", ["console", "json"])
def test_tokens_and_hashes_are_known_by_their_looks(form: Form) -> None:
    out = io.StringIO()
    configure_logs(form, stream=out)
    logging.getLogger("x").info("token %s, hash $argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA", TOKEN)
    assert TOKEN not in out.getvalue()
    assert "c2FsdA" not in out.getvalue()


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_is_a_text_like_others(form: Form) -> None:
    out = io.StringIO()
    configure_logs(form, stream=out)
    try:
        raise ValueError(f"declined: card='{VALUE}'")
    except ValueError:
        logging.getLogger("x").exception("it failed")
        structlog.get_logger("x").error("it failed", exc_info=True)
    assert VALUE not in out.getvalue()
    assert out.getvalue().count("ValueError: declined") == 2


@pytest.mark.parametrize("form", ["console", "json"])
def test_values_of_the_command_at_work_are_hidden_wherever_they_are_quoted(form: Form) -> None:
    out = io.StringIO()
    configure_logs(form, stream=out)
    before = AT_WORK.set(frozenset({VALUE}))
    try:
        structlog.get_logger("jobs.charge").info(f"the bank says no to {VALUE}!", told=[VALUE])
    finally:
        AT_WORK.reset(before)
    assert VALUE not in out.getvalue()
    assert "the bank says no to" in out.getvalue()


def test_what_is_not_secret_stays_as_it_was() -> None:
    out = io.StringIO()
    configure_logs("json", stream=out)
    told: dict[str, Any] = {
        "count": 3,
        "ratio": 0.5,
        "none": None,
        "on": True,
        "cards": "no card here",
        "url": "nats://host:4222/x",
        "nested": {"a": [1, "b"]},
    }
    structlog.get_logger("x").info("discarded: 4 items of the card-reader", **told)
    line = msgspec.json.decode(out.getvalue())
    assert line["message"] == "discarded: 4 items of the card-reader"
    assert {name: line[name] for name in told} == told


def test_something_that_holds_itself_or_can_not_be_shown_breaks_no_line() -> None:
    out = io.StringIO()
    configure_logs("json", stream=out)
    endless: list[Any] = []
    endless.append(endless)
    structlog.get_logger("x").info("still told", endless=endless, odd=object())
    assert "still told" in out.getvalue()
