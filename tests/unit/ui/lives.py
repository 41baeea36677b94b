"""Histories for tests of pictures: real sagas decided by the real kernel."""

from __future__ import annotations

from sagas.instance import document_hash, encode
from sagas.testing import Scenario
from store.lookup import Revision


def revisions(scenario: Scenario) -> list[Revision]:
    """What the log would hold of the instance of a scenario."""
    return [
        Revision(seq=seq, at=one.at, hash=document_hash(encode(one)), instance=one)
        for seq, one in enumerate(scenario.history, 1)
    ]
