"""Commands that ask a running API: where it is, who asks, and what its refusals mean here.

The token comes from ``SNORRI_TOKEN``; on loopback without an auth file none is needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec

from server.commands.common import UNREACHED, USAGE, Failed
from server.https import verification_of
from server.settings import Settings

TOKEN = "SNORRI_TOKEN"  # noqa: S105 - the name of a variable
CONNECT_S = 5.0
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - asked, not bound


def api_url(settings: Settings) -> str:
    """Where the API of these settings listens."""
    host = ANY_ADDRESS.get(settings.host, settings.host)
    scheme = "https" if settings.tls_cert or settings.tls_ca else "http"
    place = f"[{host}]" if ":" in host else host
    return f"{scheme}://{place}:{settings.port}"


@contextmanager
def open_api(settings: Settings, timeout_s: float) -> Iterator[httpx.Client]:
    """A client of the API. Raises Failed with exit code 3 when none answers."""
    token = os.environ.get(TOKEN)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    timeout = httpx.Timeout(timeout_s, connect=CONNECT_S)
    url, verify = api_url(settings), verification_of(settings)
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=timeout, verify=verify) as client:
            yield client
    except httpx.TransportError as error:
        raise Failed(
            f"no API answers at {url} ({error}); start one with `snorri dev` or `snorri serve`,"
            f" or say where it is with --host and --port{_hint(error)}",
            UNREACHED,
        ) from error


def _hint(error: httpx.TransportError) -> str:
    if "CERTIFICATE_VERIFY_FAILED" not in str(error):
        return ""
    return "; SNORRI_TLS_CA names the CA that its certificate is of"


class Refusal(Failed):
    """A problem document of the API as the failure of a command."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(f"{problem.get('detail')} {problem.get('next', '')}".strip())
        self.problem = problem


def check(answer: httpx.Response) -> None:
    """Raises Failed for an answer that is an error; its body must have been read."""
    if answer.is_success:
        return
    try:
        problem = msgspec.json.decode(answer.content, type=dict[str, Any])
    except msgspec.DecodeError:
        raise Failed(
            f"{answer.request.url} answered {answer.status_code} and is no API of Snorri;"
            " correct --host and --port",
            UNREACHED,
        ) from None
    if answer.status_code == 401:
        raise Failed(f"{problem.get('detail')} Set {TOKEN} to a token of yours.", USAGE)
    raise Refusal(problem)
