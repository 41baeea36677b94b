"""What a list of instances is asked for, and the SQL condition that says so. Pure.

A filter comes from people and programs as text; whatever in it can't be meant is a FilterError
that says what to write instead. Values never become SQL: they are bound as parameters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, TypeAlias, cast, get_args

import msgspec
from msgspec import Struct

from sagas.instance import Status
from store.projection.times import BadTime, parse_time
from store.projection.where import Where, any_case

Operator: TypeAlias = Literal["=", "!=", ">=", "<=", ">", "<", "~"]

WORDS_MAX = 10
TESTS_MAX = 10
NAMES_MAX = 100
VALUE_CHARS_MAX = 500
PATH_MAX = 16
STATUSES: tuple[Status, ...] = get_args(Status)

# An object's member in quotes, or anything up to the next dot or operator.
_STEP = re.compile(r'\.(?:"((?:[^"\\]|\\.)+)"|([^.=!<>~"\s]+))')
_OPERATOR = re.compile(r"\s*(!=|>=|<=|=|>|<|~)\s*", re.DOTALL)
INTEGER_DIGITS_MAX = 16
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?\Z")


class FilterError(ValueError):
    """A filter that can't be meant; the message says what to write."""


class StateTest(Struct, frozen=True):
    """A comparison of one field of the state: ``path`` from its root, ``value`` typed."""

    path: tuple[str, ...]
    operator: Operator
    value: str | float | int | bool | None

    @property
    def is_number(self) -> bool:
        return isinstance(self.value, (int, float)) and not isinstance(self.value, bool)


class InstanceFilter(Struct, frozen=True, kw_only=True):
    """Which instances: all conditions hold, within ``sagas`` and within ``statuses`` any.

    ``key`` is exact, or a prefix when it ends with ``*``; ``words`` all occur in key or state,
    whatever their case; ``since`` (inclusive) and ``until`` are of the last change.
    """

    sagas: tuple[str, ...] = ()
    statuses: tuple[Status, ...] = ()
    key: str = ""
    words: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    state: tuple[StateTest, ...] = ()

    @property
    def reads_state(self) -> bool:
        """Whether the text of states has to be read, which takes time."""
        return bool(self.words or self.state)


def make_filter(
    *,
    sagas: Sequence[str] = (),
    statuses: Sequence[str] = (),
    key: str = "",
    q: str = "",
    since: str = "",
    until: str = "",
    where: Sequence[str] = (),
    now: datetime,
) -> InstanceFilter:
    """A filter from texts as people write them; raises FilterError.

    ``since`` and ``until`` are ISO 8601 or a duration before ``now`` such as ``15m`` or ``2d``;
    ``where`` holds comparisons such as ``state.total>=1000``.
    """
    for what, many in (("saga", sagas), ("status", statuses)):
        if len(many) > NAMES_MAX:
            raise FilterError(f"{len(many)} values of {what}; at most {NAMES_MAX} are allowed")
    for status in statuses:
        if status not in STATUSES:
            raise FilterError(f"there is no status {status[:50]!r}; use {', '.join(STATUSES)}")
    words = tuple(dict.fromkeys(q.lower().split()))
    if len(words) > WORDS_MAX or len(q) > VALUE_CHARS_MAX:
        raise FilterError(f"q takes up to {WORDS_MAX} words and {VALUE_CHARS_MAX} characters")
    if len(where) > TESTS_MAX:
        raise FilterError(f"{len(where)} comparisons of the state; at most {TESTS_MAX} are allowed")
    _check_text(key, *sagas, q)
    return InstanceFilter(
        sagas=tuple(sorted(set(sagas))),
        statuses=tuple(status for status in STATUSES if status in statuses),
        key=key,
        words=words,
        since=_moment("since", since, now),
        until=_moment("until", until, now),
        state=tuple(parse_test(text) for text in where),
    )


def _moment(name: str, text: str, now: datetime) -> datetime | None:
    if not text:
        return None
    try:
        return parse_time(text, now)
    except BadTime as error:
        raise FilterError(f"{name}: {error}") from None


def parse_test(text: str) -> StateTest:
    """The comparison a text such as ``state.customer.id=c-7`` means; raises FilterError.

    A value in double quotes is text whatever it looks like; ``null`` means absent or null.
    """
    if len(text) > 2 * VALUE_CHARS_MAX:
        raise FilterError(f"the comparison is longer than {2 * VALUE_CHARS_MAX} characters")
    _check_text(text)
    name, place = "state", len("state")
    if not text.startswith(name):
        raise FilterError(f"{text[:60]!r} must begin with state., e.g. state.total>=1000")
    path: list[str] = []
    while step := _STEP.match(text, place):
        path.append(_unquoted(step.group(1)) if step.group(1) is not None else step.group(2))
        place = step.end()
    operator = _OPERATOR.match(text, place)
    if not path or operator is None:
        raise FilterError(
            f"{text[:60]!r} is no comparison; write state.<field><operator><value> with one of"
            ' = != > >= < <= ~ (contains), e.g. state.customer.id=c-7 or state."odd name"~x'
        )
    if len(path) > PATH_MAX:
        raise FilterError(f"the path has {len(path)} fields; at most {PATH_MAX} are allowed")
    value = _value(text[operator.end() :])
    sign = cast("Operator", operator.group(1))
    if value is None and sign not in ("=", "!="):
        raise FilterError(f"null can be compared by = and != only, not by {sign}")
    if isinstance(value, bool) and sign in (">", ">=", "<", "<="):
        raise FilterError(f"{text[:60]!r}: true and false can't be ordered; use = or !=")
    return StateTest(tuple(path), sign, value)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _value(text: str) -> str | float | int | bool | None:
    text = text.strip()
    if len(text) > VALUE_CHARS_MAX:
        raise FilterError(f"a value has at most {VALUE_CHARS_MAX} characters")
    if text in _WORDS:
        return _WORDS[text]
    if _NUMBER.match(text):
        whole = text.removeprefix("-").isdecimal() and len(text) <= INTEGER_DIGITS_MAX
        return int(text) if whole else float(text)
    if len(text) > 1 and text[0] == text[-1] == '"':
        return _unquoted(text[1:-1])
    return text


def _check_text(*texts: str) -> None:
    for text in texts:
        if "\0" in text:
            raise FilterError("a filter holds a NUL character; leave it out")


# --- as SQL


def condition(filter: InstanceFilter) -> Where:
    """The condition of a filter over the columns of ``instances``."""
    where = Where()
    where.one_of("saga", filter.sagas)
    where.one_of("status", filter.statuses)
    key_condition(filter, where)
    where.between("changed_at", filter.since, filter.until)
    for word in filter.words:
        in_key, in_state = where.bind(word), where.bind(any_case(_in_json(word)))
        where.add(f"(contains(lower(key), {in_key}) OR regexp_matches(state, {in_state}))")
    for test in filter.state:
        where.add(_test(test, where))
    return where


def key_condition(filter: InstanceFilter, where: Where) -> None:
    """Add what the filter says of the key."""
    if filter.key.endswith("*"):
        where.add(f"starts_with(key, {where.bind(filter.key[:-1])})")
    else:
        where.equal("key", filter.key)


def _test(test: StateTest, where: Where) -> str:
    """One comparison. What is not there differs from every value and is in no order."""
    field = f"json_extract_string(state, {where.bind(_pointer(test.path))})"
    value, sign = test.value, test.operator
    if value is None:
        return f"{field} IS {'NOT ' if sign == '!=' else ''}NULL"
    if sign == "~":
        return f"coalesce(regexp_matches({field}, {where.bind(any_case(_text(value)))}), false)"
    if sign in ("=", "!="):
        equal = f"{field} = {where.bind(_text(value))}"
        if test.is_number:
            equal = f"({equal} OR TRY_CAST({field} AS DOUBLE) = {where.bind(float(value))})"
        return f"coalesce({equal}, false)" if sign == "=" else f"NOT coalesce({equal}, false)"
    if test.is_number:
        return f"coalesce(TRY_CAST({field} AS DOUBLE) {sign} {where.bind(float(value))}, false)"
    return f"coalesce({field} {sign} {where.bind(value)}, false)"


def _text(value: str | float | bool) -> str:
    """A value as JSON shows it without quotes."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _pointer(path: Sequence[str]) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in path)


def _in_json(word: str) -> str:
    return msgspec.json.encode(word).decode()[1:-1]
