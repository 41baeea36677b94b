"""An app's modules become its registry of sagas, its jobs and their providers.

A module gives what stands at its top level: definitions, jobs, actions, one Providers and one
ErrorPolicy, alone or in lists, tuples, dicts and registries. Definitions of steps bring the jobs of
their steps. A package also gives what its ``sagas`` and ``jobs`` parts hold, as modules or as
packages with a module for each. Nothing is registered by being imported elsewhere. Everything that
is wrong with an app is an AppError that says where.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import TypeVar

from msgspec import Struct

from jobs import DependencyError, ErrorPolicy, Job, JobRegistry, Providers
from jobs.job import AnyJob
from jobs.steps import all_step_jobs
from sagas import DefinitionError, Draft, Registry, SagaBuilder, SagaDefinition
from server.entity_actions import EntityAction
from server.errors import SetupError
from server.settings import Settings

T = TypeVar("T")

OURS = ("sagas", "store", "jobs", "server", "ui")
SAMPLES = ("sagas.examples", "jobs.examples")
PARTS = ("sagas", "jobs")


class AppError(SetupError):
    """An app can't be loaded; the message says which module, where, and what to change."""


class App(Struct, frozen=True, kw_only=True):
    """What a process runs; ``modules`` are the names it was made from."""

    modules: tuple[str, ...]
    registry: Registry
    jobs: JobRegistry
    providers: Providers
    actions: tuple[EntityAction, ...] = ()

    @property
    def secrets(self) -> frozenset[str]:
        """The names of the fields that its sagas and jobs mark as secret."""
        marked = (*self.registry, *self.jobs)
        return frozenset(name for one in marked for name in one.secrets)


class _Found:
    """What the modules give, and which module each thing was seen in first."""

    def __init__(self) -> None:
        self.sagas: dict[str, tuple[SagaDefinition, str]] = {}
        self.jobs: dict[str, tuple[AnyJob, str]] = {}
        self.builders: dict[str, str] = {}
        self.providers: list[tuple[Providers, str]] = []
        self.errors: list[tuple[ErrorPolicy, str]] = []
        self.actions: dict[str, tuple[EntityAction, str]] = {}

    def take(self, value: object, module: str) -> None:
        """Keep ``value`` when it is one of ours; raises AppError for a second of the same name."""
        match value:
            case SagaDefinition():
                self._once(self.sagas, value.id, value, module, "sagas have the id")
            case Job():
                self._once(self.jobs, value.target, value, module, "jobs have the target")
            case Draft() | SagaBuilder():
                self.builders[value.id] = module
            case Providers():
                if all(known is not value for known, _ in self.providers):
                    self.providers.append((value, module))
            case ErrorPolicy():
                if all(known is not value for known, _ in self.errors):
                    self.errors.append((value, module))
            case EntityAction():
                self._once(self.actions, value.path, value, module, "actions have the path")
                self.take(value.saga, module)
            case Registry() | JobRegistry():
                for one in value:
                    self.take(one, module)
            case _:
                pass

    @staticmethod
    def _once(known: dict[str, tuple[T, str]], name: str, value: T, module: str, what: str) -> None:
        first = known.setdefault(name, (value, module))
        if first[0] is not value:
            raise AppError(
                f"two {what} {name!r}, one in {first[1]} and one in {module}; rename one of them"
            )


def load_app(modules: Sequence[str]) -> App:
    """Import ``modules`` and collect what they give; raises AppError.

    The working directory is searched first, as ``python`` itself would.
    """
    if not modules:
        raise AppError(
            "no app is named; give one with --app MODULE or SNORRI_APP, or `snorri init`"
        )
    where = os.getcwd()
    if where not in sys.path:
        sys.path.insert(0, where)
        importlib.invalidate_caches()
    found = _Found()
    for name in modules:
        _check_name(name)
        for module in _with_parts(_import(name, where), where):
            for value in _values(module):
                found.take(value, module.__name__)
    _check(found, modules)
    try:
        providers = found.providers[0][0] if found.providers else Providers()
        providers.check()
        definitions = [definition for definition, _ in found.sagas.values()]
        errors = found.errors[0][0] if found.errors else None
        jobs = JobRegistry(job for job, _ in found.jobs.values())
        for job in all_step_jobs(definitions, errors):
            jobs.add(job)
            providers.check_needs(job.needs, f"the job {job.target!r}")
        return App(
            modules=tuple(modules),
            registry=Registry(definitions),
            jobs=jobs,
            providers=providers,
            actions=tuple(declared for declared, _ in found.actions.values()),
        )
    except (DefinitionError, DependencyError) as error:
        raise AppError(str(error)) from error


def load_samples() -> App:
    """The sample sagas and their jobs."""
    return load_app(SAMPLES)


def app_of(settings: Settings) -> App:
    """The app these settings name, or the samples; raises AppError."""
    return load_app(settings.app) if settings.app else load_samples()


def _check_name(name: str) -> None:
    is_sample = any(f"{name}.".startswith(f"{package}.") for package in SAMPLES)
    if name in OURS or (name.split(".")[0] in OURS and not is_sample):
        raise AppError(
            f"the app module {name!r} has the name of one of Snorri's own packages "
            f"({', '.join(OURS)}); rename it, for example to my_{name.split('.')[0]}"
        )
    if not all(part.isidentifier() for part in name.split(".")):
        raise AppError(
            f"{name!r} is no module; write it as in an import, for example my_shop.orders"
        )


def _import(name: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise AppError(
                f"there is no module {error.name!r} in {where} or among the installed packages; "
                "go to the directory that holds it, or correct --app"
            ) from error
        raise AppError(_story(name, error)) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # an app may raise anything, SystemExit included
        raise AppError(_story(name, error)) from error


def _story(name: str, error: BaseException) -> str:
    """What an import died of, with the file and line of the app that did it."""
    if isinstance(error, SyntaxError) and error.filename:
        place, source = f"{error.filename}, line {error.lineno}", (error.text or "").strip()
    else:
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if "importlib" not in frame.filename and frame.filename != __file__
        ]
        own = [f for f in frames if not f.filename.startswith(os.path.dirname(__file__))]
        last = _last_of_app(own)
        place = f"{last.filename}, line {last.lineno}" if last else "an unknown place"
        source = (last.line or "") if last else ""
    lines = [f"{name} can't be imported: {type(error).__name__}: {error}", f"  in {place}"]
    if source:
        lines.append(f"    {source}")
    lines.append("Correct it there and start again.")
    return "\n".join(lines)


def _last_of_app(frames: Sequence[traceback.FrameSummary]) -> traceback.FrameSummary | None:
    """The deepest frame that is neither Snorri's nor of an installed package, else the deepest."""
    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    foreign = ("site-packages", *(os.path.join(ours, room) + os.sep for room in OURS))
    theirs = [f for f in frames if not any(part in f.filename for part in foreign)]
    return (theirs or list(frames) or [None])[-1]


def _with_parts(module: ModuleType, where: str) -> Iterator[ModuleType]:
    """A module, and of a package its ``sagas`` and ``jobs`` with all their own modules."""
    yield module
    if module.__name__ in SAMPLES or not hasattr(module, "__path__"):
        return
    for part in PARTS:
        name = f"{module.__name__}.{part}"
        if importlib.util.find_spec(name) is None:
            continue
        inner = _import(name, where)
        yield inner
        for info in pkgutil.iter_modules(getattr(inner, "__path__", ())):
            if not info.name.startswith("_"):
                yield _import(f"{name}.{info.name}", where)


def _values(module: ModuleType) -> Iterator[object]:
    for name, value in vars(module).items():
        if name.startswith("__"):
            continue
        if isinstance(value, (list, tuple, set, frozenset)):
            yield from value
        elif isinstance(value, Mapping):
            yield from value.values()
        elif isinstance(value, App):
            yield from (value.registry, value.jobs, value.providers, *value.actions)
        else:
            yield value


def _check(found: _Found, modules: Sequence[str]) -> None:
    for id, module in found.builders.items():
        if id not in found.sagas:
            raise AppError(
                f"the saga {id!r} in {module} was begun and never built; end its chain with "
                ".build() and keep the result in a name of the module"
            )
    if len(found.providers) > 1:
        places = " and ".join(module for _, module in found.providers)
        raise AppError(f"there are two Providers, in {places}; register everything in one")
    if len(found.errors) > 1:
        places = " and ".join(module for _, module in found.errors)
        raise AppError(
            f"there are two ErrorPolicies, in {places}; keep one for the app, give others to the"
            " steps they are for with errors="
        )
    if not found.sagas and not found.jobs:
        raise AppError(
            f"no saga and no job in {', '.join(modules)}; put definitions at the top level of a "
            "module, or into the modules `sagas` and `jobs` of the package"
        )
