"""Goal: one line a record, in the form of the place it goes to, with the instance it belongs to.

Method: the real set-up of structlog writes into a buffer; what was there before is put back.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import msgspec
import pytest
import structlog

from server.logs import bound_to, configure_logs


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def _lines(out: io.StringIO) -> list[dict[str, object]]:
    return [msgspec.json.decode(line) for line in out.getvalue().splitlines()]


def test_json_lines_where_nobody_watches() -> None:
    out = io.StringIO()
    configure_logs(stream=out)
    structlog.get_logger("jobs.engine").info("committed", transitions=3, at_key=b"\xff")
    (line,) = _lines(out)
    assert line["message"] == "committed"
    assert line["transitions"] == 3
    assert line["level"] == "info"
    assert line["logger"] == "jobs.engine"
    assert str(line["at"]).endswith("Z")


def test_a_terminal_gets_text_and_a_setting_decides_otherwise() -> None:
    out = _Terminal()
    configure_logs(stream=out)
    structlog.get_logger("x").info("hello")
    assert "hello" in out.getvalue()
    assert not out.getvalue().startswith("{")
    out = _Terminal()
    configure_logs("json", stream=out)
    structlog.get_logger("x").info("hello")
    assert _lines(out)[0]["message"] == "hello"
    plain = io.StringIO()
    configure_logs("console", stream=plain)
    structlog.get_logger("x").info("hello")
    assert "hello" in plain.getvalue()
    assert "\x1b" not in plain.getvalue()


def test_lines_carry_the_instance_and_the_trace() -> None:
    out = io.StringIO()
    configure_logs(stream=out)
    log = structlog.get_logger("x")
    with bound_to(saga="Checkout", key="o-1", trace="00-ab"):
        log.info("inside")
        logging.getLogger("library").warning("of %s", "theirs")
    log.info("outside")
    inside, theirs, outside = _lines(out)
    assert (inside["instance"], inside["trace"]) == ("Checkout/o-1", "00-ab")
    assert (theirs["message"], theirs["instance"]) == ("of theirs", "Checkout/o-1")
    assert "instance" not in outside
    assert "trace" not in outside


def test_the_level_holds_for_libraries_too_and_their_handlers_go() -> None:
    logging.getLogger("uvicorn").addHandler(logging.NullHandler())
    out = io.StringIO()
    configure_logs(level="warning", stream=out)
    structlog.get_logger("x").info("small")
    logging.getLogger("uvicorn.error").info("small")
    logging.getLogger("uvicorn.error").error("big")
    assert [line["message"] for line in _lines(out)] == ["big"]
    assert logging.getLogger("uvicorn").handlers == []


def test_an_exception_is_part_of_its_line() -> None:
    out = io.StringIO()
    configure_logs(stream=out)
    try:
        raise ValueError("boom")
    except ValueError:
        structlog.get_logger("x").exception("failed")
        logging.getLogger("library").exception("failed too")
    assert all("ValueError: boom" in str(line["exception"]) for line in _lines(out))
    assert len(_lines(out)) == 2


def test_fields_given_to_a_plain_logger_stand_on_the_line() -> None:
    out = io.StringIO()
    configure_logs(stream=out)
    logging.getLogger("x").warning("parked", extra={"instance": "Checkout/o-1"})
    assert _lines(out)[0]["instance"] == "Checkout/o-1"


def test_texts_of_strangers_give_a_terminal_no_orders() -> None:
    out = _Terminal()
    configure_logs(stream=out)
    logging.getLogger("x").warning("dead letter: %s", "a\x1b[2Jb\rc")
    assert "\x1b[2J" not in out.getvalue()
    assert "\r" not in out.getvalue()
    assert "a\ufffd[2Jb\ufffdc" in out.getvalue()
