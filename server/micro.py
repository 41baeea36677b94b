"""The API for those who have the NATS tools and nothing else: a micro service over the same routes.

`nats micro ls` shows it, `nats request saga.api.show '{"saga":"Shop","key":"o-1"}'` asks it. Each
endpoint turns a JSON request into one of the HTTP API and gives its answer back, so that both doors
check, mask and act alike. Who may ask is what NATS permissions on ``<namespace>.api.>`` say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
from litestar.types import ASGIApp
from msgspec import Raw, Struct

from server.access.access import Access, Standing
from server.access.middleware import STANDING
from server.access.roles import Identity
from server.api.openapi import release
from store.jetstream.login import ANYBODY, Login
from store.jetstream.micro import Failure, MicroEndpoint, MicroService, open_micro
from store.life import Life
from store.subjects import Names

NAME = "snorri"
BY = "Snorri-By"  # a header of the request: who asks, as they say themselves
BY_SHAPE = re.compile(r"[^\s\x00-\x1f]{1,100}")
IDEMPOTENCY_KEY = "Idempotency-Key"
MSG_ID = "Nats-Msg-Id"

Fields = dict[str, Raw]


class Question(Struct, frozen=True, kw_only=True):
    """An endpoint: the fields of its request that make the path, and where the others go."""

    name: str
    about: str
    method: str
    path: str
    body: bool = False

    def places(self) -> tuple[str, ...]:
        """The fields that the path needs."""
        return tuple(re.findall(r"\{(\w+)\}", self.path))


QUESTIONS = (
    Question(
        name="sagas",
        about="The registered sagas with their counts: {}",
        method="GET",
        path="/api/v1/sagas/sagas",
    ),
    Question(
        name="instances",
        about='Instances by filter: {"saga"?, "status"?, "q"?, "limit"?, "cursor"?, …}',
        method="GET",
        path="/api/v1/sagas/instances",
    ),
    Question(
        name="show",
        about='One instance as it is now: {"saga", "key"}',
        method="GET",
        path="/api/v1/sagas/instances/{saga}/{key}",
    ),
    Question(
        name="history",
        about='All versions of an instance: {"saga", "key", "limit"?, "cursor"?}',
        method="GET",
        path="/api/v1/sagas/instances/{saga}/{key}/transitions",
    ),
    Question(
        name="action",
        about='An operator action: {"saga", "key", "action", "reason"?, "dryRun"?, …}',
        method="POST",
        path="/api/v1/sagas/instances/{saga}/{key}/{action}",
        body=True,
    ),
    Question(
        name="start",
        about='Start an instance: {"saga", "input", "key"?, "wait"?}',
        method="POST",
        path="/api/v1/sagas/sagas/{saga}/start",
        body=True,
    ),
    Question(
        name="publish",
        about='Publish an event: {"type", "payload", "key"?, "id"?}',
        method="POST",
        path="/api/v1/sagas/publish",
        body=True,
    ),
)


class MicroApi:
    """The micro service over ``app``; start, stop and wait as every service."""

    name = "micro service"

    def __init__(
        self, app: ASGIApp, access: Access, url: str, names: Names, login: Login = ANYBODY
    ) -> None:
        transport = httpx.ASGITransport(_Door(app, access), raise_app_exceptions=False)
        self._http = httpx.AsyncClient(transport=transport, base_url="http://localhost")
        self._url = url
        self._names = names
        self._login = login
        self._life = Life()
        self._service: MicroService | None = None

    async def start(self) -> None:
        """Be found and answer; raises Unreachable."""
        endpoints = [
            MicroEndpoint(
                question.name,
                self._names.api(question.name),
                partial(self._answer, question),
                question.about,
            )
            for question in QUESTIONS
        ]
        self._service = await open_micro(
            self._url,
            endpoints,
            name=NAME,
            version=release(),
            about="Sagas: look at them, act on them, publish events",
            metadata={"namespace": self._names.namespace, "bucket": self._names.bucket},
            login=self._login,
        )

    async def stop(self) -> None:
        """Answer what was asked and leave."""
        service, self._service = self._service, None
        if service is not None:
            await service.close()
        await self._http.aclose()
        self._life.end()

    async def wait(self) -> None:
        """Return after ``stop``."""
        await self._life.wait()

    async def _answer(self, question: Question, data: bytes, headers: Mapping[str, str]) -> bytes:
        fields = _fields(question, data)
        path = question.path
        for place in question.places():
            text = _text(fields.pop(place, Raw(b"null")))
            if not text:
                raise Failure(400, f"the request has no {place!r}; it takes {question.about}")
            path = path.replace(f"{{{place}}}", quote(text, safe=""))
        answer = await self._http.request(
            question.method,
            path,
            params=None if question.body else _query(fields),
            content=msgspec.json.encode(fields) if question.body else None,
            headers=_headers(headers, json=question.body),
        )
        if answer.is_error:
            raise _failure(answer)
        return answer.content


class _Door:
    """Lets requests in as operators, named as they name themselves."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    # Any: httpx and Litestar describe the same messages of ASGI with types of their own.
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        by = next((v for n, v in scope["headers"] if n == BY.lower().encode()), b"").decode()
        identity = Identity(name=f"nats:{by}" if by else "nats", role="operator", via="nats")
        scope[STANDING] = Standing(self._access, scope, identity, "nats")
        await self._app(scope, receive, send)


def _fields(question: Question, data: bytes) -> Fields:
    try:
        return msgspec.json.decode(data or b"{}", type=Fields)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failure(
            400, f"the request is no JSON object: {error}; it takes {question.about}"
        ) from None


def _text(value: Raw) -> str:
    """A field as text; a number or the like as it is written, null as nothing."""
    found: object = msgspec.json.decode(value)
    if isinstance(found, str):
        return found
    return "" if found is None else bytes(value).decode()


def _query(fields: Fields) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for name, value in fields.items():
        found: object = msgspec.json.decode(value)
        if isinstance(found, list):
            pairs += [(name, _text(Raw(msgspec.json.encode(one)))) for one in found]
        elif found is not None:
            pairs.append((name, _text(value)))
    return tuple(pairs)


def _headers(given: Mapping[str, str], *, json: bool) -> dict[str, str]:
    """What of a request's headers goes on: who asks, the trace, the key of a repetition."""
    folded = {name.lower(): value for name, value in given.items()}
    found = {"traceparent": folded.get("traceparent", "")}
    if json:
        found["Content-Type"] = "application/json"
        found[IDEMPOTENCY_KEY] = folded.get(IDEMPOTENCY_KEY.lower(), folded.get(MSG_ID.lower(), ""))
    by = folded.get(BY.lower(), "")
    if by and not (by.isascii() and BY_SHAPE.fullmatch(by)):
        raise Failure(400, f"the header {BY} is no name; use up to 100 printable ASCII characters")
    found[BY] = by
    return {name: value for name, value in found.items() if value}


class _Problem(Struct):
    title: str = ""
    detail: str = ""
    next: str = ""


def _failure(answer: httpx.Response) -> Failure:
    try:
        problem = msgspec.json.decode(answer.content, type=_Problem)
    except msgspec.DecodeError:
        return Failure(answer.status_code, "no further word; see the log of this process")
    return Failure(answer.status_code, f"{problem.detail or problem.title} {problem.next}".strip())
