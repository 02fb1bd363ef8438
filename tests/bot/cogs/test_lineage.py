"""Admins see which votes made a version; members see what became of their own."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.text.lineage import as_plain_text, outcome_lines
from bot.text.splitting import fit_lines
from storage.database.enums import AuditOutcome, GateVerdict, PairSource, QuarantineStatus, RoundStatus, Split
from storage.database.tables import AuditRow, ReplyRow
from storage.insights.vote_outcomes import PairRole, TasteUse, VoteOutcome, VoteStatus, VoteUse
from storage.releases.promotion import promote
from storage.training.trainable import Obstacle
from storage.votes.votes import Vote
from tests.past import add_arena, add_round, add_version, day, pair, quarantine, thumb_on
from tests.seeding import add_correction, add_reply, message_of

UP, DOWN = Vote.UP, Vote.DOWN


@pytest.fixture
def v1(place, query):
    """A version made from a liked and a disliked answer, and a suggestion; returns the ids of the two replies."""

    def write(session):
        liked, disliked = (add_reply(session, prompt="<|user|>q<|bot|>", answer=a) for a in ("tea, *always*", "no"))
        thumb_on(session, 0, liked, place.ada.id, UP)
        thumb_on(session, 0, liked, 4242, UP)
        thumb_on(session, 0, disliked, place.ada.id, DOWN)
        suggestion = add_correction(session, disliked, "yes", author_id=place.bo.id)
        pairs = [
            pair(liked, disliked),
            pair(None, disliked, source=PairSource.CORRECTION, correction_id=suggestion, split=Split.VALIDATION),
        ]
        voters = {place.ada.id: (0.625, 0.25), 4242: (0.375, 0.125)}
        version = add_version(session, add_round(session, 1, pairs, voters=voters))
        promote(session, 1, version, expected_generation=0, by="grace", reason="")
        return liked, disliked

    return query(write)


async def lineage(place, version: str):
    shown = await place.grace.slash(place.channel, "version show", version=version)
    return (await place.grace.click(shown.response, label="History")).response


class TestLineage:
    async def test_it_names_rounds_voters_pairs_and_links(self, place, v1, rows):
        shown = await lineage(place, "v1")
        ada, bo = f"<@{place.ada.id}>", f"<@{place.bo.id}>"
        liked, disliked = (
            f"[answer {reply}](<https://discord.com/channels/@me/11/{message_of(reply)}>)" for reply in v1
        )
        assert shown.content == "\n".join(
            [
                "**v1** (v1 ← base) was made in 1 round. Behind the pairs: 3 votes (👍 2 👎 1) and 1 suggested answer "
                "by 3 members.",
                "**Round 1** made v1 from base on 2026-10-02, requested by grace (7): 1 pair trained on "
                "(1 from answers to the same question), 1 for validation",
                f"Members: {ada} 👍 1 👎 1, 62.5% of the weight (without them, 25% of the pairs would change) · "
                "<@4242> 👍 1 👎 0, "
                f"37.5% of the weight (without them, 12.5% of the pairs would change) · {bo} 👍 0 👎 0, 1 suggestion",
                f"1. {liked} (👍 {ada}, <@4242>) over {disliked} (👎 {ada}) "
                "· from answers to the same question, weight 0.5, trained on",
                f"2. a suggestion by {bo} over {disliked} (👎 {ada}) · from suggestions, weight 0.5, for validation",
            ]
        )
        assert shown.flags.ephemeral
        assert shown.attachments == []
        line = rows(AuditRow)[-1]
        assert (line.actor_id, line.action, line.subject, line.outcome) == (
            place.grace.id,
            "version history",
            "version: v1, personality: default",
            AuditOutcome.DONE,
        )

    async def test_a_lineage_too_long_for_a_message_is_counted_and_attached(self, place, query):
        def write(session):
            replies = [add_reply(session, answer=str(i)) for i in range(80)]
            for reply in replies:
                thumb_on(session, 0, reply, place.ada.id, UP)
            add_version(session, add_round(session, 1, [pair(a, b) for a, b in pairwise(replies)]))

        query(write)
        shown = await lineage(place, "v1")
        *kept, last = shown.content.splitlines()
        assert len(shown.content) <= 2000
        (file,) = shown.attachments
        assert file.filename == "history-v1.txt"
        lines = (await file.read()).decode().splitlines()
        assert last == f"-# … {len(lines) - len(kept)} more: the attached file has everything."
        assert len([line for line in lines if " over " in line]) == 79
        assert "**" not in "".join(lines)
        assert f"https://discord.com/channels/@me/11/1000001 (👍 user {place.ada.id})" in lines[3]

    async def test_a_version_without_a_round_says_so(self, place, query):
        query(lambda session: add_version(session, None))
        shown = await lineage(place, "v1")
        assert shown.content.splitlines() == [
            "**v1** (v1 ← base) was made in 0 rounds. Behind the pairs: 0 votes.",
            "No round is known for v1; imported versions have none.",
        ]

    async def test_deleted_quarantined_and_changed_votes_are_reported(self, place, query):
        def write(session):
            a, b, c, d = (add_reply(session, answer=str(i)) for i in range(4))
            for reply in (a, b):
                thumb_on(session, 0, reply, place.ada.id, UP)
            quarantine(session, 0, [(a, place.ada.id)], status=QuarantineStatus.EXCLUDED)
            round_id = add_round(session, 1, [pair(a, b), pair(c, d)])
            thumb_on(session, 2, b, place.ada.id, UP, added=False)
            add_version(session, round_id)
            session.delete(session.get_one(ReplyRow, d))

        query(write)
        lines = (await lineage(place, "v1")).content.splitlines()
        assert f"(👍 <@{place.ada.id}> (did not count))" in lines[3]
        assert f"(👍 <@{place.ada.id}> (changed since))" in lines[3]
        assert "over (deleted)" in lines[4]
        assert "1 of them deleted since" in lines[1]

    @pytest.mark.threat("T77")
    async def test_an_admin_of_one_of_several_servers_does_not_see_the_voters_of_others(self, place, env, v1, rows):
        env.create_guild("Elsewhere")
        shown = await lineage(place, "v1")
        assert "**default** answers in other servers too" in shown.content
        assert (rows(AuditRow)[-1].action, rows(AuditRow)[-1].outcome) == ("version history", AuditOutcome.REFUSED)


WAITS = "waiting for a training round that can use it; counts towards what members here like"


class TestMyVotes:
    async def test_a_member_sees_their_own_votes_and_no_others(self, place, v1):
        liked, disliked = v1
        shown = (await place.ada.slash(place.channel, "myvotes")).response
        assert shown.flags.ephemeral
        assert shown.content.splitlines() == [
            "You voted on 2 answers: 2 trained on.",
            f"👎 [2026-10-01](<https://discord.com/channels/@me/11/{message_of(disliked)}>) “no”: counts "
            "towards what members here like; used as the worse answer in round 1 → **v1** (passed the checks), which "
            "answers now; a suggested answer was preferred to it "
            "in round 1 (to decide when training stops, not to train on) → **v1** (passed the checks), which answers "
            "now",
            f"👍 [2026-10-01](<https://discord.com/channels/@me/11/{message_of(liked)}>) “tea, \\*always\\*”: "
            "counts towards what members here like; used as the better answer in round 1 → **v1** (passed the checks), "
            "which answers now",
        ]
        assert (await place.bo.slash(place.channel, "myvotes")).response.content == "You haven't voted yet."
        assert (await place.ada.user.slash("myvotes")).response.content == shown.content, "in direct messages too"

    async def test_many_votes_are_attached(self, place, query, base):
        def write(session):
            for i in range(40):
                reply = add_reply(session, answer=f"answer {i}", base_revision=base.revision)
                thumb_on(session, i, reply, place.ada.id, UP)

        query(write)
        shown = (await place.ada.slash(place.channel, "myvotes")).response
        (file,) = shown.attachments
        lines = (await file.read()).decode().splitlines()
        assert len(lines) == 41
        assert lines[1].endswith(
            "“answer 39”: waiting for a training round that can use it; counts towards what members here like"
        )

    async def test_the_menu_shows_one_vote(self, place):
        answer = await place.ask("hi")
        await place.ada.react(answer, "👍")
        shown = (await place.ada.context_menu(place.channel, "What became of my vote?", answer)).response
        assert shown.flags.ephemeral
        assert shown.content.endswith(f"“answer 1”: {WAITS}")
        assert f"/{place.channel.id}/{answer.id}>" in shown.content
        await place.ada.unreact(answer, "👍")
        again = (await place.ada.context_menu(place.channel, "What became of my vote?", answer)).response
        assert again.content.endswith(": taken back")
        other = (await place.bo.context_menu(place.channel, "What became of my vote?", answer)).response
        assert other.content == "You have not voted on that answer."
        message = await place.bo.send(place.channel, "not an answer")
        refused = (await place.ada.context_menu(place.channel, "What became of my vote?", message)).response
        assert refused.content == "That message isn't one of my answers."

    async def test_the_menu_shows_every_arena_answer_but_not_its_version(self, place, query):
        message = await place.bo.send(place.channel, "stands for an arena's message")

        def write(session):
            version = add_version(session, None)
            replies = [add_reply(session, answer=f"blind {i}", version_id=version.id) for i in (1, 2)]
            add_arena(session, replies, channel_id=place.channel.id, message_id=message.id)
            for reply, said in zip(replies, (UP, DOWN), strict=True):
                thumb_on(session, 1, reply, place.ada.id, said)

        query(write)
        shown = (await place.ada.context_menu(place.channel, "What became of my vote?", message)).response
        assert [line[0] for line in shown.content.splitlines()] == ["👎", "👍"]
        assert "v1" not in shown.content


def outcome(
    kind: VoteStatus,
    vote: Vote | None = UP,
    *,
    weight: float = 1.0,
    obstacle=None,
    uses=(),
    taste: TasteUse = TasteUse.COUNTS,
) -> VoteOutcome:
    answer = "an  answer\nof lines " + "x" * 60
    return VoteOutcome(1, answer, None, vote, day(0), weight, kind, obstacle, tuple(uses), "default", taste)


def use(**changes) -> VoteUse:
    usual = {
        "round_id": 3,
        "status": RoundStatus.PUBLISHED,
        "role": PairRole.CHOSEN,
        "source": PairSource.SIBLINGS,
        "split": Split.TRAIN,
        "vote": UP,
        "version": "v2",
        "verdict": GateVerdict.PASS,
        "champion": None,
    }
    return VoteUse(**usual | changes)


class TestWords:
    @pytest.mark.parametrize(
        ("told", "words"),
        [
            (outcome(VoteStatus.WITHDRAWN, None), "taken back"),
            (
                outcome(VoteStatus.QUARANTINED),
                "on hold: it is one of several suspicious votes that an admin has to review",
            ),
            (
                outcome(VoteStatus.NOT_TRAINABLE, obstacle=Obstacle.NO_CONSENT),
                "but not used for training: not everyone quoted",
            ),
            (
                outcome(VoteStatus.NOT_TRAINABLE, obstacle=Obstacle.LIVE_CHAT_CLOSED),
                "Discord does not permit training on members' messages here",
            ),
            (
                outcome(VoteStatus.TRAINED, uses=[use()]),
                "used as the better answer in round 3 → v2 (passed the checks)",
            ),
            (outcome(VoteStatus.TRAINED, uses=[use(champion="v5")]), "; v5, which answers now, builds on it"),
            (
                outcome(VoteStatus.TRAINED, uses=[use(role=PairRole.REJECTED)]),
                "used as the worse answer in round 3, against your vote →",
            ),
            (
                outcome(VoteStatus.WEIGHTLESS, weight=0.0),
                "doesn't count: the account was too new, or had joined the server too recently",
            ),
            (outcome(VoteStatus.WAITING, weight=0.25), "counts as 25% of a vote"),
            (
                outcome(VoteStatus.VALIDATED, uses=[use(split=Split.VALIDATION)]),
                "(to decide when training stops, not to train on)",
            ),
            (
                outcome(VoteStatus.TRAINED, uses=[use(version=None, verdict=None, status=RoundStatus.REJECTED)]),
                "used as the better answer in round 3; its version was broken and discarded",
            ),
            (
                outcome(VoteStatus.WAITING, uses=[use(version=None, status=RoundStatus.FAILED)]),
                "that round failed, so a later one",
            ),
            (
                outcome(VoteStatus.IN_TRAINING, uses=[use(version=None, status=RoundStatus.RUNNING)]),
                "that round is still running",
            ),
            (
                outcome(VoteStatus.TRAINED, uses=[use(verdict=GateVerdict.NOT_ENOUGH_EVIDENCE)]),
                "v2 (being compared)",
            ),
            (outcome(VoteStatus.WAITING), "; counts towards what members here like"),
            (
                outcome(VoteStatus.WAITING, obstacle=Obstacle.LIVE_CHAT_CLOSED),
                "waiting for a training round that can use it; the answer itself is not trained on: Discord does not",
            ),
            (
                outcome(VoteStatus.RANKED, uses=[use(role=PairRole.RANKING, source=PairSource.TASTE)]),
                "helped to rank the answers of round 3 → v2 (passed the checks)",
            ),
            (outcome(VoteStatus.WAITING, taste=TasteUse.OPTED_OUT), "because learning is forbidden in `/privacy`"),
            (outcome(VoteStatus.WAITING, taste=TasteUse.SWITCHED_OFF), "learning from reactions is switched off"),
            (outcome(VoteStatus.ABOUT_FACTS, taste=TasteUse.WRONG_FACT), "it is about a fact, not about the style"),
            (outcome(VoteStatus.WAITING, taste=TasteUse.NO_PICK), "in an arena, only the choice does"),
        ],
    )
    def test_every_outcome_is_a_phrase(self, told, words):
        summary, line = as_plain_text(outcome_lines([told])).split("\n")
        assert summary == f"You voted on 1 answer: 1 {told.status.value}."
        assert words in line
        assert "“an answer of lines xxx" in line

    def test_a_vote_that_counts_nowhere_needs_no_word_about_the_taste(self):
        assert "members here like" not in as_plain_text(
            outcome_lines([outcome(VoteStatus.WITHDRAWN, None, taste=TasteUse.VOID)])
        )

    @given(st.lists(st.text(st.characters(exclude_characters="\n"), max_size=90), min_size=1, max_size=60))
    def test_lines_fit_and_nothing_is_lost_without_a_word(self, lines):
        shown = fit_lines(lines, "… {left} more", 200).split("\n")
        assert len("\n".join(shown)) <= 200
        if shown != lines:
            left = int(shown[-1].split()[1])
            assert shown[:-1] == lines[: len(lines) - left]

    def test_one_line_that_is_too_long_is_cut(self):
        assert fit_lines(["x" * 300], "… {left} more", 50) == "x" * 41 + "\n… 1 more"
