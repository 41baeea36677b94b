"""Goal: failures with one cause have one fingerprint, and others have another.

Method: messages as programs write them; then any text at all, where Python and SQL must agree.
"""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.fingerprints import fingerprint, fingerprint_sql, normalise, normalise_sql


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("order o-1001 is unknown", "order <n> is unknown"),
        ("order 'o-1001' is unknown", "order <text> is unknown"),
        ('customer "Anna Berg" may not', "customer <text> may not"),
        ("got 3 of 12 items\nTraceback", "got <n> of <n> items"),
        ("3f1c2d4e-0000-4a5b-8c6d-1234567890ab is gone", "<uuid> is gone"),
        ("due 2026-11-21T09:12:15.123Z, now 2026-11-21 09:13:00+01:00", "due <time>, now <time>"),
        ("anna.berg@example.com bounced", "<email> bounced"),
        ("https://pay.example/charges/ch_17: 503", "https://pay.example/charges/<n>: <n>"),
        ("can't reach the bank, it won't answer", "can't reach the bank, it won't answer"),
        ("'a' 'b' 'c'", "<text> <text> <text>"),
        ("the job `charge` said no", "the job <text> said no"),
        ("attempt 3: no  money", "attempt <n>: no money"),
        ("", ""),
    ],
)
def test_what_varies_is_taken_out(message: str, text: str) -> None:
    assert normalise("ValueError", message) == text


def test_names_in_the_code_stay() -> None:
    assert normalise("KeyError", "'transactionId'") == "'transactionId'"
    assert normalise("ValueError", "'transactionId'") == "<text>"


def test_parts_do_not_run_into_each_other() -> None:
    assert fingerprint("ab", "c") != fingerprint("a", "bc")
    assert len(fingerprint("a")) == 16


words = st.text(st.sampled_from("a1'\"` \t\n:.-_@/=ZéTx0+,☃"), max_size=40)
types = st.sampled_from(["ValueError", "KeyError", ""])


@pytest.fixture(scope="module")
def db() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database without tables."""
    with duckdb.connect() as opened:
        yield opened


@given(st.lists(st.tuples(types, st.one_of(words, st.text(max_size=30))), min_size=1))
def test_sql_and_python_agree(
    db: duckdb.DuckDBPyConnection, failures: list[tuple[str, str]]
) -> None:
    usable = [(kind, text.replace("\0", "")) for kind, text in failures]
    text = normalise_sql("kind", "message")
    rows = db.execute(
        f"SELECT {text}, {fingerprint_sql('kind', f'({text})')} FROM"
        " (SELECT unnest($kinds) AS kind, unnest($messages) AS message)",
        {"kinds": [k for k, _ in usable], "messages": [m for _, m in usable]},
    ).fetchall()
    expected = [normalise(kind, message) for kind, message in usable]
    assert [row[0] for row in rows] == expected
    assert [row[1] for row in rows] == [
        fingerprint(kind, text) for (kind, _), text in zip(usable, expected, strict=True)
    ]
