"""Announcements of releases: each is made once, in order, with the facts behind it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.enums import GateVerdict, PairSource, QuarantineStatus, Split
from storage.database.tables import (
    AliasMoveRow,
    RoundRow,
    VersionRow,
)
from storage.operations.outbox import OutboxMessage, give_back, take
from storage.releases.announcements import (
    Announceable,
    PromotionAnnouncement,
    prepare_announcement,
    unannounced,
)
from storage.releases.contests import read_contest
from storage.releases.promotion import conclude
from storage.releases.versions import AliasMove, Version, find_version, read_alias
from storage.settings.sections import ReleaseSettings, VoteSettings
from storage.votes.votes import Vote
from storage.wording import SCHEDULE
from tests.past import add_round, add_version, go_back, lead, pair, quarantine
from tests.seeding import ALICE, BOB, CAROL, add_reply, choose, vote
from tests.storage.together import at_once


@dataclass
class Server:
    session: Session
    personality_id: int

    def add(self, parent: Version | None = None, verdict: GateVerdict = GateVerdict.PASS, **pairs: int) -> Version:
        """Add a version, made by a round that trained on so many pairs by source, with one more for validation."""
        manifest = [pair(None, None, source=PairSource(source)) for source in pairs for _ in range(pairs[source])]
        manifest += [pair(None, None, split=Split.VALIDATION)] if pairs else []
        gate = {"verdict": verdict, "checks": [{"name": "x", "outcome": verdict, "sentence": "it babbles"}]}
        return add_version(self.session, add_round(self.session, 0, manifest, gate=gate), parent, verdict=verdict)

    def promote(self, to: Version | None, *, override: bool = False) -> None:
        lead(self.session, to, reason="kinder", override=override)

    def judge(self, version: Version, *, auto_promote: bool = False, **sides: int) -> None:
        """Let people choose between the version and the champion, and do what that decides."""
        choose(self.session, version, read_alias(self.session, self.personality_id).version, **sides)
        contest = read_contest(self.session, self.personality_id, VoteSettings())
        assert conclude(self.session, contest, contest.decision, ReleaseSettings(auto_promote=auto_promote))

    def waiting(self) -> list[OutboxMessage[Announceable]]:
        return unannounced(self.session, self.personality_id)

    def next(self) -> Announceable | None:
        entry = take(self.session, self.waiting())
        return entry.content if entry else None

    def story(self) -> PromotionAnnouncement:
        story = prepare_announcement(self.session, self.next())
        assert isinstance(story, PromotionAnnouncement)
        return story


@pytest.fixture
def server(session: Session, personality_id: int) -> Server:
    return Server(session, personality_id)


def test_every_move_of_the_champion_is_news_once_and_in_order(server: Server) -> None:
    assert not server.waiting()
    server.promote(server.add())
    go_back(server.session)
    assert server.waiting()
    told = [server.next(), server.next()]
    assert [news.reason for news in told if isinstance(news, AliasMove)] == ["kinder", "worse"]
    assert server.next() is None
    assert not server.waiting()


def test_a_version_that_the_schedule_made_is_news_once_and_again_when_people_decided(server: Server) -> None:
    version = server.add(verdict=GateVerdict.NOT_ENOUGH_EVIDENCE)
    assert server.next() is None, "whoever asked for the round sees its end"
    server.session.execute(update(RoundRow).values(requested_by=SCHEDULE))
    assert server.next() == version
    assert server.next() is None
    server.judge(version, wins=9)
    decided = server.next()
    assert isinstance(decided, Version)
    assert decided.decided_at is not None
    assert server.next() is None


@pytest.mark.parametrize("sides", [{"wins": 9}, {"losses": 9}])
def test_a_version_that_people_decided_about_is_news_once(server: Server, sides: dict[str, int]) -> None:
    version = server.add(verdict=GateVerdict.NOT_ENOUGH_EVIDENCE)
    assert server.next() is None
    server.judge(version, **sides)
    news = server.next()
    assert news == find_version(server.session, version.id)
    assert prepare_announcement(server.session, news) == news
    assert server.next() is None


def test_a_promotion_by_what_people_decided_is_news_instead(server: Server) -> None:
    server.judge(server.add(verdict=GateVerdict.NOT_ENOUGH_EVIDENCE), auto_promote=True, wins=9)
    assert [type(entry.content) for entry in server.waiting()] == [AliasMove]


def test_an_announcement_that_could_not_be_sent_is_tried_again(server: Server) -> None:
    server.promote(server.add())
    entry = take(server.session, server.waiting())
    give_back(server.session, entry)
    assert server.next() == entry.content


def test_news_of_more_than_a_day_ago_is_passed_over(server: Server) -> None:
    server.promote(server.add())
    server.judge(server.add(verdict=GateVerdict.NOT_ENOUGH_EVIDENCE), losses=9)
    long_ago = utc_now() - timedelta(hours=25)
    server.session.execute(update(AliasMoveRow).values(moved_at=long_ago))
    server.session.execute(update(VersionRow).values(decided_at=long_ago))
    server.promote(None)
    assert server.story().after is None
    assert server.next() is None
    assert not server.waiting()


def test_one_of_two_bots_announces(database: Database, personality_id: int) -> None:
    with database.transaction() as session:
        server = Server(session, personality_id)
        server.promote(server.add())
    told = at_once(database, 4, lambda session, _: Server(session, personality_id).next())
    assert len([news for news in told if news is not None]) == 1


def test_a_story_names_what_lies_between_the_two_versions(server: Server) -> None:
    first = server.add(siblings=4)
    second = server.add(first, siblings=3, correction=2)
    third = server.add(second, siblings=5)
    server.promote(first)
    server.next()
    reply_id = add_reply(server.session, personality_id=server.personality_id, version_id=first.id)
    vote(server.session, reply_id, ALICE, Vote.UP)
    vote(server.session, reply_id, BOB, Vote.DOWN)
    vote(server.session, reply_id, BOB, Vote.DOWN, added=False)
    vote(server.session, reply_id, BOB, Vote.UP)
    server.promote(third)
    story = server.story()
    assert (story.before, story.after, story.is_return) == (first, third, False)
    assert (story.rounds, story.pairs, story.votes) == (2, {"siblings": 8, "correction": 2}, 2)
    server.promote(None)
    assert server.story().votes == 0


@pytest.mark.parametrize(
    ("status", "votes"),
    [(QuarantineStatus.OPEN, 1), (QuarantineStatus.EXCLUDED, 1), (QuarantineStatus.COUNTED, 3)],
)
def test_a_story_does_not_count_quarantined_votes(server: Server, status: QuarantineStatus, votes: int) -> None:
    reply_id = add_reply(server.session, personality_id=server.personality_id)
    for user_id in (ALICE, BOB, CAROL):
        vote(server.session, reply_id, user_id, Vote.UP)
    for _ in range(2):  # a vote in two quarantines is left out once
        quarantine(server.session, 0, [(reply_id, BOB), (reply_id, CAROL)], status=status)
    server.promote(server.add())
    assert server.story().votes == votes


def test_the_first_version_shows_its_whole_line(server: Server) -> None:
    second = server.add(server.add(siblings=4), siblings=3)
    server.promote(second)
    story = server.story()
    assert (story.before, story.rounds, story.pairs) == (None, 2, {"siblings": 7})


def test_a_version_that_answered_before_is_announced_as_a_return(server: Server) -> None:
    first = server.add()
    for to in (first, None, first):
        server.promote(to)
    assert [server.story().is_return for _ in range(3)] == [False, True, True]


def test_an_override_names_what_the_gate_found(server: Server) -> None:
    server.promote(server.add(verdict=GateVerdict.FAIL), override=True)
    story = server.story()
    assert story.move.overrides_gate
    assert story.failed_checks == ["it babbles"]
