"""Answers at another strength than trained say nothing of the version itself."""

from __future__ import annotations

from sqlalchemy.orm import Session

from storage.votes.votes import Tally, Vote, read_version_votes
from tests.past import add_version
from tests.seeding import ALICE, add_reply, vote


def test_votes_at_another_strength_are_not_the_versions(session: Session, personality_id: int) -> None:
    version = add_version(session, None)
    half, whole = (add_reply(session, version_id=version.id, strength=strength) for strength in (0.5, 1.0))
    vote(session, half, ALICE, Vote.DOWN)
    vote(session, whole, ALICE, Vote.UP)
    assert read_version_votes(session, personality_id).by_version == {version.id: Tally(up=1, down=0)}
