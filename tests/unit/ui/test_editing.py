"""Goal: an edited payload is sent as it was meant, and a secret neither shown nor lost.

Method: what a browser sends back for a field, beside the original and the mask.
"""

from __future__ import annotations

import msgspec
import pytest

from store.masking import MASKED, Mask
from ui.editing import BadField, edited, to_edit

MASK = Mask(["card"])
ORIGINAL = b'{"card":"4111111111111111","amount":1,"rows":[{"card":"5500000000000004"}]}'


def test_what_comes_back_unchanged_is_no_change() -> None:
    text = to_edit(ORIGINAL, MASK)
    assert "4111" not in text
    assert MASKED in text
    assert edited(text.replace("\n", "\r\n"), ORIGINAL, MASK) is None


def test_secrets_that_were_left_alone_are_put_back() -> None:
    text = to_edit(ORIGINAL, MASK).replace('"amount": 1', '"amount": 2')
    made = edited(text, ORIGINAL, MASK)
    assert made is not None
    assert msgspec.json.decode(made) == {
        **msgspec.json.decode(ORIGINAL),
        "amount": 2,
    }


def test_a_mask_that_stands_for_nothing_is_refused() -> None:
    with pytest.raises(BadField, match="write what shall stand there"):
        edited(f'{{"other":"{MASKED}"}}', ORIGINAL, MASK)


@pytest.mark.parametrize("text", ['{"amount":true}', '{"amount":1.0}', '{"amount":"1"}'])
def test_a_change_of_type_is_a_change(text: str) -> None:
    made = edited(text, b'{"amount":1}', MASK)
    assert made is not None
    assert bytes(made) == text.encode()


def test_what_is_no_json_says_where() -> None:
    with pytest.raises(BadField, match="the payload is not JSON"):
        edited("{nothing", ORIGINAL, MASK)


def test_an_empty_field_is_null_where_something_stood() -> None:
    assert edited("", b"", MASK) is None
    made = edited(" ", ORIGINAL, MASK)
    assert made is not None
    assert bytes(made) == b"null"
