"""HTTPS without a proxy: the API's certificate, and by which CA commands know it."""

from __future__ import annotations

import ssl

from msgspec import Struct

from server.errors import SettingsError
from server.settings import Settings


class Certificate(Struct, frozen=True):
    """Files in PEM: the certificate with its chain, and the key where that is another file."""

    cert: str
    key: str | None = None


def certificate_of(settings: Settings) -> Certificate | None:
    """What the API proves with who it is, None for plain HTTP; raises SettingsError for files that
    can't be used.
    """
    if settings.tls_cert is None:
        if settings.tls_key is not None:
            raise SettingsError("SNORRI_TLS_KEY is set without SNORRI_TLS_CERT; set both")
        return None
    found = Certificate(settings.tls_cert, settings.tls_key)
    try:
        # An empty password: a key that is encrypted is an error, not a prompt.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(found.cert, found.key, password="")
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"the certificate {found.cert} can't be used ({error.strerror or type(error).__name__})"
            "; it and its unencrypted key must be PEM and belong together: correct SNORRI_TLS_CERT "
            "and SNORRI_TLS_KEY"
        ) from None
    return found


def verification_of(settings: Settings) -> ssl.SSLContext | bool:
    """What a client of the API checks its certificate with; raises SettingsError."""
    if settings.tls_ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=settings.tls_ca)
    except OSError as error:
        raise SettingsError(
            f"the CA file {settings.tls_ca} can't be used "
            f"({error.strerror or type(error).__name__}); it must hold certificates in PEM: "
            "correct SNORRI_TLS_CA"
        ) from None
