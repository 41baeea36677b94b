"""Who connects and how the connection is kept private: credentials files and TLS.

Owns what is read from those files. Promises: a file is read anew at each connect, so that a new key
holds at the next one; no secret is kept, shown or part of a message; where TLS was asked for,
nothing is sent over a connection without it (the protocol would let a server talk us out of it).
"""

from __future__ import annotations

import re
import ssl
from functools import partial
from pathlib import Path

from msgspec import Struct
from nats import errors
from nats.aio.client import Client

from store.port import StoreError

FILE_BYTES_MAX = 64 * 1024
_JWT = re.compile(r"-+BEGIN NATS USER JWT-+\s+(\S+)\s")
_INBOX = re.compile(r"^# inbox: ([A-Za-z0-9_.-]{1,200})\s*$", re.MULTILINE)


class BadLogin(StoreError):
    """A file of credentials or certificates can't be used; the message names it."""


class Login(Struct, frozen=True, kw_only=True):
    """Names of files.

    ``creds`` holds the seed of a NATS user (``SU…``), or a JWT with its seed as operators hand them
    out, and may have a line ``# inbox: PREFIX``. ``tls_ca`` is who may sign the server's
    certificate (default: those this machine trusts), ``tls_cert`` and ``tls_key`` are our own for a
    server that asks for one.
    """

    creds: str | None = None
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None

    @property
    def has_tls(self) -> bool:
        """Whether TLS is asked for whatever the address says."""
        return any((self.tls_ca, self.tls_cert, self.tls_key))

    def check(self) -> None:
        """Raises BadLogin for a file that can't be used."""
        if self.creds:
            read_keys(self.creds)
        if self.has_tls:
            tls_context(self)

    def inbox(self, name: str) -> str:
        """The prefix of the inboxes: as the file of credentials says, else of the client's name.

        Raises BadLogin.
        """
        told = read_keys(self.creds).inbox if self.creds else ""
        return told or f"_INBOX_{name}"


ANYBODY = Login()


class Keys(Struct, frozen=True, kw_only=True):
    """What a credentials file holds; ``jwt`` is empty where the key alone says who it is, and
    ``inbox`` where the user may listen anywhere.
    """

    public: str
    seed: str
    jwt: str = ""
    inbox: str = ""

    def sign(self, nonce: str) -> bytes:
        """The signature that proves to the server who we are."""
        from store.jetstream import nkeys

        return nkeys.sign(self.seed, nonce)

    def __repr__(self) -> str:
        return f"Keys({self.public})"


def read_keys(path: str) -> Keys:
    """The key of a credentials file, with its JWT where it has one; raises BadLogin."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            text = file.read(FILE_BYTES_MAX)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise BadLogin(
            f"the credentials file {path} can't be read ({reason}); correct SNORRI_NATS_CREDS"
        ) from None
    from store.jetstream import nkeys  # not at the top: most connections need no cryptography

    seed, jwt, inbox = (shape.search(text) for shape in (nkeys.SEED_SHAPE, _JWT, _INBOX))
    try:
        if seed is None:
            raise nkeys.BadSeed("no seed of a NATS user (SU…) in it")
        return Keys(
            public=nkeys.public_key(seed[0]),
            seed=seed[0],
            jwt=jwt[1] if jwt else "",
            inbox=inbox[1] if inbox else "",
        )
    except nkeys.BadSeed as error:
        raise BadLogin(
            f"the credentials file {path} can't be used: {error}; `snorri nats-users` writes good "
            "ones"
        ) from None


def tls_context(login: Login) -> ssl.SSLContext:
    """TLS that checks the server's certificate and name; raises BadLogin."""
    if login.tls_key and not login.tls_cert:
        raise BadLogin("SNORRI_NATS_TLS_KEY is set without SNORRI_NATS_TLS_CERT; set both")
    try:
        context = ssl.create_default_context(cafile=login.tls_ca)
    except (OSError, ssl.SSLError) as error:
        raise BadLogin(
            f"the CA file {login.tls_ca} can't be used ({_reason(error)}); it must hold "
            "certificates in PEM: correct SNORRI_NATS_TLS_CA"
        ) from None
    if login.tls_cert:
        try:
            # An empty password: a key that is encrypted is an error, not a prompt.
            context.load_cert_chain(login.tls_cert, login.tls_key, password="")
        except (OSError, ssl.SSLError) as error:
            raise BadLogin(
                f"the client certificate {login.tls_cert} can't be used ({_reason(error)}); it and "
                "its unencrypted key must be PEM: correct SNORRI_NATS_TLS_CERT, SNORRI_NATS_TLS_KEY"
            ) from None
    return context


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


class LoginClient(Client):
    """nats-py's client, logged in as a ``Login`` says."""

    def __init__(self, login: Login = ANYBODY) -> None:
        super().__init__()
        self._login = login

    def prepare(self) -> ssl.SSLContext | None:
        """What ``connect`` needs as its ``tls``; raises BadLogin for a file that can't be used."""
        if self._login.creds:
            self._take(read_keys(self._login.creds))
        return tls_context(self._login) if self._login.has_tls else None

    def _connect_command(self) -> bytes:
        server = self._current_server
        scheme = server.uri.scheme if server is not None else ""
        wanted = scheme == "tls" or (self._login.has_tls and scheme not in ("ws", "wss"))
        if wanted and not self._server_info.get("tls_required"):
            raise errors.Error(
                "the server offers no TLS, and without it nothing is sent; give it a certificate, "
                "or ask for no TLS"
            )
        if self._login.creds:
            try:
                self._take(read_keys(self._login.creds))
            except BadLogin as error:
                raise errors.Error(str(error)) from None
        return super()._connect_command()

    def _take(self, keys: Keys) -> None:
        self._signature_cb = keys.sign
        self._public_nkey = keys.public
        self._user_jwt_cb = partial(bytearray, keys.jwt.encode()) if keys.jwt else None
