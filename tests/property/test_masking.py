"""Goal: whatever the document, no secret value survives masking and everything else is unchanged.

Method: random JSON in random spellings (spaces, escapes); the expected value is made by walking the
decoded document, which is slow and plain, and compared with the decoded result.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from store.masking import MASKED, Mask

NAMES = ("card", "pässwort", 'q"t')
SECRETS = {name.lower() for name in NAMES}
mask = Mask(NAMES)

names = st.sampled_from([*NAMES, "CARD", "Card", "PÄSSWORT", "id", "message", "state", "cards", ""])
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
)
documents = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=25,
)
spellings = st.builds(
    lambda value, ascii, indent: json.dumps(value, ensure_ascii=ascii, indent=indent).encode(),
    documents,
    st.booleans(),
    st.sampled_from([None, 0, 2]),
)
TEXTS = {"error", "message", "traceback", "reason", "note", "refusal"}


def _pairs(pairs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(name, MASKED if name.lower() in SECRETS else _text(name, v)) for name, v in pairs]


def _text(name: str, value: Any) -> Any:
    """Texts may have lost a quoted value, so they are compared by themselves."""
    return "text" if name in TEXTS and isinstance(value, str) else value


def _plainly(data: bytes) -> Any:
    return json.loads(data, object_pairs_hook=_pairs, parse_float=str, parse_int=str)


@given(spellings)
def test_secret_members_are_masked_and_all_others_are_as_they_were(data: bytes) -> None:
    assert _plainly(mask(data)) == _plainly(data)
    assert mask(mask(data)) == mask(data)


@given(spellings, st.text("abcdef0123456789-", min_size=30, max_size=40))
def test_no_secret_value_survives_at_any_depth(data: bytes, secret: str) -> None:
    planted = b'{"deep":[%s,{"card":{"of":["%s"]},"message":"no %s here","rest":%s}]}' % (
        data,
        secret.encode(),
        secret.encode(),
        data,
    )
    assert secret.encode() not in mask(planted)
    assert secret.encode() not in mask.document(b'{"state":%s,"reason":"%s"}' % (planted, b"x"))


@given(st.binary(max_size=200))
def test_any_bytes_are_masked_without_an_error(data: bytes) -> None:
    mask(data)
    mask.document(b'{"card":' + data)
    mask.text(repr(data), data)


@given(documents)
def test_a_document_without_the_names_is_the_same_object(value: Any) -> None:
    data = json.dumps(value).encode()
    other = Mask(["neverthere"])
    assert other(data) == data
