"""Goal: whatever is wrong with a request is answered with a problem document and leaks nothing.

Method: the real application with a few routes of the test's own, over ASGI; requests that are bad
in one way each. The routes that exist have tests of their own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import pytest
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.testing import TestClient
from msgspec import Struct

from server.access.roles import PUBLIC, ROLE
from server.api.app import BODY_BYTES_MAX, create_app
from server.api.deps import Deps
from server.api.intake import documented_query
from server.api.problems import MEDIA_TYPE, Problem
from server.loading import load_samples
from server.settings import Settings
from store.client import SagaClient
from store.memory import MemoryBroker
from store.port import Unreachable
from store.projection.port import Progress, ReadError
from store.subjects import Names
from tests.api_document import document, idle_app, idle_deps

SECRET = "hunter2 of /etc/snorri/auth.toml"


class Body(Struct, forbid_unknown_fields=True):
    """What the test's route reads."""

    amount: int


@get("/t/{saga:str}/{key:str}", opt={ROLE: PUBLIC}, sync_to_thread=False)
def look(
    deps: NamedDependency[Deps],
    saga: FromPath[str],
    key: FromPath[str],
    limit: Annotated[int, QueryParameter(ge=1, le=10)] = 5,
) -> dict[str, str | int]:
    """Answer with what was asked."""
    assert isinstance(deps, Deps)
    return {"saga": saga, "key": key, "limit": limit}


@get("/t/free", opt={ROLE: PUBLIC, "query": "free"}, sync_to_thread=False)
def free() -> str:
    """Takes any query parameter."""
    return "ok"


@post("/t/body", opt={ROLE: PUBLIC}, sync_to_thread=False)
def write(data: JSONBody[Body]) -> Body:
    """Answer with the body."""
    return data


@get("/t/raise/{what:str}", opt={ROLE: PUBLIC}, sync_to_thread=False)
def fail(what: FromPath[str]) -> str:
    """Raise what was asked for."""
    match what:
        case "unreachable":
            raise Unreachable("no answer; try again")
        case "read":
            raise ReadError("the file is locked; wait")
        case "problem":
            raise Problem(
                409, "not-now", "Not now", "it has ended", "start another", {"currentVersion": 3}
            )
        case _:
            raise RuntimeError(SECRET)


class _Nothing:
    """A read model that holds nothing."""

    progress = Progress()

    async def fetch(self, sql: str, parameters: object, row: object) -> list[Any]:
        return []

    async def wait_for(self, log_seq: int, timeout_s: float) -> bool:
        return True


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient[Any]]:
    names = Names()
    backend = MemoryBroker(names).backend()
    deps = Deps(
        settings=Settings(),
        names=names,
        backend=backend,
        client=SagaClient(backend, names),
        read=_Nothing(),
        app=load_samples(),
        mask=lambda data: data,
    )
    app = create_app(deps, more=[look, free, write, fail])
    with TestClient(app, "http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


def _problem(answer: Any, status: int, type: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"urn:snorri:problem:{type}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["next"]
    return body


def test_no_such_route_and_no_such_method(client: TestClient[Any]) -> None:
    _problem(client.get("/nowhere"), 404, "no-such-route")
    answer = client.put("/t/body")
    _problem(answer, 405, "method-not-allowed")
    assert "POST" in answer.headers["allow"]


def test_a_bad_parameter_is_named(client: TestClient[Any]) -> None:
    for value in ("0", "11", "many", "1e3", "-5", "9" * 30):
        body = _problem(client.get(f"/t/S/k?limit={value}"), 400, "invalid-request")
        assert body["errors"][0]["where"] == "query limit"


def test_an_unknown_parameter_is_refused_with_the_one_that_is_near(client: TestClient[Any]) -> None:
    body = _problem(client.get("/t/S/k?limt=3"), 400, "unknown-parameter")
    assert "'limt'" in body["detail"]
    assert "Did you mean limit?" in body["next"]
    assert client.get("/t/free?whatever=1").status_code == 200


@pytest.mark.parametrize(
    ("body", "where", "says"),
    [
        (b"", "body", "needs a JSON body"),
        (b"{", "", "truncated"),
        (b"\xff", "", "malformed"),
        (b'{"amount":"x"}', "body.amount", "int"),
        (b'{"amount":1,"more":2}', "body", "unknown field"),
        (b"{}", "body", "missing required field"),
        (b"[1]", "body", "array"),
        (b"[" * 100_000, "", "nested"),
    ],
)
def test_a_bad_body_is_named(client: TestClient[Any], body: bytes, where: str, says: str) -> None:
    answer = client.post("/t/body", content=body, headers={"content-type": "application/json"})
    problem = _problem(answer, 400, "invalid-request")
    assert says in problem["detail"].lower() or says in problem["detail"]
    if where:
        assert problem["errors"][0]["where"] == where


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_json_is_taken_as_json_only(client: TestClient[Any], kind: str) -> None:
    headers = {"content-type": kind} if kind else {}
    answer = client.post("/t/body", content=b'{"amount":1}', headers=headers)
    assert "application/json" in _problem(answer, 415, "unsupported-media-type")["next"]
    right = {"content-type": "application/json; charset=utf-8"}
    assert client.post("/t/body", content=b'{"amount":1}', headers=right).json() == {"amount": 1}


def test_a_body_over_the_limit(client: TestClient[Any]) -> None:
    big = b'{"amount":' + b"1" * BODY_BYTES_MAX + b"}"
    answer = client.post("/t/body", content=big, headers={"content-type": "application/json"})
    _problem(answer, 413, "too-large")


@pytest.mark.parametrize(
    ("what", "status", "type"),
    [
        ("unreachable", 503, "nats-unreachable"),
        ("read", 503, "projection-unavailable"),
        ("problem", 409, "not-now"),
    ],
)
def test_what_is_raised_on_purpose(
    client: TestClient[Any], what: str, status: int, type: str
) -> None:
    answer = client.get(f"/t/raise/{what}")
    body = _problem(answer, status, type)
    if status == 503:
        assert answer.headers["retry-after"] == "1"
        assert body["retryable"] is True
    else:
        assert body["currentVersion"] == 3


def test_a_defect_leaks_nothing_and_can_be_found_in_the_log(
    client: TestClient[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = client.get("/t/raise/defect")
    body = _problem(answer, 500, "internal")
    assert SECRET not in answer.text
    assert "Traceback" not in answer.text
    assert body["id"] in caplog.text
    assert SECRET in caplog.text


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/t/S/a%2Fb", "a/b"),
        ("/t/S/%2F", "/"),
        ("/t/S/a%2f%2Fb%2F", "a//b/"),
        ("/t/S/%C3%BC%20%3F%23", "ü ?#"),
        ("/t/S/..%2F..", "../.."),
    ],
)
def test_a_key_may_hold_anything(client: TestClient[Any], path: str, key: str) -> None:
    assert client.get(path).json() == {"saga": "S", "key": key, "limit": 5}


def test_a_path_that_is_no_text_or_far_too_long(client: TestClient[Any]) -> None:
    _problem(client.get("/t/S/%ff"), 400, "bad-path")
    _problem(client.get("/t/S/" + "k" * 5000), 414, "path-too-long")


def test_the_document_says_what_every_route_takes_and_answers(client: TestClient[Any]) -> None:
    document = client.get("/schema").json()
    assert document == client.get("/schema/openapi.json").json()
    assert client.get("/schema/openapi.yaml").text.startswith("components:")
    assert document["info"]["title"] == "Snorri"
    assert set(document["components"]["securitySchemes"]) == {"token", "session"}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            answers = operation["responses"]
            assert {"4XX", "5XX"} <= set(answers), (path, method)
            reference = answers["4XX"]["content"][MEDIA_TYPE]["schema"]["$ref"]
            assert reference == "#/components/schemas/ProblemDocument"
            assert "400" not in answers, (path, method)


@pytest.mark.asyncio
async def test_the_document_is_whole_for_all_who_ask_first_and_at_once() -> None:
    transport: Any = httpx.ASGITransport(create_app(idle_deps()))  # type: ignore[arg-type]  # Litestar's own ASGI types
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        answers = await asyncio.gather(*(http.get("/schema/openapi.json") for _ in range(5)))
        answers.append(await http.get("/schema"))
    first = answers[0].json()
    assert [answer.json() == first for answer in answers] == [True] * 6
    assert first == document()


def test_the_queries_a_route_takes_are_those_of_the_document() -> None:
    checked = 0
    for route in idle_app().routes:
        item = document()["paths"].get(getattr(route, "path_format", ""), {})
        for method, (handler, _) in getattr(route, "route_handler_map", {}).items():
            operation = item.get(method.lower())
            if operation is None:
                continue
            told = {
                one["name"]: one["schema"]
                for one in operation.get("parameters", [])
                if one["in"] == "query"
            }
            takes = documented_query(handler)
            assert set(takes) == set(told), (route.path, method)
            for name, any_text in takes.items():
                kind = told[name]["type"]
                free = kind == "array" or (kind == "string" and "enum" not in told[name])
                assert any_text == free, (route.path, method, name)
                checked += 1
    assert checked > 50
