"""Goal: versions of nats-server that break a guarantee are refused, doubtful ones named.

Method: what a server reports goes in as text; the borders are tried on both sides.
"""

from __future__ import annotations

import pytest

from store.broker_version import BrokerTooOld, check_version, format_version, parse_version


@pytest.mark.parametrize("text", ["2.15.1", "nats-server: v2.14.4", "v2.16.0-RC.1", "3.0.0"])
def test_sound_versions_pass(text: str) -> None:
    assert check_version(text) is None


def test_a_version_with_known_defects_is_named() -> None:
    assert "2.15.1" in (check_version("2.14.3") or "")


@pytest.mark.parametrize("text", ["2.14.2", "v2.12.0", "2.9.25", "1.99.99"])
def test_old_versions_are_refused_with_the_next_step(text: str) -> None:
    with pytest.raises(BrokerTooOld, match=r"Install 2\.15\.1 or newer"):
        check_version(text)


def test_text_without_a_version_is_no_version() -> None:
    with pytest.raises(ValueError, match="no version"):
        check_version("hello")
    assert format_version(parse_version("nats-server: v2.15.1\n")) == "2.15.1"
