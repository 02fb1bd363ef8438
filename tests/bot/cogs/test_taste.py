"""Admins see what people like; members and admins of other servers see nothing of it."""

from __future__ import annotations

import pytest

from storage.database.enums import Basis, Origin
from storage.members import DIRECT, note_members
from storage.personalities.cards import Card
from storage.personalities.personalities import create_personality
from storage.privacy.consent import withdraw_consent
from storage.votes.votes import Vote
from tests.bot.charts.drawn import PNG
from tests.bot.panels import said
from tests.past import day
from tests.seeding import ALICE, BOB, add_reply, add_taste, vote


@pytest.fixture
def voted(place, query):
    """Forty votes on answers of the default personality."""
    query(lambda session: add_taste(session, 40))


async def taste(place, **options):
    return await place.grace.slash(place.channel, "taste", **options)


async def test_it_answers_privately_in_words_and_with_a_picture(place, voted):
    shown = (await taste(place)).response
    lines = said(shown).splitlines()
    assert lines[0].startswith("After 40 votes by 3 members, people like: ")
    assert lines[1].startswith("It is used: ")
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
    assert said(shown) == "Nobody has voted yet, so I can't say what people like. Every 👍 and 👎 helps."
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


async def test_members_may_not(place, voted):
    with pytest.raises(Exception, match="taste"):
        await place.ada.slash(place.channel, "taste")


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
