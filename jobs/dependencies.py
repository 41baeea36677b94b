"""Dependencies of jobs: who provides what, and what its life is.

    providers = Providers()
    providers.provide(Settings, Settings.load)             # once in the life of a worker process
    providers.provide(Session, session, scope="command")   # once for each command that asks

A provider is a value, a function, an async function or a generator of either kind: what it yields
is given out, what follows the ``yield`` is its clean-up. Its own needs are parameters, found by
their annotation or, for those registered under a text, by their name. This module knows no
command: what is special to one (its JobContext) is handed in as a ready value.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Literal, TypeAlias, cast, get_type_hints

from msgspec import Struct

from jobs.context import JobContext
from sagas.errors import DefinitionError

Key: TypeAlias = "type[Any] | str"
Scope: TypeAlias = Literal["app", "command"]


NOTHING: Mapping[Key, object] = {}


class DependencyError(DefinitionError):
    """Nobody provides what is asked for, or providers ask for each other; the message says who."""


class _Need(Struct, frozen=True):
    """One parameter of a provider: under which keys it may be found, and if it can be left out."""

    name: str
    keys: tuple[Key, ...]
    optional: bool


class _Provider(Struct, frozen=True):
    value: object
    scope: Scope
    is_factory: bool
    needs: tuple[_Need, ...] = ()


class Providers:
    """A register of providers; ``override`` gives a changed copy, for tests or tenants."""

    def __init__(self) -> None:
        self._providers: dict[Key, _Provider] = {}

    def provide(self, key: Key, provider: object, *, scope: Scope = "app") -> None:
        """Register ``provider`` for a type or a name; raises DependencyError when it is taken.

        A function, method, class or partial is called when it is first asked for; anything else is
        the value itself. Scope "app": once for each worker process, cleaned up when it stops, the
        last first. Scope "command": once for each command, cleaned up when its attempt ends.
        """
        if key in self._providers:
            raise DependencyError(
                f"{_name(key)} has a provider; use override() for a copy with another one"
            )
        self._providers[key] = _made(key, provider, scope)

    def value(self, key: Key, value: object) -> None:
        """Register a value as it is, also when it could be called."""
        if key in self._providers:
            raise DependencyError(f"{_name(key)} has a provider; use override() for a copy")
        self._providers[key] = _Provider(value, "app", False)

    def override(self, changes: Mapping[Key, object]) -> Providers:
        """A copy in which each key of ``changes`` has the given provider, with the scope it had."""
        copy = Providers()
        copy._providers = dict(self._providers)
        for key, provider in changes.items():
            known = self._providers.get(key)
            copy._providers[key] = _made(key, provider, known.scope if known else "app")
        return copy

    def check(self) -> None:
        """Raise DependencyError for a need nobody meets, a circle, or one of a shorter life."""
        done: set[Key] = set()
        for key in self._providers:
            self._walk(key, (), done)

    def find(self, need: _Need) -> Key | None:
        """The key that meets a need, None when no provider does."""
        return next((key for key in need.keys if key in self._providers), None)

    def get(self, key: Key, path: tuple[Key, ...] = ()) -> _Provider:
        """The provider of ``key``; raises DependencyError naming who asked for it."""
        found = self._providers.get(key)
        if found is None:
            asker = f", which {_name(path[-1])} asks for" if path else ""
            raise DependencyError(
                f"nobody provides {_name(key)}{asker}; register it with providers.provide()"
            )
        return found

    def _walk(self, key: Key, path: tuple[Key, ...], done: set[Key]) -> None:
        if key in path:
            circle = " -> ".join(map(_name, (*path[path.index(key) :], key)))
            raise DependencyError(f"providers ask for each other: {circle}; break the circle")
        if key in done:
            return
        provider = self.get(key, path)
        for need in provider.needs:
            found = self.find(need)
            if found is None:
                self._check_absent(key, provider, need)
                continue
            if provider.scope == "app" and self._providers[found].scope == "command":
                raise DependencyError(
                    f"{_name(key)} lives as long as the worker and can't ask for {_name(found)},"
                    " which lives for one command; give it scope='command'"
                )
            self._walk(found, (*path, key), done)
        done.add(key)

    def _check_absent(self, key: Key, provider: _Provider, need: _Need) -> None:
        for_command = JobContext in need.keys
        if need.optional or (for_command and provider.scope == "command"):
            return
        if for_command:
            raise DependencyError(
                f"{_name(key)} lives as long as the worker and can't ask for a JobContext;"
                " give it scope='command'"
            )
        raise DependencyError(
            f"nobody provides {_name(need.keys[0])}, which {_name(key)} asks for;"
            " register it with providers.provide()"
        )


class Resolver:
    """Makes and keeps the values of one scope; ``close`` cleans up, the last made first.

    One value is made at a time, so that two jobs that ask together get the same one.
    """

    def __init__(
        self,
        providers: Providers,
        app: Resolver | None = None,
        given: Mapping[Key, object] = NOTHING,
    ) -> None:
        self._providers = providers
        self._app = app
        self._values: dict[Key, object] = dict(given)
        self._stack = AsyncExitStack()
        self._lock = asyncio.Lock()

    async def resolve(self, key: object) -> object:
        """The value of ``key``; raises DependencyError, or what its provider raises."""
        known = cast("Key", key)
        if known in self._values:
            return self._values[known]
        if self._app is not None and self._providers.get(known).scope == "app":
            return await self._app.resolve(known)
        async with self._lock:
            return await self._make(known, ())

    async def close(self, error: BaseException | None = None) -> None:
        """Clean up; generators see ``error`` at their ``yield``. Raises what the clean-up raises.

        An error that a generator swallows is not undone by that: the caller still has it.
        """
        trace: TracebackType | None = error.__traceback__ if error else None
        await self._stack.__aexit__(type(error) if error else None, error, trace)

    async def _make(self, key: Key, path: tuple[Key, ...]) -> object:
        if key in self._values:
            return self._values[key]
        if key in path:
            circle = " -> ".join(map(_name, (*path, key)))
            raise DependencyError(f"providers ask for each other: {circle}; break the circle")
        provider = self._providers.get(key, path)
        if self._app is not None and provider.scope == "app":
            return await self._app.resolve(key)
        if self._app is None and provider.scope == "command":
            raise DependencyError(f"{_name(key)} lives for one command; ask for it in a job")
        arguments: dict[str, object] = {}
        for need in provider.needs:
            found = next((k for k in need.keys if k in self._values), self._providers.find(need))
            if found is not None:
                arguments[need.name] = await self._make(found, (*path, key))
            elif not need.optional:
                self._providers.get(need.keys[0], (*path, key))
        value = provider.value
        if provider.is_factory:
            value = await self._call(cast("Callable[..., object]", value), arguments)
        self._values[key] = value
        return value

    async def _call(self, factory: Callable[..., object], arguments: dict[str, object]) -> object:
        if inspect.isasyncgenfunction(factory):
            made = asynccontextmanager(factory)(**arguments)
            return await self._stack.enter_async_context(made)
        if inspect.isgeneratorfunction(factory):
            return self._stack.enter_context(contextmanager(factory)(**arguments))
        value = factory(**arguments)
        return await value if inspect.isawaitable(value) else value


def _made(key: Key, provider: object, scope: Scope) -> _Provider:
    is_factory = (
        inspect.isroutine(provider)
        or inspect.isclass(provider)
        or isinstance(provider, functools.partial)
    )
    if not is_factory:
        return _Provider(provider, scope, False)
    return _Provider(provider, scope, True, _needs(key, cast("Callable[..., object]", provider)))


def _needs(key: Key, factory: Callable[..., object]) -> tuple[_Need, ...]:
    plain, given = factory, frozenset[str]()
    if isinstance(factory, functools.partial):
        plain, given = factory.func, frozenset(factory.keywords)
    annotated = plain.__init__ if inspect.isclass(plain) else plain
    try:
        parameters = inspect.signature(factory).parameters.values()
        hints = get_type_hints(annotated)
    except (NameError, TypeError, AttributeError, ValueError) as error:
        raise DependencyError(
            f"the provider of {_name(key)} can't be read: {error}; wrap it in a function whose"
            " parameters are annotated"
        ) from None
    needs: list[_Need] = []
    for parameter in parameters:
        rest = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if rest or parameter.name in given:
            continue
        hint = hints.get(parameter.name)
        hint = getattr(hint, "__origin__", hint)  # JobContext[Payment] asks for a JobContext
        optional = parameter.default is not parameter.empty
        keys: tuple[Key, ...] = (parameter.name,)
        if isinstance(hint, type) and hint not in (Any, object):
            keys = (hint, parameter.name)
        needs.append(_Need(parameter.name, keys, optional))
    return tuple(needs)


def _name(key: object) -> str:
    return repr(key) if isinstance(key, str) else str(getattr(key, "__qualname__", key))
