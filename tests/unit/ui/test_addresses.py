"""Addresses of pages: hostile keys stay one part of a path, and empty parameters vanish."""

from __future__ import annotations

from ui.addresses import Addresses


def test_a_key_is_one_part_whatever_it_holds() -> None:
    to = Addresses("/ops")
    assert to.instance("A", "a/b?c#d e%") == "/ops/instances/A/a%2Fb%3Fc%23d%20e%25"
    assert to.instance("A", "ø", "/act/retry", {"version": 3}) == (
        "/ops/instances/A/%C3%B8/act/retry?version=3"
    )


def test_parameters_that_say_nothing_are_left_out() -> None:
    to = Addresses()
    assert to.page("/instances", {"saga": None, "status": ["a", "b"], "q": ""}) == (
        "/instances?status=a&status=b"
    )
    assert to.page("/", None) == "/"
