"""How the processes and commands of these settings log in to NATS."""

from __future__ import annotations

from server.errors import SettingsError
from server.settings import Settings
from store.jetstream.login import BadLogin, Login


def login_of(settings: Settings) -> Login:
    """The files named in the settings, looked into; an embedded server is on loopback and has no
    TLS. Raises SettingsError for a file that can't be used.
    """
    login = Login(creds=settings.nats_creds)
    if settings.nats_url is not None:
        login = Login(
            creds=settings.nats_creds,
            tls_ca=settings.nats_tls_ca,
            tls_cert=settings.nats_tls_cert,
            tls_key=settings.nats_tls_key,
        )
    try:
        login.check()
    except BadLogin as error:
        raise SettingsError(str(error)) from None
    return login
