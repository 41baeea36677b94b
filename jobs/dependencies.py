"""Dependencies of jobs: who provides what, and what its life is.

    providers = Providers()
    providers.provide(Settings, Settings.load)             # once in the life of a worker process
    providers.provide(Cart, cart, scope="run")             # once for each run, in one process
    providers.provide(Session, session, scope="command")   # once for each command that asks
    providers.tenant_by(lambda ctx: ctx.payload["tenant"])
    providers.for_tenant("acme", {Settings: acme_settings})

A provider is a value, a function, an async function or a generator of either kind: what it yields
is given out, what follows the ``yield`` is its clean-up. Its own needs are parameters, found by
their annotation or, for those registered under a text, by their name. This module knows no
command: what is special to one (its JobContext) is handed in as a ready value.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Literal, TypeAlias, cast, get_type_hints

from msgspec import Struct

from jobs.context import JobContext
from sagas.errors import DefinitionError

Key: TypeAlias = "type[Any] | str"
Scope: TypeAlias = Literal["app", "run", "command"]
# The payload of a command is of any type.
TenantOf: TypeAlias = Callable[[JobContext[Any]], str | None]

NOTHING: Mapping[Key, object] = {}
SPAN: Mapping[Scope, int] = {"app": 0, "run": 1, "command": 2}  # from the longest life on
LIFE: Mapping[Scope, str] = {
    "app": "as long as the worker",
    "run": "as long as a run",
    "command": "for one command",
}


class DependencyError(DefinitionError):
    """Nobody provides what is asked for, or providers ask for each other; the message says who."""


class Need(Struct, frozen=True):
    """One parameter that is a dependency: under which keys it may be found, and if it can be left
    out.
    """

    name: str
    keys: tuple[Key, ...]
    optional: bool


class RunId(Struct, frozen=True):
    """Which run a value of scope "run" or "command" is made for; providers may ask for it."""

    saga: str
    key: str
    tenant: str = ""


class Provider(Struct, frozen=True):
    """A value, or what makes one out of its needs."""

    value: object
    scope: Scope
    is_factory: bool
    needs: tuple[Need, ...] = ()


class Providers:
    """A register of providers; ``override`` gives a changed copy, for tests or tenants."""

    def __init__(self) -> None:
        self._providers: dict[Key, Provider] = {}
        self._tenants: dict[str, Mapping[Key, object]] = {}
        self._tenant_of: TenantOf | None = None

    def provide(self, key: Key, provider: object, *, scope: Scope = "app") -> None:
        """Register ``provider`` for a type or a name; raises DependencyError when it is taken.

        A function, method, class or partial is called when it is first asked for; anything else is
        the value itself. Scope "app": once for each worker process, cleaned up when it stops, the
        last first. Scope "command": once for each command, cleaned up when its attempt ends. Scope
        "run": once for each run (instance of a saga) in each worker process, cleaned up when the
        process learns of the run's end, or has had no command of it for a minute.
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
        self._providers[key] = Provider(value, "app", False)

    def override(self, changes: Mapping[Key, object]) -> Providers:
        """A copy in which each key of ``changes`` has the given provider, with the scope it had."""
        copy = Providers()
        copy._providers = dict(self._providers)
        copy._tenants = dict(self._tenants)
        copy._tenant_of = self._tenant_of
        for key, provider in changes.items():
            known = self._providers.get(key)
            copy._providers[key] = _made(key, provider, known.scope if known else "app")
        return copy

    def for_tenant(self, tenant: str, changes: Mapping[Key, object]) -> None:
        """For commands of ``tenant``, each key of ``changes`` has the given provider.

        What other providers make of those keys is made anew for the tenant, too; everything else
        is shared. ``tenant_by`` says which tenant a command belongs to. Raises DependencyError.
        """
        if not tenant or tenant in self._tenants:
            raise DependencyError(f"the tenant {tenant!r} is known or has no name; name it once")
        self._tenants[tenant] = dict(changes)

    def tenant_by(self, function: TenantOf) -> None:
        """Take ``function(ctx)`` for the name of a command's tenant; None or "" is no tenant.

        It is asked before the first dependency of a command, in undos as in runs. Without it the
        tenant of a step is what the ``tenant=`` of its definition finds.
        """
        self._tenant_of = function

    def tenant_of(self, context: JobContext[Any]) -> str:
        """The tenant of a command, or ""; raises DependencyError for one that nobody declared."""
        if self._tenant_of is not None:
            tenant = self._tenant_of(context) or ""
        else:
            tenant = context.tenant if self._tenants else ""
        if tenant and tenant not in self._tenants:
            known = ", ".join(self._tenants) or "none"
            raise DependencyError(
                f"nobody declared the tenant {tenant!r} (known: {known}); declare it with"
                " providers.for_tenant()"
            )
        return tenant

    def tenant(self, tenant: str) -> tuple[Providers, frozenset[Key]]:
        """The providers of a tenant, and which of them are its own, directly or by their needs."""
        copy, own = self.override(self._tenants[tenant]), set(self._tenants[tenant])
        grown = True
        while grown:
            more = {
                key
                for key, provider in copy._providers.items()
                if key not in own and any(copy.find(need) in own for need in provider.needs)
            }
            own |= more
            grown = bool(more)
        return copy, frozenset(own)

    @property
    def for_runs(self) -> bool:
        """Whether any of them has the life of a run."""
        return any(provider.scope == "run" for provider in self._providers.values())

    def check(self) -> None:
        """Raise DependencyError for a need nobody meets, a circle, or one of a shorter life."""
        done: set[Key] = set()
        for key in self._providers:
            self._walk(key, (), done)
        for changes in self._tenants.values():
            changed = self.override(changes)
            changed._tenants = {}
            changed.check()

    def check_needs(self, needs: Iterable[Need], asker: str) -> None:
        """Raise DependencyError for a need of ``asker`` (for the message) that nobody meets."""
        for need in needs:
            if not need.optional and self.find(need) is None:
                raise DependencyError(
                    f"nobody provides {_name(need.keys[0])}, which {asker} asks for;"
                    " register it with providers.provide()"
                )

    def find(self, need: Need) -> Key | None:
        """The key that meets a need, None when no provider does."""
        return next((key for key in need.keys if key in self._providers), None)

    def get(self, key: Key, path: tuple[Key, ...] = ()) -> Provider:
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
            shorter = self._providers[found].scope
            if SPAN[shorter] > SPAN[provider.scope]:
                raise DependencyError(
                    f"{_name(key)} lives {LIFE[provider.scope]} and can't ask for {_name(found)},"
                    f" which lives {LIFE[shorter]}; give it scope={shorter!r}"
                )
            self._walk(found, (*path, key), done)
        done.add(key)

    def _check_absent(self, key: Key, provider: Provider, need: Need) -> None:
        given: Scope | None = "run" if RunId in need.keys else None
        if any(isinstance(k, type) and issubclass(k, JobContext) for k in need.keys):
            given = "command"
        if need.optional or (given and SPAN[provider.scope] >= SPAN[given]):
            return
        if given:
            what = "a JobContext" if given == "command" else "a RunId"
            raise DependencyError(
                f"{_name(key)} lives {LIFE[provider.scope]} and can't ask for {what};"
                f" give it scope={given!r}"
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
        own: frozenset[Key] | None = None,
        *,
        life: Scope | None = None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        """``app`` makes what lives longer; with ``own``, only what is not in it. ``life`` is what
        is made here, by default that of a command, or of the worker where nothing lives longer.
        ``on_close`` is called after the clean-up.
        """
        self._providers = providers
        self._app = app
        self._own = own
        self._life: Scope = life or ("app" if app is None or own is not None else "command")
        self._on_close = on_close
        self._values: dict[Key, object] = dict(given)
        self._stack = AsyncExitStack()
        self._lock = asyncio.Lock()

    async def resolve(self, key: object) -> object:
        """The value of ``key``; raises DependencyError, or what its provider raises."""
        known = cast("Key", key)
        if known in self._values:
            return self._values[known]
        if self._app is not None and self._shares(known, self._providers.get(known)):
            return await self._app.resolve(known)
        async with self._lock:
            return await self._make(known, ())

    async def resolve_need(self, need: Need) -> tuple[bool, object]:
        """Whether somebody meets a need, and its value; raises as ``resolve`` does."""
        found = next((k for k in need.keys if k in self._values), self._providers.find(need))
        if found is None and not need.optional:
            self._providers.get(need.keys[0])
        return (False, None) if found is None else (True, await self.resolve(found))

    async def close(self, error: BaseException | None = None) -> None:
        """Clean up; generators see ``error`` at their ``yield``. Raises what the clean-up raises.

        An error that a generator swallows is not undone by that: the caller still has it.
        """
        trace: TracebackType | None = error.__traceback__ if error else None
        try:
            await self._stack.__aexit__(type(error) if error else None, error, trace)
        finally:
            self._on_close()

    async def _make(self, key: Key, path: tuple[Key, ...]) -> object:
        if key in self._values:
            return self._values[key]
        if key in path:
            circle = " -> ".join(map(_name, (*path, key)))
            raise DependencyError(f"providers ask for each other: {circle}; break the circle")
        provider = self._providers.get(key, path)
        if self._app is not None and self._shares(key, provider):
            return await self._app.resolve(key)
        if SPAN[provider.scope] > SPAN[self._life]:
            life = LIFE[provider.scope]
            raise DependencyError(f"{_name(key)} lives {life}; ask for it in a job")
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

    def _shares(self, key: Key, provider: Provider) -> bool:
        """Whether a value is made by the resolver that this one stands on."""
        if self._own is not None:
            return provider.scope == "app" and key not in self._own
        return SPAN[provider.scope] < SPAN[self._life]

    async def _call(self, factory: Callable[..., object], arguments: dict[str, object]) -> object:
        if inspect.isasyncgenfunction(factory):
            made = asynccontextmanager(factory)(**arguments)
            return await self._stack.enter_async_context(made)
        if inspect.isgeneratorfunction(factory):
            return self._stack.enter_context(contextmanager(factory)(**arguments))
        value = factory(**arguments)
        return await value if inspect.isawaitable(value) else value


def _made(key: Key, provider: object, scope: Scope) -> Provider:
    is_factory = (
        inspect.isroutine(provider)
        or inspect.isclass(provider)
        or isinstance(provider, functools.partial)
    )
    if not is_factory:
        return Provider(provider, scope, False)
    return Provider(provider, scope, True, _needs(key, cast("Callable[..., object]", provider)))


def _needs(key: Key, factory: Callable[..., object]) -> tuple[Need, ...]:
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
    return needs_of([p for p in parameters if p.name not in given], hints)


def needs_of(
    parameters: Iterable[inspect.Parameter], hints: Mapping[str, object]
) -> tuple[Need, ...]:
    """The dependencies that parameters ask for, by their annotations in ``hints`` or names."""
    needs: list[Need] = []
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        hint = hints.get(parameter.name)
        hint = getattr(hint, "__origin__", hint)  # JobContext[Payment] asks for a JobContext
        optional = parameter.default is not parameter.empty
        keys: tuple[Key, ...] = (parameter.name,)
        if isinstance(hint, type) and hint not in (Any, object):
            keys = (hint, parameter.name)
        needs.append(Need(parameter.name, keys, optional))
    return tuple(needs)


def _name(key: object) -> str:
    return repr(key) if isinstance(key, str) else str(getattr(key, "__qualname__", key))
