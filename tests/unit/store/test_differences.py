"""Differences of two documents: exact, in order, and enough to make one of the other.

Goal: what is listed is what differs, nothing else. Method: examples, and a property over random
JSON: applying the listed changes to the first document gives the second.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.differences import DIFFERENCES_MAX, differences
from store.projection.filters import parse_test

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)
MISSING = object()


def _changes(before: object, after: object) -> list[tuple[str, str, object, object]]:
    found, more = differences(msgspec.json.encode(before), msgspec.json.encode(after))
    assert not more
    return [(one.path, one.kind, _value(one.before), _value(one.after)) for one in found]


def _value(raw: Any) -> object:
    return MISSING if raw is msgspec.UNSET else msgspec.json.decode(raw)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("a", "changed", 1, 2)]),
        ({"a": 1}, {}, [("a", "removed", 1, MISSING)]),
        ({}, {"a": None}, [("a", "added", MISSING, None)]),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, [("a.b.1", "changed", 2, 3)]),
        ({"a": [1]}, {"a": [1, {"x": 1}]}, [("a.1", "added", MISSING, {"x": 1})]),
        ({"a": True}, {"a": 1}, [("a", "changed", True, 1)]),
        ({"a": [1]}, {"a": {"0": 1}}, [("a", "changed", [1], {"0": 1})]),
        ({"o.d d": 1}, {"o.d d": 2}, [('"o.d d"', "changed", 1, 2)]),
        (None, {"a": 1}, [("", "changed", None, {"a": 1})]),
    ],
)
def test_examples(before: object, after: object, expected: list[object]) -> None:
    """Each place that differs, once, with what stood and stands there."""
    assert _changes(before, after) == expected


@given(JSON, JSON)
def test_equal_documents_and_no_others_have_no_differences(before: Any, after: Any) -> None:
    """No difference is missed, and none is made up."""
    same = msgspec.json.encode(before, order="sorted") == msgspec.json.encode(after, order="sorted")

    assert (_changes(before, after) == []) is same


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.integers(), min_size=1, max_size=4))
def test_paths_are_written_as_filters_take_them(document: dict[str, int]) -> None:
    """A path can be put into a filter as it is, whatever the fields are called."""
    for path, _, _, _ in _changes({}, document):
        if "\0" not in path:
            assert parse_test(f"state.{path}=1").path[0] in document


def test_a_long_list_is_cut_and_says_so() -> None:
    """There is a limit, and whoever reads learns of it."""
    after = {f"f{n}": n for n in range(DIFFERENCES_MAX + 1)}
    found, more = differences(b"{}", msgspec.json.encode(after))

    assert len(found) == DIFFERENCES_MAX
    assert more
