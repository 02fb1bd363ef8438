"""What waits for an admin's decision: suspicious votes, which do not count until then, and reported wrong facts."""

from __future__ import annotations

import discord
import pytest
from sqlalchemy import select

from bot.cogs.review import NOTHING
from storage.database.enums import QuarantineStatus
from storage.database.tables import QuarantineRow, VoteEventRow
from storage.members import read_pseudonyms
from storage.settings.sections import VoteSettings
from storage.votes.weights import read_weighted_votes
from tests.bot.cogs.test_feedback import MENU
from tests.bot.panels import delete_everything, labels
from tests.word_encoder import WordEncoder

NO_RULES = VoteSettings(account_age_days=0, membership_days=0)


@pytest.fixture
def overrides():
    """Two accounts make a burst; their age does not matter, their silence does."""
    return {
        "REACTUNE_VOTES__BURST_VOTES": "2",
        "REACTUNE_VOTES__ACCOUNT_AGE_DAYS": "0",
        "REACTUNE_VOTES__MEMBERSHIP_DAYS": "0",
    }


@pytest.fixture
def counted(query):
    """Return {reply id: users whose votes count}."""

    def read(session):
        by_reply = read_weighted_votes(session, 1, NO_RULES).by_reply
        of = read_pseudonyms(session).of
        known = {of(user_id): user_id for user_id in session.scalars(select(VoteEventRow.user_id))}
        return {reply_id: sorted(known[ballot.voter] for ballot in found) for reply_id, found in by_reply.items()}

    return lambda: query(read)


@pytest.fixture
def load_encoder():
    return WordEncoder


@pytest.fixture
def hal(place, env):
    return env.guild.add_member(env.create_user("hal"))


async def burst(place, emoji="👍"):
    """Let two members who never talk with the bot vote on the admin's answer."""
    answer = await place.ask("hi", who=place.grace)
    for member in (place.ada, place.bo):
        await member.react(answer, emoji)
    return answer


async def review(place, who=None):
    return (await (who or place.grace).slash(place.channel, "review")).response


async def report(place, question, *members):
    """Let members report a wrong fact in the answer to a question."""
    answer = await place.ask(question, who=place.grace)
    for member in members:
        await member.react(answer, "👎")
        form = await member.context_menu(place.channel, MENU, answer)
        await member.submit_modal(form, {"cause": "Wrong fact"})


async def earlier(place, shown):
    return (await place.grace.click(shown, label="Earlier decisions")).response.content


async def decide(place, shown, label, reason="", who=None):
    admin = who or place.grace
    form = await admin.click(shown, label=label)
    return (await admin.submit_modal(form, {"reason": reason})).response


class TestWhoMayDoIt:
    async def test_who_curates_documents_sees_wrong_facts_and_no_votes(self, place, env, hal, rows):
        env.show_all_commands()
        role = env.guild.create_role("curators")
        cora = env.guild.add_member(env.create_user("cora"), roles=[role])
        env.change_section("knowledge", roles=[role.id])
        await burst(place)
        refused = await place.ada.slash(place.channel, "review")
        assert "Only admins can do this" in refused.response.content
        await report(place, "who feeds the cats?", hal)
        shown = await review(place, cora)
        assert shown.content.startswith("**Waiting for a decision:** 1 reported wrong fact.")
        assert "who feeds the cats?" in shown.content
        assert "Earlier decisions" not in labels(shown)
        assert rows(QuarantineRow) == []

    @pytest.mark.threat("T74")
    async def test_an_admin_no_longer_is_refused_by_the_buttons(self, place, env, rows):
        await burst(place)
        shown = await review(place)
        await place.take_roles(place.grace)
        clicked = await place.grace.click(shown, label="Count them")
        assert "Only admins can do this" in clicked.response.content
        assert rows(QuarantineRow)[0].status is QuarantineStatus.OPEN


class TestReview:
    async def test_without_bursts_it_says_so(self, place):
        answer = await place.ask("hi", who=place.ada)
        await place.ada.react(answer, "👍")
        shown = await review(place)
        assert shown.content == NOTHING
        assert await earlier(place, shown) == "No decisions on votes yet."

    async def test_it_shows_what_happened_to_the_admin_alone(self, place, counted):
        answer = await burst(place)
        result = await place.grace.slash(place.channel, "review")
        text = result.response.content
        assert result.ephemeral
        assert f"2 👍 on [one answer]({answer.jump_url})" in text
        assert "by 2 accounts within a minute" in text
        assert f"<@{place.ada.id}>: account created <t:" in text
        assert "has never talked with me" in text
        assert counted() == {}
        await place.ada.unreact(answer, "👍")
        assert "1 has been taken back since." in (await review(place)).content

    async def test_counting_them_makes_them_count_and_keeps_who_and_why(self, place, counted, rows, caplog):
        caplog.set_level("INFO", "bot.cogs.review")
        await burst(place, "👎")
        done = await decide(place, await review(place), "Count them", "two friends\nof mine")
        assert "**Counted:** 2 👎 on [one answer]" in done.content
        assert "two friends of mine" in done.content
        assert done.content.endswith(NOTHING)
        assert labels(done) == ["Earlier decisions"]
        assert f"grace ({place.grace.id}) decided on 2 votes on hold (1): counted." in caplog.messages
        row = rows(QuarantineRow)[0]
        assert (row.status, row.decided_by, row.reason) == (
            QuarantineStatus.COUNTED,
            f"grace ({place.grace.id})",
            "two friends of mine",
        )
        assert counted() == {1: [place.ada.id, place.bo.id]}

    async def test_leaving_them_out_needs_no_reason_and_the_buttons_work_after_a_restart(
        self, place, counted, rows, env, new_bot
    ):
        await burst(place)
        shown = await review(place)
        await env.restart_bot(new_bot())
        done = await decide(place, shown, "Leave them out")
        assert "**Left out:** 2 👍 on [one answer]" in done.content
        assert rows(QuarantineRow)[0].status is QuarantineStatus.EXCLUDED
        assert counted() == {}
        assert (await review(place)).content == NOTHING

    async def test_several_are_shown_one_after_another(self, place, rows):
        await burst(place)
        await burst(place, "👎")
        first = await review(place)
        assert "2 👍 on" in first.content
        assert first.content.startswith("**Waiting for a decision:** 2 groups of suspicious votes. This is 1 of 2.")
        second = (await place.grace.click(first, label="Next")).response
        assert "2 👎 on" in second.content
        assert "This is 2 of 2." in second.content
        around = (await place.grace.click(second, label="Next")).response
        assert "2 👍 on" in around.content
        rest = await decide(place, around, "Count them")
        assert "**Counted:** 2 👍" in rest.content
        assert "**2 👎 on" in rest.content
        assert [row.status for row in rows(QuarantineRow)] == [QuarantineStatus.COUNTED, QuarantineStatus.OPEN]

    async def test_all_waiting_votes_are_decided_at_once(self, place, rows, counted):
        for _ in range(3):
            await burst(place)
        shown = await review(place)
        done = await decide(place, shown, "Count all of them", "an event")
        assert done.content.count("**Counted:** 2 👍") == 3
        assert done.content.endswith(NOTHING)
        assert {(row.status, row.reason) for row in rows(QuarantineRow)} == {(QuarantineStatus.COUNTED, "an event")}
        assert len(counted()) == 3

    async def test_bursts_that_an_admin_did_not_see_stay_undecided(self, place, rows):
        for _ in range(2):
            await burst(place)
        shown = await review(place)
        await burst(place, "👎")
        await review(place)
        rest = await decide(place, shown, "Leave all of them out")
        assert "**2 👎 on" in rest.content
        assert [row.status for row in rows(QuarantineRow)] == [QuarantineStatus.EXCLUDED] * 2 + [QuarantineStatus.OPEN]

    async def test_votes_that_an_admin_did_not_see_stay_undecided(self, place, env, rows):
        answer = await burst(place)
        shown = await review(place)
        late = env.guild.add_member(env.create_user("late"))
        await late.react(answer, "👍")
        await review(place)
        said = await decide(place, shown, "Count them")
        assert "More votes were added since you looked: nothing was changed, look again" in said.content
        assert "**3 👍 on" in said.content
        assert [row.status for row in rows(QuarantineRow)] == [QuarantineStatus.OPEN]
        await decide(place, said, "Count them")
        assert [row.status for row in rows(QuarantineRow)] == [QuarantineStatus.COUNTED]

    async def test_votes_on_several_answers_to_one_member_are_one_burst(self, place):
        for member in (place.ada, place.bo):
            answer = await place.ask("hi", who=place.grace)
            await member.react(answer, "👍")
        shown = await review(place)
        assert f"2 👍 on answers to <@{place.grace.id}> ([1](https://discord.com/channels/" in shown.content

    async def test_the_slower_of_two_admins_reads_who_decided(self, place, env, rows):
        role = env.guild.create_role("more admins", permissions=discord.Permissions(manage_guild=True))
        hal = env.guild.add_member(env.create_user("hal"), roles=[role])
        await burst(place)
        mine, theirs = await review(place), await review(place, hal)
        await decide(place, theirs, "Count them", who=hal)
        late = await decide(place, mine, "Leave them out")
        assert f"These votes were already counted by hal ({hal.id}): nothing was changed." in late.content
        assert rows(QuarantineRow)[0].status is QuarantineStatus.COUNTED

    async def test_a_burst_on_an_answer_that_was_deleted_leaves_nothing_to_decide(self, place):
        await burst(place)
        shown = await review(place)
        await delete_everything(place.grace, place.channel)
        done = await decide(place, shown, "Count them")
        assert done.content.endswith(NOTHING)


class TestOneQueue:
    async def test_votes_come_first_then_facts_and_the_first_again(self, place, hal):
        await burst(place)
        await report(place, "who feeds the cats?", hal)
        votes = await review(place)
        waits = "**Waiting for a decision:** 1 group of suspicious votes and 1 reported wrong fact. This is {} of 2."
        assert votes.content.startswith(waits.format(1))
        assert "2 👍 on" in votes.content
        facts = (await place.grace.click(votes, label="Next")).response
        assert facts.content.startswith(waits.format(2))
        assert "who feeds the cats?" in facts.content
        assert labels(facts) == ["Add a document", "No document needed", "Next", "Earlier decisions"]
        assert "2 👍 on" in (await place.grace.click(facts, label="Next")).response.content

    async def test_after_the_last_votes_come_the_facts_and_after_those_nothing(self, place, hal):
        await burst(place)
        await report(place, "who feeds the cats?", hal)
        rest = await decide(place, await review(place), "Count them")
        assert "**Counted:** 2 👍" in rest.content
        assert "who feeds the cats?" in rest.content
        done = (await place.grace.click(rest, label="No document needed")).response
        assert done.content.endswith(NOTHING)


class TestEarlierDecisions:
    async def test_it_lists_who_decided_what_and_why(self, place):
        for label, reason in (("Count them", "friends"), ("Leave them out", "a raid")):
            await burst(place)
            await decide(place, await review(place), label, reason)
        latest, before = (await earlier(place, await review(place))).splitlines()
        assert latest.startswith("- **Left out:** 2 👍 on [one answer](")
        assert f"decided by grace ({place.grace.id}), <t:" in latest
        assert latest.endswith(" · “a raid”")
        assert before.endswith(" · “friends”")

    async def test_more_than_a_message_holds_is_cut_at_a_line(self, place):
        for _ in range(10):
            await burst(place)
        await decide(place, await review(place), "Count all of them", "x" * 190)
        *lines, end = (await earlier(place, await review(place))).splitlines()
        assert 4 < len(lines) < 10
        assert end == "…"
        assert all(line.endswith("x" * 190 + "”") for line in lines)
