"""What each kind of NATS user needs and nothing more: the table of subjects, made from our names.

Pure. A user can't be let create a consumer under some names only (permissions know whole tokens),
so whoever reads a stream could also change or drain the queue of a job; where the jobs are known,
that is denied by name. Nobody but the operator may delete or purge anything of a stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

from msgspec import Struct

from store import codec
from store.jetstream.queues import consumer_name
from store.subjects import Names

User: TypeAlias = Literal["publisher", "worker", "engine", "api", "viewer", "operator"]
USERS: tuple[User, ...] = get_args(User)

ABOUT: dict[User, str] = {
    "publisher": "publishes events: programs of yours, `snorri publish`",
    "worker": "`snorri jobs`: takes commands of its jobs, publishes their results, calls jobs",
    "engine": "`snorri engine`, also with --with-jobs: writes the log",
    "api": "`snorri serve` and the commands that act: reads all, sends what operators do",
    "viewer": "`snorri show`, `history`, `verify` and other readers: changes nothing",
    "operator": "`snorri dev`, `backup`, `restore`, `archive`, the nats command: everything here",
}

# Keys of the meta bucket that tell who is there and what they do, and are no secret of anybody.
CARDS = ("saga", "job", "engine", "worker", "lease")


class Permissions(Struct, frozen=True, kw_only=True):
    """Subjects that a user may publish and subscribe to, and those of the first it must not."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    deny: tuple[str, ...] = ()


def permissions(
    user: User, names: Names, inbox: str, targets: Sequence[str] = (), *, answers: str = ""
) -> Permissions:
    """What ``user`` may do, whose inboxes begin with ``inbox``.

    ``targets`` are the jobs of the installation, () when they are not known. ``answers`` is the
    inbox of the user that may ask the API over NATS.
    """
    publish, subscribe = _RIGHTS[user](names, targets), [f"{inbox}.>"]
    if user == "api":
        publish += [f"{answers}.>"] if answers else []
        subscribe += [names.api(">"), "$SRV.>"]
    if user == "operator":
        subscribe = [">"]
    return Permissions(
        publish=tuple(publish),
        subscribe=tuple(subscribe),
        deny=tuple(_queues(names, targets)) if user in ("api", "viewer") else (),
    )


def _publisher(names: Names, _targets: Sequence[str]) -> list[str]:
    return [*_events(names), f"$JS.API.STREAM.INFO.{names.events_stream}"]


def _worker(names: Names, targets: Sequence[str]) -> list[str]:
    log = names.log_stream
    rights = [*_events(names), *_info(names), *_meta(names, "worker", "job", "probe")]
    for consumer, filter in _consumers(names, targets):
        rights += [
            f"$JS.API.CONSUMER.INFO.{log}.{consumer}",
            f"$JS.API.CONSUMER.CREATE.{log}.{consumer}.{filter}",
            f"$JS.API.CONSUMER.MSG.NEXT.{log}.{consumer}",
            f"$JS.ACK.{log}.{consumer}.>",
            filter,  # steps call jobs
            f"$JS.API.DIRECT.GET.{log}.{filter}",
        ]
    return [*rights, *_results(names)]


def _results(names: Names) -> list[str]:
    """To read the results of jobs, for the steps that call them, and no other events."""
    events = names.events_stream
    answers = (names.stored_event(type, "x") for type in (codec.COMPLETED, codec.FAILED))
    return [
        *(f"$JS.API.CONSUMER.CREATE.{events}.*.{answer.removesuffix('x')}*" for answer in answers),
        f"$JS.API.CONSUMER.MSG.NEXT.{events}.*",
        f"$JS.API.CONSUMER.DELETE.{events}.*",
    ]


def _engine(names: Names, _targets: Sequence[str]) -> list[str]:
    space = names.namespace
    return [
        *_worker(names, ()),  # with --with-jobs; what it writes into the log says as much
        *_reading(names),
        *(f"$JS.API.STREAM.CREATE.{stream}" for stream in _streams(names)),
        *(f"$JS.API.CONSUMER.CREATE.{stream}.>" for stream in _streams(names)),
        *(f"$JS.API.CONSUMER.DELETE.{stream}.*" for stream in _streams(names)),
        names.records(),
        *(f"{space}.{room}.>" for room in ("signals", "commands", "timers")),
        *_meta(names, "engine", "lease", "saga", "room"),
    ]


def _api(names: Names, _targets: Sequence[str]) -> list[str]:
    space = names.namespace
    return [
        *_events(names),
        *_info(names),
        *_reading(names),
        *(f"$JS.API.CONSUMER.CREATE.{stream}.>" for stream in _streams(names)),
        *(f"$JS.API.CONSUMER.DELETE.{stream}.*" for stream in _streams(names)),
        f"{space}.signals.>",  # what operators do
        f"{space}.commands.>",  # jobs that they run by hand
        names.dead_letters(),
        names.failure_note("x").removesuffix("x") + "*",
        f"$KV.{names.meta_bucket}.>",  # sessions, bulk jobs, claims …
        "$SRV.>",
        "_INBOX.>",  # of those who ask with the nats command
    ]


def _viewer(names: Names, _targets: Sequence[str]) -> list[str]:
    meta = names.meta_stream
    cards = [f"$KV.{names.meta_bucket}.{card}.>" for card in CARDS]
    return [
        *_info(names),
        *_reading(names, meta=False),
        # With the filter in the subject, so that of the meta bucket only the cards can be read.
        f"$JS.API.CONSUMER.CREATE.{names.log_stream}.*.>",
        f"$JS.API.CONSUMER.CREATE.{names.events_stream}.*.>",
        *(f"$JS.API.CONSUMER.CREATE.{meta}.*.{card}" for card in cards),
        f"$JS.API.CONSUMER.MSG.NEXT.{meta}.*",
    ]


def _operator(names: Names, _targets: Sequence[str]) -> list[str]:
    return [">"]


_RIGHTS = {
    "publisher": _publisher,
    "worker": _worker,
    "engine": _engine,
    "api": _api,
    "viewer": _viewer,
    "operator": _operator,
}


def _streams(names: Names) -> tuple[str, str, str]:
    return names.events_stream, names.log_stream, names.meta_stream


def _events(names: Names) -> list[str]:
    return [f"{names.namespace}.events.*", f"{names.namespace}.events.*.*"]


def _info(names: Names) -> list[str]:
    """How the account and the streams stand, by which every process checks what it connects to."""
    return ["$JS.API.INFO", *(f"$JS.API.STREAM.INFO.{stream}" for stream in _streams(names))]


def _reading(names: Names, *, meta: bool = True) -> list[str]:
    log, events = names.log_stream, names.events_stream
    streams = _streams(names) if meta else (events, log)
    return [
        *(f"$JS.API.STREAM.MSG.GET.{stream}" for stream in streams),
        f"$JS.API.DIRECT.GET.{log}",
        f"$JS.API.DIRECT.GET.{log}.>",
        *(f"$JS.API.CONSUMER.LIST.{stream}" for stream in streams),
        f"$JS.API.CONSUMER.INFO.{log}.*",
        *(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.*" for stream in streams),
    ]


def _meta(names: Names, *kinds: str) -> list[str]:
    """Keys of the meta bucket by their first token; some have no second one."""
    return [
        f"$KV.{names.meta_bucket}.{kind}" if kind == "room" else f"$KV.{names.meta_bucket}.{kind}.>"
        for kind in kinds
    ]


def _consumers(names: Names, targets: Sequence[str]) -> list[tuple[str, str]]:
    """Name and filter of the queue of each job, with a wildcard when the jobs are not known."""
    if not targets:
        return [("*", names.command_filter("x").replace(".x.", ".*."))]
    return [(consumer_name(target), names.command_filter(target)) for target in targets]


def _queues(names: Names, targets: Sequence[str]) -> list[str]:
    """All by which the queue of a job could be changed, drained or removed."""
    log = names.log_stream
    denied: list[str] = []
    for target in targets:
        name = consumer_name(target)
        denied += [
            f"$JS.API.CONSUMER.CREATE.{log}.{name}",
            f"$JS.API.CONSUMER.CREATE.{log}.{name}.>",
            f"$JS.API.CONSUMER.DELETE.{log}.{name}",
            f"$JS.API.CONSUMER.MSG.NEXT.{log}.{name}",
        ]
    return denied
