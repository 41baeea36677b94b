"""Goal: the pages on NATS, jobs and operating are complete and true.

Method: what `make docs` would write against what stands there; the names of headers, fields,
arguments, findings and words of the code against the pages.
"""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

import msgspec
import pytest

import server.commands.doctor
import server.doctor
import server.doctor_api
import server.doctor_parts
import server.doctor_setup
from jobs import JobContext, job
from sagas.instance import Instance
from sagas.messages import NULL, Cause
from sagas.names import KEY_BYTES_MAX, NAME_BYTES_MAX
from store import broker_version, codec
from tests.docs.api_page import API, api_page
from tests.docs.generate import OPERATING, ROOT, SCHEMA, instance_schema, operating_page
from tests.docs.queries_page import QUERIES, queries_page

NATS = (ROOT / "docs" / "nats.md").read_text(encoding="utf-8")
JOBS = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")
HEADERS = sorted(
    {
        value
        for value in vars(codec).values()
        if isinstance(value, str) and value.startswith("Snorri-")
    }
    - {codec.ATTEMPTED}
)


def test_what_is_generated_is_current() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == instance_schema(), "run `make docs`"
    assert OPERATING.read_text(encoding="utf-8") == operating_page(), "run `make docs`"
    assert API.read_text(encoding="utf-8") == api_page(), "run `make docs`"
    assert QUERIES.read_text(encoding="utf-8") == queries_page(), "run `make docs`"


def test_the_schema_names_every_field_and_its_references_lead_somewhere() -> None:
    schema: dict[str, Any] = json.loads(instance_schema())
    fields = msgspec.structs.fields(Instance)
    assert set(schema["properties"]) == {field.encode_name for field in fields}
    required = {field.encode_name for field in fields if field.required}
    assert set(schema["required"]) == required
    found = set(re.findall(r'"#/\$defs/(\w+)"', json.dumps(schema)))
    assert found == set(schema["$defs"])
    assert "kind" in schema["$defs"]["Send"]["required"]
    bare = Cause(kind="event", type="T", id="", seq=1, at=codec.moment(0), payload=NULL)
    written = set(json.loads(msgspec.json.encode(bare)))
    assert set(schema["$defs"]["Cause"]["required"]) <= written


@pytest.mark.parametrize("name", HEADERS)
def test_every_header_is_on_a_page(name: str) -> None:
    assert f"`{name}" in NATS + JOBS


@pytest.mark.parametrize("field", [field.encode_name for field in msgspec.structs.fields(Instance)])
def test_every_field_of_the_document_is_on_the_page(field: str) -> None:
    assert re.search(rf"^\| .*`{field}`.* \|.*\|$", NATS, re.MULTILINE)


def test_limits_and_versions_on_the_pages_are_those_of_the_code() -> None:
    assert f"key has 1 to {KEY_BYTES_MAX} bytes" in NATS
    assert f"a type, saga or target 1 to {NAME_BYTES_MAX}" in NATS
    least = broker_version.format_version(broker_version.VERSION_MIN)
    assert f"nats-server {least} or newer" in OPERATING.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", inspect.signature(job).parameters)
def test_every_argument_of_a_job_is_on_the_page(name: str) -> None:
    assert name == "description" or f"`{name}`" in JOBS


@pytest.mark.parametrize("name", [name for name in vars(JobContext) if not name.startswith("_")])
def test_all_of_the_context_is_on_the_page(name: str) -> None:
    assert re.search(rf"`{name}[`(]", JOBS)


def test_every_finding_of_the_doctor_is_on_the_page() -> None:
    parts = (
        *(server.doctor, server.doctor_api, server.doctor_parts, server.doctor_setup),
        server.commands.doctor,
    )
    source = "".join(map(inspect.getsource, parts))
    found = set(re.findall(r'what="([^"]+)"', source))
    assert len(found) > 8
    text = OPERATING.read_text(encoding="utf-8")
    assert [what for what in sorted(found) if f"`{what}" not in text] == []
