"""From where a request comes: the host it was sent to, the page that sent it, the address. Pure.

A browser sends requests for any page it shows, also for hostile ones. Two checks tell them apart:
the Host header must name this machine or a host that is allowed (a page can make its own name point
here: DNS rebinding), and what changes anything must not come from a page of another origin.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from server.access.file import Network

HOST_CHARS_MAX = 300  # what is longer is no name, and would only fill the caches below
ADDRESS_CHARS_MAX = 100

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITES = frozenset({"same-origin", "none"})  # none: typed or bookmarked, no page sent it


@lru_cache(maxsize=1024)  # each request asks for the same few
def host_name(header: str) -> str | None:
    """The name or address in a Host header, without the port, in lower case; None for nonsense."""
    try:
        url = urlsplit(f"//{header}")
        name, _ = url.hostname, url.port
    except ValueError:
        return None
    if not name or url.path or url.query or url.fragment or "@" in header:
        return None
    return name.rstrip(".")


def host_allowed(header: str, allowed: Sequence[str], *, only_local: bool) -> bool:
    """Whether a request to this Host is for us.

    A literal address always is: no foreign page can have it as its name. With ``only_local`` names
    other than localhost are not, otherwise ``allowed`` decides, empty being any.
    """
    name = host_name(header) if len(header) <= HOST_CHARS_MAX else None
    if name is None:
        return False
    if _address(name) is not None or name == "localhost" or name.endswith(".localhost"):
        return True
    if any(_matches(name, pattern.lower()) for pattern in allowed):
        return True
    return not only_local and not allowed


def _matches(name: str, pattern: str) -> bool:
    return name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern


def from_own_page(host: str, site: str | None, origin: str | None) -> bool:
    """Whether a request that changes something was sent by a page of ours or by no page at all.

    ``site`` is Sec-Fetch-Site, which browsers send where they trust the connection; ``origin`` is
    what they send otherwise. Programs send neither.
    """
    if site is not None:
        return site in OWN_SITES
    if origin is None:
        return True
    try:
        url = urlsplit(origin)
        return url.scheme in ("http", "https") and _port_named(url.netloc, url.scheme) in (
            _port_named(host, "http"),
            _port_named(host, "https"),
        )
    except ValueError:
        return False


def _port_named(netloc: str, scheme: str) -> tuple[str, int]:
    url = urlsplit(f"//{netloc}")
    return (url.hostname or "").rstrip("."), url.port or (443 if scheme == "https" else 80)


def is_local(peer: str | None) -> bool:
    """Whether a connection comes from this machine; what has no address is no network's."""
    address = _address(peer) if peer else None
    return address is None or address.is_loopback


def is_trusted(peer: str | None, networks: Iterable[Network]) -> bool:
    """Whether a connection comes from one of ``networks``."""
    address = _address(peer) if peer else None
    return address is not None and any(address in network for network in networks)


def forwarded_for(peer: str, header: str, networks: Sequence[Network]) -> str:
    """Who asked a trusted proxy: the last address of X-Forwarded-For that is no proxy itself."""
    for one in reversed([part.strip() for part in header.split(",")]):
        if len(one) > ADDRESS_CHARS_MAX or _address(one) is None:
            break
        peer = one
        if not is_trusted(one, networks):
            break
    return peer


@lru_cache(maxsize=1024)
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    return mapped or found
