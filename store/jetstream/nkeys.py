"""NATS keys of users: an Ed25519 key pair in the text form that NATS tools write and read.

A seed (``SU…``) is the secret half and stays with the client; the public half (``U…``) stands in
the server's configuration, so that the server holds nothing that could be used to log in. Pure; the
form is that of the nkeys specification: a prefix, the key and its CRC-16 in base 32.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SEED_SHAPE = re.compile(r"\bSU[A-Z2-7]{56}\b")

_PREFIX_SEED = 18 << 3  # "S"
_PREFIX_USER = 20 << 3  # "U"
_KEY_BYTES = 32
# A seed's five bits of kind are spread over the two bytes before the key.
_SEED_HEAD = bytes((_PREFIX_SEED | _PREFIX_USER >> 5, (_PREFIX_USER & 31) << 3))


class BadSeed(ValueError):
    """A text that is no seed of a NATS user; the message does not repeat it."""


def new_seed() -> str:
    """A new secret, as ``SU…``."""
    return _text(_SEED_HEAD + secrets.token_bytes(_KEY_BYTES))


def public_key(seed: str) -> str:
    """The public half of a seed, as ``U…``; raises BadSeed."""
    return _text(bytes((_PREFIX_USER,)) + _private(seed).public_key().public_bytes_raw())


def sign(seed: str, nonce: str) -> bytes:
    """The signature of a server's nonce, in base 64; raises BadSeed."""
    return base64.b64encode(_private(seed).sign(nonce.encode()))


def _private(seed: str) -> Ed25519PrivateKey:
    if SEED_SHAPE.fullmatch(seed) is None:
        raise BadSeed("no seed of a NATS user: it begins with SU and has 58 letters and digits")
    raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    body, check = raw[:-2], raw[-2:]
    if not body.startswith(_SEED_HEAD) or _checksum(body) != check:
        raise BadSeed("a seed of a NATS user with a letter that is wrong; take it from its source")
    return Ed25519PrivateKey.from_private_bytes(body[len(_SEED_HEAD) :])


def _text(body: bytes) -> str:
    return base64.b32encode(body + _checksum(body)).decode().rstrip("=")


def _checksum(body: bytes) -> bytes:
    return binascii.crc_hqx(body, 0).to_bytes(2, "little")  # CRC-16/XMODEM
