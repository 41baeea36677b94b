"""Declared queries: what a saga's author lets others ask about its state."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from typing import Annotated, Any, get_type_hints

import msgspec
from litestar import get
from litestar.params import PathParameter
from msgspec import Meta, Raw, Struct

from sagas.definition import Query, SagaDefinition
from sagas.errors import error_text
from sagas.messages import to_raw
from server.access.roles import ROLE
from server.api import examples
from server.api.deps import Deps
from server.api.examples import answers
from server.api.intake import FREE, QUERY
from server.api.missing import existing, near_names
from server.api.parameters import Key, Parts, Saga
from server.api.problems import Problem
from server.api.shown import Asked, Unmask, raw, shower
from store.cards import saga_cards

ANSWER_S = 5.0


class Answer(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a query answered about an instance."""

    saga: str
    key: str
    version: Annotated[int, Meta(description="The version it was asked about")]
    query: str
    result: Annotated[Raw, Meta(description="The answer, any JSON")]


@get(
    "/api/v1/sagas/instances/{saga:str}/{key:str}/query/{name:str}",
    opt={ROLE: "viewer", QUERY: FREE},
    operation_id="queryInstance",
    summary="Ask a declared query",
    responses=answers(Answer, examples.ANSWER, "The answer"),
)
async def query_instance(
    request: Asked,
    deps: Parts,
    saga: Saga,
    key: Key,
    name: Annotated[str, PathParameter(description="A query the saga declares (`.on_query`)")],
    unmask: Unmask = False,
) -> Answer:
    """The answer about the state now. All other query parameters are arguments of the query:
    JSON where they are, text otherwise.
    """
    revision = await existing(deps, saga, key)
    definition = await loaded(deps, saga)
    function = definition.queries.get(name)
    if function is None:
        raise _no_query(definition, name)
    given = {n: v for n, v in request.query_params.items() if n != "unmask"}
    arguments = _arguments(function, name, given)
    show = shower(request, deps, unmask, f"query {name} of {saga}/{key}")
    state = revision.instance.state
    try:
        async with asyncio.timeout(ANSWER_S):
            # The author's code may take its time; other requests go on meanwhile.
            result = await asyncio.to_thread(definition.query, name, state, arguments)
        answer = to_raw(result)
    except TimeoutError:
        raise _failed(name, f"it took longer than {ANSWER_S:g} s") from None
    except Exception as error:  # whatever an author's code raises
        text = bytes(show(msgspec.json.encode({"error": error_text(error)})))
        raise _failed(name, msgspec.json.decode(text)["error"]) from error
    return Answer(
        saga=saga,
        key=key,
        version=revision.instance.version,
        query=name,
        result=raw(show, answer),
    )


async def loaded(deps: Deps, saga: str) -> SagaDefinition:
    """The definition of a saga in this process; raises Problem when it has not loaded it."""
    definition = deps.app.registry.get(saga)
    if definition is not None:
        return definition
    card = next((c for c in await saga_cards(deps.backend.meta) if c.id == saga), None)
    known = (
        f"it declares {', '.join(card.queries) or 'none'}" if card else "no engine has it either"
    )
    raise Problem(
        409,
        "definition-not-loaded",
        "This process has not loaded the saga's code",
        f"{saga} is not among the modules this process has loaded ({known}).",
        "Start the API with the app that holds it: snorri serve --app MODULE (SNORRI_APP).",
    )


def _no_query(definition: SagaDefinition, name: str) -> Problem:
    near = near_names(name, definition.queries)
    hint = f"Did you mean {near[0]}? " if near else ""
    return Problem(
        404,
        "no-such-query",
        "There is no such query",
        f"{definition.id} declares no query {name[:100]!r}.",
        f"{hint}It declares: {', '.join(sorted(definition.queries)) or 'none'}.",
    )


def _arguments(function: Query, name: str, given: Mapping[str, str]) -> dict[str, object]:
    """The arguments of a query, as its function takes them; raises Problem."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    known = {p.name: p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    takes = ", ".join(known) or "none"
    for one in given:
        if one not in known and not takes_all:
            raise _bad_argument(f"{name} has no argument {one[:100]!r}", takes)
    for one in known.values():
        if one.default is one.empty and one.name not in given:
            raise _bad_argument(f"{name} needs the argument {one.name!r}", takes)
    try:
        hints: dict[str, Any] = get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        hints = {}
    return {one: _argument(one, text, hints.get(one), takes) for one, text in given.items()}


def _argument(name: str, text: str, type: Any, takes: str) -> object:
    if type is str:
        return text
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        value = text
    if type is None:
        return value
    try:
        return msgspec.convert(value, type, strict=False)
    except msgspec.ValidationError as error:
        raise _bad_argument(f"the argument {name!r} does not fit: {error}", takes) from None


def _bad_argument(detail: str, takes: str) -> Problem:
    return Problem(
        400,
        "bad-argument",
        "The query was not asked as it is declared",
        f"{detail}.",
        f"Its arguments are query parameters: {takes}.",
    )


def _failed(name: str, why: str) -> Problem:
    return Problem(
        422,
        "query-failed",
        "The query could not be answered",
        f"The code of {name} failed: {why}.",
        "Check the arguments; if they are right, its author has to mend it.",
    )


ROUTES = (query_instance,)
