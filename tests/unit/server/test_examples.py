"""Examples of the OpenAPI document are answers the routes could give.

Goal: nobody learns a field that does not exist. Method: each example is read as the type of its
answer and written again, and nothing may be lost or missing.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sagas.instance import Instance
from server.api import examples
from server.api.asking import Answer
from server.api.dead_letters import DeadLetterDetail
from server.api.histories import History
from server.api.instance import InstanceNow, StateDifference
from server.api.instances import InstancePage
from server.api.jobs import ExecutionPage


@pytest.mark.parametrize(
    ("example", "kind"),
    [
        (examples.INSTANCES, InstancePage),
        (examples.INSTANCE, InstanceNow),
        (examples.HISTORY, History),
        (examples.DIFFERENCE, StateDifference),
        (examples.ANSWER, Answer),
        (examples.EXECUTIONS, ExecutionPage),
        (examples.LETTER, DeadLetterDetail),
        (examples.DOCUMENT, Instance),
    ],
)
def test_examples_are_what_routes_answer(example: dict[str, Any], kind: type) -> None:
    """Read and written again they are the same."""
    read = msgspec.json.decode(msgspec.json.encode(example), type=kind)

    assert _plain(read) == _plain(example)


def _plain(value: object) -> object:
    """A value as JSON, without the places that are left out when they are empty."""
    written = msgspec.json.encode(value).replace(b".000000Z", b"Z")
    return _without_null_values(msgspec.json.decode(written))


def _without_null_values(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_null_values(one) for name, one in value.items() if one is not None}
    return [_without_null_values(one) for one in value] if isinstance(value, list) else value
