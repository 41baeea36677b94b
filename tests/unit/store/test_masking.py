"""Goal: secret values are gone from JSON and from the texts around it, and nothing else changed.

Method: documents with names at each place and in each spelling; what must be left is compared byte
for byte. Random documents are in tests/property/test_masking.py.
"""

from __future__ import annotations

import time

import pytest

from store.masking import MASKED, VALUES_MAX, Mask

HIDDEN = f'"{MASKED}"'.encode()
mask = Mask(["card", "cvv", "x/y", "Geheimzahl ß"])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"card":"4111"}', b'{"card":%s}' % HIDDEN),
        (b'{ "card" :\n  "4111" , "n": 1.50 }', b'{ "card" :\n  %s , "n": 1.50 }' % HIDDEN),
        (b'{"card":4111}', b'{"card":%s}' % HIDDEN),
        (b'{"card":null,"a":[]}', b'{"card":%s,"a":[]}' % HIDDEN),
        (b'{"card":{"n":["]}",{"a":"\\""}]},"b":2}', b'{"card":%s,"b":2}' % HIDDEN),
        (b'[{"a":[{"CARD":"1"}]},{"Cvv":[1,2]}]', b'[{"a":[{"CARD":%s}]},{"Cvv":%s}]'),
        (b'{"card":"1","card":"2"}', b'{"card":%s,"card":%s}'),
        (b'{"c\\u0061rd":"1","b":"\\u00e9"}', b'{"c\\u0061rd":%s,"b":"\\u00e9"}' % HIDDEN),
        (b'{"x\\/y":1,"x/y":2}', b'{"x\\/y":%s,"x/y":%s}'),
        ('{"geheimzahl ß":"1"}'.encode(), '{"geheimzahl ß":%s}'.encode()),
        (b'{"GEHEIMZAHL \\u00DF":"1"}', b'{"GEHEIMZAHL \\u00DF":%s}'),
    ],
)
def test_values_of_secret_members_are_replaced(data: bytes, expected: bytes) -> None:
    wanted = expected.replace(b"%s", HIDDEN)
    assert mask(data) == wanted


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b'"card"',
        b'["card", "4111"]',
        b'{"cards":1,"my card":2,"discard":{"a":1.0}}',
        b'{"a":"\\"card\\":\\"4111\\""}',
        b'{"a\\"card":"4111"}',
        b'{"a":"\\\\","b":"card"}',
        b'{"x":"y\\u0041"}',
    ],
)
def test_everything_else_stays_byte_for_byte(data: bytes) -> None:
    assert mask(data) == data


@pytest.mark.parametrize(
    "data", [b"card=4111111", b'{"card":"4111', b'{"card":1}}', b"\xff card", b'{"card":' * 9999]
)
def test_what_is_no_json_and_names_a_secret_is_replaced_as_a_whole(data: bytes) -> None:
    assert mask(data) == mask.document(data) == HIDDEN


def test_without_names_nothing_happens() -> None:
    assert Mask()(b'{"card":1}') == b'{"card":1}'
    assert Mask([""])(b'{"":1}') == b'{"":1}'


def test_only_wide_names_leave_empty_names_alone() -> None:
    assert Mask(["ß"]).document(b'{"a":"\\u00e9","state":{"":1}}') == (
        b'{"a":"\\u00e9","state":{"":1}}'
    )


def test_texts_lose_what_they_quote_of_a_secret() -> None:
    data = (
        b'{"state":{"card":"4111 1111","cvv":12,"n":{"card":123456}},'
        b'"error":{"type":"ValueError","message":"bad \'4111 1111\' or 123456, 12",'
        b'"traceback":"File \\"x\\"\\n4111 1111"}}'
    )
    masked = mask(data)
    assert b"4111" not in masked
    assert b"123456" not in masked
    assert f"bad '{MASKED}' or {MASKED}, 12".encode() in masked
    assert f'File \\"x\\"\\n{MASKED}"'.encode() in masked


def test_a_quoted_value_is_found_as_python_and_json_write_it() -> None:
    source = b'{"card":"line\\none \\"two\\""}'
    for quoted in ('line\none "two"', r"line\none \"two\"", repr('line\none "two"')):
        assert "one" not in mask.text(f"failed for {quoted}!", source)


def test_a_text_with_too_much_to_look_for_is_replaced_as_a_whole() -> None:
    many = b",".join(b'"value%d"' % number for number in range(VALUES_MAX + 1))
    assert mask.text("a long story", b'{"card":[' + many + b"]}") == MASKED


def test_a_document_of_ours_keeps_its_own_members() -> None:
    own = Mask(["key", "status", "at"])
    data = (
        b'{"key":"o-1","status":"parked","at":"now","state":{"key":"secret1","status":[1]},'
        b'"cause":{"payload":{"at":"secret2"}},"effects":[{"kind":"send","payload":{"key":1}}],'
        b'"error":{"message":"no secret1"}}'
    )
    assert own.document(data) == (
        b'{"key":"o-1","status":"parked","at":"now","state":{"key":%s,"status":%s},'
        b'"cause":{"payload":{"at":%s}},"effects":[{"kind":"send","payload":{"key":%s}}],'
        b'"error":{"message":"no %s"}}'
    ) % (HIDDEN, HIDDEN, HIDDEN, HIDDEN, MASKED.encode())


@pytest.mark.parametrize(
    "hostile",
    [
        b'{"card":"' + b"\\\\" * 200_000 + b'"}',
        b'{"a":"' + b'\\"card\\":' * 60_000 + b'"}',
        b"[" + b'{"card":{"a":[1,2,3]}},' * 25_000 + b"1]",
        b'{"a":"\\u0041' + b'card"' * 0 + b" " * 500_000 + b'","card":1}',
        b'{"card"' + b" " * 500_000 + b":1}",
    ],
)
def test_half_a_megabyte_of_anything_is_masked_in_linear_time(hostile: bytes) -> None:
    began_s = time.thread_time()  # whatever else the machine does
    mask(hostile)
    mask.document(hostile)
    assert time.thread_time() - began_s < 2.0
