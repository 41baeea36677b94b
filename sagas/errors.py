"""Everything that can go wrong on the pure side.

SagaError
├── DefinitionError      a definition contradicts itself or another; raised while a program starts
├── LimitExceeded        a transition is over a stated limit (state, effects, backlog, value)
├── HandlerFault         a handler returned something that is no effect, or two ends at once
│   └── NewerVersion     the instance was written by newer code than this
├── IllegalTransition    two recorded values do not follow each other
├── UnknownQuery         no such query on this saga
└── BadDelay             a delay or a time that can't be read
"""

from __future__ import annotations

MESSAGE_CHARS_MAX = 2000


class SagaError(Exception):
    """The base of all errors of the pure side; every message says what to do next."""


class DefinitionError(SagaError):
    """A definition contradicts itself, another definition, or the rules of names."""


class LimitExceeded(SagaError):
    """A transition is larger than a stated limit allows."""


class HandlerFault(SagaError):
    """A handler returned something that can't be carried out."""


class NewerVersion(HandlerFault):
    """Newer code has written the instance; this code does not know what its state means."""


class IllegalTransition(SagaError):
    """A recorded value does not follow from the one before it: a version, a status or a hash is
    wrong.
    """


class UnknownQuery(SagaError):
    """The saga declares no query of that name."""


class BadDelay(SagaError, ValueError):
    """A delay that is no number of seconds, no timedelta, no datetime and no text such as "5m"."""


def error_text(error: BaseException) -> str:
    """What an exception says, shortened, in characters that can be stored."""
    try:
        text = str(error)
    except Exception:  # an author's exception may fail even at this
        text = "(its text can't be made)"
    return plain(text)[:MESSAGE_CHARS_MAX]


def plain(text: str) -> str:
    """``text`` with what is no Unicode character replaced, so that it can be written as UTF-8."""
    return text.encode("utf-8", "replace").decode()
