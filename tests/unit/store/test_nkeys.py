"""Goal: keys of NATS users are read and written as the NATS tools do, and a wrong one is refused.

Method: the pair of keys that the NATS documentation shows; every letter of a seed changed once.
"""

from __future__ import annotations

import base64

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from store.jetstream.nkeys import BadSeed, new_seed, public_key, sign

SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
PUBLIC = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"


def test_the_public_half_is_the_one_that_nats_shows() -> None:
    assert public_key(SEED) == PUBLIC


def test_a_signature_is_checked_with_the_public_half() -> None:
    seed = new_seed()
    raw = base64.b32decode(public_key(seed))[1:-2]
    signature = base64.b64decode(sign(seed, "a nonce"))
    Ed25519PublicKey.from_public_bytes(raw).verify(signature, b"a nonce")
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, b"another")


def test_seeds_differ() -> None:
    assert len({new_seed() for _ in range(50)}) == 50


@pytest.mark.parametrize("place", range(2, len(SEED) - 1))
def test_a_wrong_letter_is_noticed_and_not_repeated(place: int) -> None:
    wrong = SEED[:place] + ("A" if SEED[place] != "A" else "B") + SEED[place + 1 :]
    with pytest.raises(BadSeed) as problem:
        public_key(wrong)
    assert wrong not in str(problem.value)


@pytest.mark.parametrize("text", ["", PUBLIC, SEED.lower(), SEED[:-1], SEED + "A", "SA" + SEED[2:]])
def test_what_is_no_seed_of_a_user(text: str) -> None:
    with pytest.raises(BadSeed):
        sign(text, "nonce")
