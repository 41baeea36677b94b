"""Goal: the page of examples names every sample, and each command on it can be typed as it stands.

Method: modules, ids, inputs, queries and signals of the page are held against the samples.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import msgspec
import pytest

from jobs.examples import shop
from jobs.examples.steps import definitions
from sagas.examples import definitions as by_messages

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    (snorri (?:start|publish|signal) .*)$", TEXT, re.MULTILINE)
BY_ID = {one.id: one for one in (*definitions, *shop.definitions, *by_messages)}


@pytest.mark.parametrize("definition", [*definitions, *shop.definitions], ids=lambda one: one.id)
def test_each_sample_of_steps_is_on_the_page(definition: object) -> None:
    assert f"`{getattr(definition, 'id', '')}`" in TEXT


def test_each_module_is_on_the_page_and_exists() -> None:
    named = set(re.findall(r"`(jobs/examples/steps/\w+\.py)`", TEXT))
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "jobs/examples/steps").iterdir()}
    shared = {f"jobs/examples/steps/{name}" for name in ("__init__.py", "services.py")}
    assert named == {path for path in there if path.endswith(".py")} - shared


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_have_inputs_that_fit(command: str) -> None:
    _, verb, name, *rest = shlex.split(command)
    if verb == "start":
        definition = BY_ID[name]
        definition.handlers[definition.starting[0]].decode(msgspec.Raw(rest[0].encode()))
    elif verb == "signal":
        options = dict(zip(rest[1::2], rest[2::2], strict=True))
        BY_ID[name].signals[options["--name"]].decode(msgspec.Raw(options["--payload"].encode()))
    else:
        takes = [one for one in BY_ID.values() if name in one.handlers]
        assert takes
        for one in takes:
            one.handlers[name].decode(msgspec.Raw(rest[0].encode()))
        assert json.loads(rest[0])


def test_queries_exist() -> None:
    for saga, query in re.findall(r"/instances/(\w+)/[\w-]+/query/([\w-]+)", TEXT):
        assert query in BY_ID[saga].queries
