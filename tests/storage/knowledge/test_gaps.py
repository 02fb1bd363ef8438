"""Answers with reported wrong facts wait for an admin of their server."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from storage.database.enums import Cause
from storage.database.tables import ReplyRow
from storage.knowledge.gaps import MOST_READ, count_gaps, open_gaps, settle_gaps
from storage.votes.corrections import give_cause
from storage.votes.votes import Vote
from tests.seeding import ALICE, BOB, CAROL, add_reply, vote

pytestmark = pytest.mark.usefixtures("personality_id")

GUILD = 7


def wrong(session: Session, *members: int, cause: Cause = Cause.WRONG_FACT, guild_id: int | None = GUILD) -> int:
    """Add an answer that members dislike for a cause."""
    reply_id = add_reply(session, guild_id=guild_id)
    for member in members:
        vote(session, reply_id, member, Vote.DOWN)
        give_cause(session, reply_id, member, cause)
    return reply_id


def test_gaps_are_the_wrong_facts_of_the_server_newest_first(session: Session) -> None:
    first, second = wrong(session, ALICE, BOB), wrong(session, CAROL)
    wrong(session, ALICE, cause=Cause.TOO_LONG)
    wrong(session, ALICE, guild_id=8)
    found = open_gaps(session, GUILD)
    assert [(gap.reply_id, gap.members) for gap in found] == [(second, 1), (first, 2)]
    assert found[1].messages == [{"role": "user", "content": "<|user|>hello<|bot|>"}]


def test_a_withdrawn_thumb_closes_its_gap(session: Session) -> None:
    reply_id = wrong(session, ALICE)
    vote(session, reply_id, ALICE, Vote.DOWN, added=False)
    assert open_gaps(session, GUILD) == []


def test_a_settled_gap_opens_again_when_another_member_reports_it(session: Session) -> None:
    reply_id = wrong(session, ALICE)
    settle_gaps(session, [reply_id], "grace")
    assert open_gaps(session, GUILD) == []
    vote(session, reply_id, BOB, Vote.DOWN)
    give_cause(session, reply_id, BOB, Cause.WRONG_FACT)
    assert [(gap.reply_id, gap.members) for gap in open_gaps(session, GUILD)] == [(reply_id, 1)]


def test_an_old_gap_is_found_below_many_newer_ones_and_withdrawn_reports_hide_none(session: Session) -> None:
    oldest = wrong(session, ALICE)
    newer = [wrong(session, BOB) for _ in range(MOST_READ)]
    assert [gap.reply_id for gap in open_gaps(session, GUILD)] == newer[::-1]
    assert [gap.reply_id for gap in open_gaps(session, GUILD, among=[oldest])] == [oldest]
    vote(session, newer[0], BOB, Vote.DOWN, added=False)
    assert open_gaps(session, GUILD)[-1].reply_id == oldest


def test_gaps_are_read_and_counted_in_visible_channels_only(session: Session) -> None:
    seen, hidden = wrong(session, ALICE, BOB), wrong(session, CAROL)
    channels = {reply_id: session.get_one(ReplyRow, reply_id) for reply_id in (seen, hidden)}
    channels[hidden].channel_id = 99
    vote(session, wrong(session, ALICE), ALICE, Vote.DOWN, added=False)
    vote(session, wrong(session, BOB), BOB, Vote.UP)
    settle_gaps(session, [wrong(session, CAROL)], "grace")
    wrong(session, ALICE, guild_id=None)
    session.get_one(ReplyRow, wrong(session, ALICE, guild_id=8)).channel_id = 98
    visible = {channels[seen].channel_id}
    assert [gap.reply_id for gap in open_gaps(session, GUILD, visible)] == [seen]
    assert open_gaps(session, GUILD, ()) == []
    counted = [count_gaps(session, shown) for shown in (visible, (), None)]
    assert counted == [{GUILD: 1}, {}, {GUILD: 2, 8: 1}]
