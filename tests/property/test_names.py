"""Goal: a name can never act as a wildcard, end a line or be taken for another one.

Method: any text, hostile characters preferred, goes through the escaping and back; derived ids are
parsed again, and whatever is no id of ours is told from one without an exception.
"""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sagas.names import (
    KEY_BYTES_MAX,
    NAME_BYTES_MAX,
    BadName,
    check_key,
    check_name,
    child_key,
    command_gate,
    command_id,
    escape,
    parse_command_id,
    saga_gate,
    unescape,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
HOSTILE = st.text(st.sampled_from("=*>. \t\r\n\0$%+-_azAZ09é😀/@"), min_size=1, max_size=30)
NAMES = TEXT | HOSTILE
SHORT = NAMES.filter(lambda text: len(text.encode()) <= NAME_BYTES_MAX)


@given(NAMES)
@example("a=40b")
@example("*")
def test_escaping_is_undone_by_unescaping(text: str) -> None:
    assert unescape(escape(text)) == text


@given(NAMES)
def test_a_token_is_safe_in_subjects_and_headers(text: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_=-]+", escape(text))


@given(NAMES, NAMES)
def test_two_names_never_share_a_token(one: str, other: str) -> None:
    assert (escape(one) == escape(other)) == (one == other)


@given(st.text())
def test_unescaping_anything_gives_text_or_bad_name(token: str) -> None:
    with contextlib.suppress(BadName):
        unescape(token).encode()


@given(SHORT, SHORT, st.integers(1, 10**9), st.integers(0, 400))
def test_a_command_id_says_whose_it_is(saga: str, key: str, version: int, index: int) -> None:
    id = command_id(saga, key, version, index)
    assert parse_command_id(id) == (saga, key, version, index)
    assert re.fullmatch(r"[A-Za-z0-9_=.-]+", id)


@given(st.text() | st.from_regex(r"[a=.0-9*]*\.[a.=0-9]*\.\d+\.\d+", fullmatch=True))
@example("Checkout..1.0")
@example(".k.1.0")
@example(f"S.k.{'9' * 5000}.0")
@example("S.k.\u0661.0")
@example("S.=FF.1.0")
@example(f"S.{'k' * 201}.1.0")
def test_what_is_no_command_id_is_told_without_an_exception(text: str) -> None:
    parsed = parse_command_id(text)
    if parsed is not None:
        saga, key, _, _ = parsed
        assert check_name(saga, "saga id") == saga
        assert escape(check_key(key))


@given(st.text(max_size=220))
def test_a_key_is_checked_by_its_bytes(text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        size = 0
    if 1 <= size <= KEY_BYTES_MAX:
        assert check_key(text) == text
    else:
        with pytest.raises(BadName):
            check_key(text)


@given(SHORT, st.integers(1, 10**6), st.integers(0, 400))
def test_derived_keys_are_keys(key: str, version: int, index: int) -> None:
    check_key(child_key(key, version, index))
    check_key(command_gate(key, key))
    check_key(saga_gate(key, key))
