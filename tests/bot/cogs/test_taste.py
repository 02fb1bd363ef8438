"""Everybody sees what members like, as far as they may read it; admins switch off and on whether it acts."""

from __future__ import annotations

import discord
import pytest

from storage.database.enums import AuditOutcome, Basis, Origin
from storage.database.tables import AuditRow, PersonalityRow, ReplyRow
from storage.members import DIRECT, note_members
from storage.personalities.cards import Card
from storage.personalities.personalities import create_personality
from storage.privacy.consent import withdraw_consent
from storage.taste.acting import switch_taste
from storage.votes.votes import Vote
from tests.bot.charts.drawn import PNG
from tests.bot.panels import said
from tests.past import day
from tests.seeding import ALICE, BOB, add_reply, add_taste, vote

TEA = "What kind of tea do you like best?"


@pytest.fixture
def voted(place, query):
    """Forty votes on answers of the default personality."""
    query(lambda session: add_taste(session, 40))


async def taste(place, **options):
    return await place.grace.slash(place.channel, "taste", **options)


async def test_it_answers_privately_in_words_and_with_a_picture(place, voted):
    shown = (await taste(place)).response
    lines = said(shown).splitlines()
    assert lines[0].startswith("After 40 votes by 3 members, members like: ")
    assert lines[1].startswith("I use it to choose answers: ")
    assert any(line.startswith("- a question at the end: ") and line.endswith(" 👍 (sure)") for line in lines)
    assert [line[0] for line in lines if line[0] in "👍👎"] == ["👍", "👍", "👎", "👎"]
    assert lines[-1].endswith("I see style only, not whether an answer is right, funny or helpful.")
    assert shown.flags.ephemeral
    (picture,) = shown.attachments
    assert picture.filename == "taste.png"
    assert picture.description.startswith(lines[0])
    assert (await picture.read())[:8] == PNG


async def test_before_the_first_vote_it_says_so(place):
    shown = (await taste(place)).response
    assert said(shown) == "Nobody has voted yet, so I can't say what members like. Every 👍 and 👎 helps."
    assert len(shown.attachments) == 1


async def test_another_personality_of_the_server_is_named(place, query):
    query(lambda session: create_personality(session, "owl", Card(), by="grace", guild_id=place.channel.guild.id))
    shown = (await taste(place, personality="owl")).response
    assert said(shown).splitlines()[0] == "-# personality **owl**"


async def test_a_personality_of_another_server_is_refused(place, query):
    query(lambda session: create_personality(session, "owl", Card(), by="hal", guild_id=4242))
    query(lambda session: vote(session, add_reply(session, answer="secret", personality_id=2), BOB, Vote.UP))
    shown = (await taste(place, personality="owl")).response
    assert shown.content == "There is no personality 'owl': choose one of default."
    assert shown.attachments == []
    assert shown.flags.ephemeral


async def test_a_member_sees_it_too_with_answers_of_channels_that_they_can_read(place, query):
    hidden = place.channel.guild.create_text_channel(
        "admins", overwrites={place.channel.guild.default_role: discord.PermissionOverwrite(view_channel=False)}
    )

    def write(session):
        here = place.channel.guild.id
        note_members(session, here, {BOB: day(0)})
        for channel, answer in ((place.channel, "in public"), (hidden, "among admins")):
            where = {"guild_id": here, "channel_id": channel.id, "basis": Basis.LIVE_CHAT}
            vote(session, add_reply(session, answer=answer, **where), BOB, Vote.UP)

    query(write)
    shown = (await place.ada.slash(place.channel, "taste")).response
    assert shown.flags.ephemeral
    assert "“in public”" in said(shown)
    assert "among admins" not in said(shown)
    assert "“among admins”" in said((await taste(place)).response)


class TestSwitch:
    """Admins switch off and on whether what members like acts; that holds from the next answer on."""

    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_GENERATION__EXPLORATION": "0"}

    @pytest.fixture
    async def liked_question(self, place, query, env, engine):
        """Members who like questions, and a question among the answers that a round drew."""

        def seed(session):
            add_taste(session, 60)
            drawn = {
                "origin": Origin.SAMPLE,
                "basis": Basis.PROMPT_BANK,
                "base_revision": env.bot.services.base.revision,
            }
            add_reply(session, prompt="I like tea.", answer=TEA, **drawn)

        query(seed)
        await env.bot.services.tastes.refresh()
        await env.bot.services.tastes.settle()

    async def asked(self, place, engine, rows) -> tuple[int, bool]:
        """Return how many answers are begun to a question, and whether the base is shown what members like."""
        engine.requests.clear()
        await place.ask("hi")
        shown = [row for row in rows(ReplyRow) if row.origin is Origin.CHAT][-1]
        return len(engine.requests), any(said["content"] == TEA for said in shown.messages)

    @pytest.mark.usefixtures("liked_question")
    async def test_off_and_on_hold_from_the_next_answer_on(self, place, engine, rows):
        assert await self.asked(place, engine, rows) == (4, True)
        off = (await taste(place, switch="off")).response
        assert off.content.startswith("Switched off: from the next answer on")
        assert off.flags.ephemeral
        assert [row.follows_taste for row in rows(PersonalityRow)] == [False]
        assert await self.asked(place, engine, rows) == (1, False)
        assert place.last.content.endswith("-# base")
        shown = said((await taste(place)).response)
        assert "a question at the end: " in shown, "what members like is still learned"
        assert "I don't use it: an admin has switched it off." in shown
        await taste(place, switch="on")
        assert await self.asked(place, engine, rows) == (4, True)
        assert [(row.action, row.subject, row.outcome) for row in rows(AuditRow)] == [
            ("taste switch", "off, of default", AuditOutcome.DONE),
            ("taste switch", "on, of default", AuditOutcome.DONE),
        ]

    @pytest.mark.usefixtures("liked_question")
    async def test_a_switch_by_another_process_holds_from_the_next_answer_on_and_after_a_restart(
        self, place, engine, rows, query, env, new_bot
    ):
        query(lambda session: switch_taste(session, 1, on=False))
        assert await self.asked(place, engine, rows) == (1, False)
        await env.restart_bot(new_bot())
        await self.asked(place, engine, rows)
        await env.settle()
        assert await self.asked(place, engine, rows) == (1, False)

    async def test_a_member_is_refused_and_that_is_recorded(self, place, rows):
        refused = await place.ada.slash(place.channel, "taste", switch="off")
        assert "Only admins can do this" in (refused.response or refused.followups[-1]).content
        assert [row.follows_taste for row in rows(PersonalityRow)] == [True]
        assert [(row.action, row.outcome) for row in rows(AuditRow)] == [("taste switch", AuditOutcome.REFUSED)]


async def test_no_answer_of_another_server_or_a_direct_message_is_quoted(place, query):
    def write(session):
        here = place.channel.guild.id
        for guild_id, answer in ((4242, "elsewhere"), (None, "in private"), (here, "here")):
            note_members(session, guild_id or DIRECT, {BOB: day(0)})
            vote(session, add_reply(session, answer=answer, guild_id=guild_id, basis=Basis.LIVE_CHAT), BOB, Vote.UP)

    query(write)
    shown = said((await taste(place)).response)
    assert "“here”" in shown
    assert "elsewhere" not in shown
    assert "in private" not in shown


async def test_no_answer_of_the_playground_is_quoted(place, query):
    def write(session):
        for origin, answer in ((Origin.PLAYGROUND, "in private"), (Origin.CHAT, "on this machine")):
            vote(session, add_reply(session, answer=answer, origin=origin), BOB, Vote.UP)

    query(write)
    shown = said((await taste(place)).response)
    assert ("in private" in shown, "on this machine" in shown) == (False, True)


async def test_no_answer_to_a_member_who_opted_out_is_quoted(place, query):
    def write(session):
        for author_id, answer in ((ALICE, "to alice"), (BOB, "to bob")):
            vote(session, add_reply(session, answer=answer, author_id=author_id), 103, Vote.UP)
        withdraw_consent(session, BOB)

    query(write)
    shown = said((await taste(place)).response)
    assert "“to alice”" in shown
    assert "to bob" not in shown


async def test_quotes_name_nobody_and_keep_to_their_line(place, query):
    answer = "# Hi\n<@123456789012345678>, **look** at <#123456789012345678> @everyone [x](https://example.org)"
    query(lambda session: vote(session, add_reply(session, answer=answer), BOB, Vote.UP))
    (quote,) = [line for line in said((await taste(place)).response).splitlines() if line.startswith("👍 ")]
    assert r"\# Hi @somebody, \*\*look\*\* at #channel @ everyone" in quote
    assert "123456789012345678" not in quote
