"""Goal: the page on sagas names everything an author can use, and its tables are true.

Method: the public names, statuses, reasons, harness methods and limits of the code against it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

import sagas
from sagas import instance, messages, names
from sagas.decision import IgnoredCode
from sagas.effects import EFFECTS_MAX
from sagas.instance import STATUS_TRANSITIONS, Status, UndoStatus
from sagas.testing import Scenario

DOCS = Path(__file__).resolve().parents[2] / "docs"
# Programs have a page of their own.
TEXT = "\n".join(
    (DOCS / page).read_text(encoding="utf-8")
    for page in ("sagas.md", "steps.md", "workflows.md", "transactions.md")
)
EFFECTS = [name for name in sagas.__all__ if name[0].islower() and name not in ("define_saga",)]
STEPS = [
    name
    for name in vars(Scenario)
    if not name.startswith("_")
    and (callable(vars(Scenario)[name]) or name in ("state", "instance"))
]


@pytest.mark.parametrize("name", EFFECTS)
def test_every_effect_is_on_the_page(name: str) -> None:
    assert f"{name}(" in TEXT


@pytest.mark.parametrize("name", STEPS)
def test_every_step_of_the_harness_is_on_the_page(name: str) -> None:
    assert re.search(rf"\b{name}\b", TEXT)


@pytest.mark.parametrize("status", get_args(Status))
def test_the_table_of_statuses_is_the_kernel_s(status: Status) -> None:
    row = re.search(rf"^\| `{status}` \|[^|]*\|(.*)\|$", TEXT, re.MULTILINE)
    assert row, f"no row for {status}"
    assert re.findall(r"`(\w+)`", row.group(1)) == sorted(STATUS_TRANSITIONS[status])


@pytest.mark.parametrize("word", [*get_args(IgnoredCode), *get_args(UndoStatus)])
def test_every_word_for_a_reason_is_on_the_page(word: str) -> None:
    assert f"`{word}`" in TEXT


@pytest.mark.parametrize(
    ("what", "limit"),
    [
        ("key", f"{names.KEY_BYTES_MAX} bytes"),
        ("type, saga id, target, timer id", f"{names.NAME_BYTES_MAX} bytes"),
        (
            "payload of a message",
            f"{instance.PAYLOAD_BYTES_MAX} bytes, {messages.DEPTH_MAX} levels",
        ),
        ("state", f"{instance.STATE_BYTES_MAX} bytes"),
        ("effects of a transition", f"{EFFECTS_MAX}"),
        (
            "open commands · timers of an instance",
            f"{instance.COMMANDS_MAX} · {instance.TIMERS_MAX}",
        ),
        ("messages that wait", f"{instance.BACKLOG_MAX}"),
        ("one revision in all", f"{instance.VALUE_BYTES_MAX} bytes"),
    ],
)
def test_the_table_of_limits_is_the_kernel_s(what: str, limit: str) -> None:
    assert f"| {what} | {limit} |" in TEXT
