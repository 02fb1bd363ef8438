"""An admin finds an answer that people disliked, and does something about it."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest

from bot.console.pages import answers
from bot.knowledge.decision import Line
from bot.knowledge.quoting import quote_block
from storage.database.columns import utc_now
from storage.database.enums import Basis, Origin
from storage.database.tables import AuditRow, CardRevisionRow, CorrectionRow, ReplyRow
from storage.personalities.cards import Card, Example
from storage.personalities.personalities import change_card, personality_named
from tests.bot.cogs.test_feedback import choose
from tests.seeding import add_reply


@pytest.fixture
async def disliked(place, rows):
    await place.ask("What is <b>tea</b>?")
    await place.ada.react(place.last, "👎")
    await place.ask("Something else")
    return rows(ReplyRow)[0]


async def test_disliked_answers_are_listed_and_escaped(visitor, disliked):
    assert "has not answered yet" not in (await visitor.get("/answers")).text
    seen = await visitor.get("/answers?kind=disliked")
    assert disliked.answer in seen.text
    assert "&lt;b&gt;tea" in seen.html
    assert "<b>tea" not in seen.html
    assert "Something else" not in seen.text
    assert "no such answers" in (await visitor.get("/answers?kind=suggested")).text
    listed = (await visitor.get("/answers?kind=nonsense&before=x")).text
    assert "Something else" in listed
    assert "· #general ·" in listed
    assert "discord.com" not in (await visitor.get(f"/answers/{disliked.id}")).html, "a simulated server has no links"


async def test_an_example_in_its_prompt_is_not_taken_for_words_of_a_member(visitor, place, query, rows):
    card = Card(system_prompt="Few words.", examples=(Example(dialogue=("Hi", "Evening.")),))
    query(lambda session: change_card(session, personality_named(session, "default"), card, by="test"))
    await place.ask("What is tea?")
    seen = (await visitor.get(f"/answers/{rows(ReplyRow)[-1].id}")).text
    assert "user (example of the card) Hi assistant (example of the card) Evening. user What is tea?" in seen


async def test_the_question_is_shown_without_the_documents_that_its_prompt_quotes(visitor, place, query):
    quoted = Line(1, 1, "Keys", "", "", "The keeper has it.", None, None)
    asked = f"Who has the key?\n\n{quote_block([quoted])}"
    reply_id = query(lambda session: add_reply(session, messages=[{"role": "user", "content": asked}]))
    listed = (await visitor.get("/answers")).text
    assert "Who has the key? hello yourself" in listed
    question, _, prompt = (await visitor.get(f"/answers/{reply_id}")).text.partition("The whole prompt")
    assert "The keeper has it." not in question
    assert "The keeper has it." in prompt


async def test_each_says_where_it_comes_from_unless_that_was_chat(visitor, query):
    query(lambda session: [add_reply(session, origin=one) for one in Origin])
    said = re.findall(r"· base · (.*?)(?=</p>)", (await visitor.get("/answers?kind=all")).html)
    assert sorted(said) == sorted(answers.ORIGINS.values())


async def test_a_channel_that_the_bot_does_not_know_may_be_a_closed_thread(visitor, place, query):
    query(lambda session: add_reply(session, guild_id=place.channel.guild.id, channel_id=12))
    assert "· a closed thread or deleted channel ·" in (await visitor.get("/answers")).text


async def test_pairs_to_choose_from_do_not_hide_conversations(visitor, query):
    query(lambda session: add_reply(session, answer="drawn for Teach", origin=Origin.SITTING))
    assert "has not answered yet" in (await visitor.get("/answers")).text
    query(lambda session: add_reply(session, answer="said in a channel"))
    assert "drawn for Teach" not in (await visitor.get("/answers")).text
    seen = (await visitor.get("/answers?kind=all")).text
    assert seen.index("said in a channel") < seen.index("drawn for Teach")


async def test_a_better_one_is_written_and_it_becomes_an_example_of_the_card(visitor, disliked, rows):
    await visitor.post(f"/answers/{disliked.id}/suggest", text="A hot drink.")
    (correction,) = rows(CorrectionRow)
    assert (correction.text, correction.basis) == ("A hot drink.", Basis.LOCAL)
    assert "A hot drink." in (await visitor.get(f"/answers/{disliked.id}")).text
    same = await visitor.post(f"/answers/{disliked.id}/suggest", text=disliked.answer)
    assert "Change something" in same.text
    await visitor.post(f"/answers/{disliked.id}/example")
    (dialogue,) = [example["dialogue"] for example in rows(CardRevisionRow)[-1].card["examples"]]
    assert dialogue[1] == disliked.answer


async def test_it_is_excluded_from_training_while_its_votes_stay_and_then_deleted(visitor, disliked, rows, votes):
    await visitor.post(f"/answers/{disliked.id}/exclude")
    assert rows(ReplyRow)[0].basis is None
    assert votes(disliked.id)
    assert rows(AuditRow)[-1].action == "console exclude answer"
    seen = await visitor.get(f"/answers/{disliked.id}")
    assert "Rounds do not train on it" in seen.text
    assert "Exclude it from training" not in seen.text
    assert "Delete it permanently" in seen.text
    await visitor.post(f"/answers/{disliked.id}/delete")
    assert disliked.id not in [row.id for row in rows(ReplyRow)]
    assert "was deleted" in (await visitor.get(f"/answers/{disliked.id}")).text
    assert rows(AuditRow)[-1].subject == f"answer {disliked.id}"


class TestOnDiscord:
    @pytest.fixture
    def fixed_basis(self):
        return None

    async def test_a_members_question_becomes_no_example_and_is_not_trained_on(self, visitor, disliked, rows):
        assert "Add to the card" not in (await visitor.get(f"/answers/{disliked.id}")).text
        assert "a member's" in (await visitor.post(f"/answers/{disliked.id}/example")).text
        assert rows(CardRevisionRow) == []
        await visitor.post(f"/answers/{disliked.id}/suggest", text="A hot drink.")
        assert rows(CorrectionRow)[0].basis is None

    async def test_an_answer_links_to_its_message(self, visitor, place, disliked):
        assert "· #general ↗ ·" in (await visitor.get("/answers")).text
        link = f"https://discord.com/channels/{place.ada.guild.id}/{place.channel.id}/"
        assert f'href="{link}' in (await visitor.get(f"/answers/{disliked.id}")).html


class TestFilters:
    @pytest.fixture
    async def elsewhere(self, place, env, disliked, rows):
        """An answer in another channel of another server."""
        guild = env.create_guild("Other")
        channel = guild.create_text_channel("games")
        await guild.add_member(env.create_user("cy")).send(channel, f"{place.mention} Chess?")
        return rows(ReplyRow)[-1]

    async def test_by_channel_and_the_list_says_where(self, visitor, place, disliked, elsewhere):
        seen = await visitor.get("/answers")
        assert "· #general ·" in seen.text
        assert "#games (Other)" in seen.text
        found = (await visitor.get(f"/answers?channel={elsewhere.channel_id}")).text
        assert ("Chess?" in found, "Something else" in found) == (True, False)
        assert "Chess?" in (await visitor.get("/answers?channel=nonsense")).text
        assert "no such answers" in (await visitor.get("/answers?channel=0")).text
        assert "#general" in (await visitor.get(f"/answers/{disliked.id}")).text

    async def test_by_cause_and_by_day(self, visitor, place, disliked):
        assert "no such answers" in (await visitor.get("/answers?cause=too+long")).text
        await choose(place, await place.ask("Tell me all about tea"), "Too long")
        await place.ask("Last")
        found = (await visitor.get("/answers?cause=too+long")).text
        assert ("Tell me all about tea" in found, "Last" in found) == (True, False)
        today = utc_now().date()
        assert disliked.answer in (await visitor.get(f"/answers?from={today}&until={today}")).text
        assert "no such answers" in (await visitor.get(f"/answers?until={today - timedelta(days=1)}")).text
        assert disliked.answer in (await visitor.get("/answers?from=yesterday&until=9999-12-31")).text

    async def test_the_next_page_keeps_them(self, visitor, place, disliked, monkeypatch):
        monkeypatch.setattr(answers, "SHOWN", 1)
        first = await visitor.get(f"/answers?channel={place.channel.id}&from=2020-01-01&kind=all")
        link = unescape(re.search(r'href="([^"]*before=[^"]*)"', first.html)[1])
        assert f"channel={place.channel.id}" in link
        assert "from=2020-01-01" in link
        assert disliked.answer in (await visitor.get(link)).text

    @pytest.mark.threat("T17")
    async def test_a_member_reads_no_word_of_another_server(self, visitor, place, disliked, elsewhere, limit_visitor):
        limit_visitor(place.grace.id, place.ada.guild.id)
        seen = (await visitor.get("/answers")).text
        assert (disliked.answer in seen, "Chess?" in seen, "#games" in seen) == (True, False, False)
        assert "Chess?" not in (await visitor.get(f"/answers?channel={elsewhere.channel_id}")).text
        assert "was deleted" in (await visitor.get(f"/answers/{elsewhere.id}")).text
        assert "was deleted" in (await visitor.post(f"/answers/{elsewhere.id}/delete")).text


async def test_a_direct_message_has_no_channel_and_no_document(visitor, place, rows):
    await place.ada.send_dm("Between us?")
    (reply,) = rows(ReplyRow)
    assert "· direct message ·" in (await visitor.get("/answers")).text
    assert "Make it a document" not in (await visitor.get(f"/answers/{reply.id}")).text
