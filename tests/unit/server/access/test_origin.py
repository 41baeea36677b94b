"""Goal: no foreign page and no foreign name passes, and nothing that is ours is refused.

Method: headers as browsers, proxies and attackers write them.
"""

from __future__ import annotations

import ipaddress

import pytest

from server.access import origin


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8092", "a.localhost", "127.0.0.1", "127.9.9.9:80", "[::1]:8092"],
)
def test_names_and_addresses_of_this_machine_are_ours(host: str) -> None:
    assert origin.host_allowed(host, (), only_local=True)


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "a b",
        "[::1",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil@localhost",
        "localhost/x",
        "localhost?x",
        "localhost:port",
        "localhost:99999",
        f"{'a' * 400}.localhost",
    ],
)
def test_other_names_and_nonsense_are_not(host: str) -> None:
    assert not origin.host_allowed(host, (), only_local=True)


def test_with_users_any_host_or_those_that_are_named() -> None:
    assert origin.host_allowed("any.example:80", (), only_local=False)
    named = ("Snorri.example", "*.apps.example")
    assert origin.host_allowed("snorri.EXAMPLE:80", named, only_local=False)
    assert origin.host_allowed("a.apps.example.", named, only_local=False)
    assert not origin.host_allowed("apps.example", named, only_local=False)
    assert not origin.host_allowed("evilapps.example", named, only_local=False)
    assert not origin.host_allowed("evil.example", named, only_local=False)


@pytest.mark.parametrize(
    ("site", "page", "ours"),
    [
        (None, None, True),
        ("same-origin", "http://other.example", True),
        ("none", None, True),
        ("same-site", "http://a.shop.example", False),
        ("cross-site", None, False),
        ("nonsense", "http://shop.example:8092", False),
        (None, "http://shop.example:8092", True),
        (None, "http://SHOP.example:8092", True),
        (None, "http://shop.example", False),
        (None, "http://evil.example:8092", False),
        (None, "http://shop.example:8092.evil.example", False),
        (None, "http://shop.example:8092@evil.example", False),
        (None, "null", False),
        (None, "", False),
        (None, "file://shop.example:8092", False),
        (None, "http://[", False),
        (None, "http://shop.example:x", False),
    ],
)
def test_a_change_must_come_from_a_page_of_ours(
    site: str | None, page: str | None, ours: bool
) -> None:
    assert origin.from_own_page("shop.example:8092", site, page) is ours


def test_ports_that_are_not_written_are_those_of_the_scheme() -> None:
    assert origin.from_own_page("shop.example", None, "https://shop.example")
    assert origin.from_own_page("shop.example", None, "http://shop.example:80")
    assert origin.from_own_page("shop.example:443", None, "https://shop.example")
    assert not origin.from_own_page("shop.example", None, "https://shop.example:8443")


def test_the_address_behind_a_proxy_is_the_last_one_that_is_no_proxy() -> None:
    ours = (ipaddress.ip_network("10.0.0.0/8"),)
    assert origin.forwarded_for("10.0.0.1", "1.2.3.4", ours) == "1.2.3.4"
    assert origin.forwarded_for("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", ours) == "1.2.3.4"
    assert origin.forwarded_for("10.0.0.1", "6.6.6.6, nonsense", ours) == "10.0.0.1"
    assert origin.forwarded_for("10.0.0.1", "", ours) == "10.0.0.1"


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        (None, True),
        ("192.168.1.5", False),
        ("::ffff:192.168.1.5", False),
        ("0.0.0.0", False),
    ],
)
def test_what_comes_over_a_network_is_not_local(peer: str | None, local: bool) -> None:
    assert origin.is_local(peer) is local
