"""Which words make a conversation, from plain posts, memory and answers."""

from __future__ import annotations

from dataclasses import replace

import discord
import pytest

from bot.chat.conversation import History, Post, converse
from bot.chat.prompting import Turn
from storage.conversations.replies import NO_SOURCES, Reply
from storage.conversations.summaries import Memory
from storage.database.columns import utc_now
from storage.database.enums import NOBODY, Origin, Outcome

ADA, BO, EVE = 101, 102, 103
REPLY = Reply(
    id=1,
    personality_id=1,
    version_id=None,
    strength=1.0,
    base_revision="r",
    prompt="",
    messages=[],
    answer="It is a colour.",
    outcome=Outcome.COMPLETE,
    prompt_tokens=0,
    dropped_turns=0,
    guild_id=None,
    channel_id=7,
    author_id=ADA,
    source_message_id=10,
    basis=None,
    origin=Origin.CHAT,
    created_at=utc_now(),
    message_ids=(11, 12),
    speakers=(ADA, EVE),
    retrieved=(),
    sources=NO_SOURCES,
    has_outside_text=False,
    edited_at=None,
    undelivered=None,
)
QUESTION = Post(10, ADA, "ada", "what is red?")
ANSWER = (Post(11, NOBODY, "", "", is_own=True), Post(12, NOBODY, "", "", is_own=True))
NEXT = Post(20, BO, "bo", "and blue?")
CHAIN = History((QUESTION, *ANSWER, NEXT), replied_to=QUESTION.id, limit=8)
IN_THREAD = replace(CHAIN, is_continuous=True)
REPLIES = {11: REPLY, 12: REPLY}


def words(conversation):
    return [turn.text for turn in conversation.turns]


def test_an_answer_in_several_messages_counts_once_and_is_its_askers_too():
    conversation = converse(CHAIN, Memory(), REPLIES)
    assert conversation.turns == (
        Turn("ada", "what is red?"),
        Turn(None, "It is a colour."),
        Turn("bo", "and blue?"),
    )
    assert conversation.speakers == {ADA, BO, EVE}
    assert conversation.sources.messages == {10: ADA, 11: NOBODY, 12: NOBODY, 20: BO}


def test_the_latest_answer_to_a_question_counts():
    later = replace(REPLY, id=2, answer="A long wave.", message_ids=(13,))
    posts = (QUESTION, *ANSWER, Post(13, NOBODY, "", "", is_own=True), NEXT)
    conversation = converse(replace(CHAIN, posts=posts), Memory(), {**REPLIES, 13: later})
    assert words(conversation) == ["what is red?", "A long wave.", "and blue?"]


def test_notices_and_answers_without_words_are_not_part_of_it():
    assert words(converse(CHAIN, Memory(), {})) == ["what is red?", "and blue?"]
    assert words(converse(CHAIN, Memory(), {11: replace(REPLY, answer="")})) == ["what is red?", "and blue?"]


def test_a_summary_replaces_the_messages_it_covers_in_a_thread():
    memory = Memory("They talk.", summarised_to=12, speakers=frozenset({EVE}), summarised_from=3)
    conversation = converse(IN_THREAD, memory, REPLIES)
    assert words(conversation) == ["and blue?"]
    assert (conversation.summary, conversation.sources.summary) == ("They talk.", (3, 12))
    assert conversation.speakers == {BO, EVE}


def test_a_reply_chain_has_no_summary_and_ends_where_it_was_forgotten():
    memory = Memory("They talk.", summarised_to=12, forgotten_to=10, summarised_from=3)
    conversation = converse(CHAIN, memory, REPLIES)
    assert words(conversation) == ["It is a colour.", "and blue?"]
    assert (conversation.summary, conversation.sources.summary) == ("", None)


@pytest.mark.parametrize(("limit", "is_full"), [(3, True), (4, False), (0, False)])
def test_it_is_full_with_as_many_earlier_messages_as_are_read(limit, is_full):
    assert converse(replace(IN_THREAD, limit=limit), Memory(), REPLIES).is_full is is_full
    assert not converse(replace(CHAIN, limit=limit), Memory(), REPLIES).is_full


def test_a_bare_mention_asks_only_as_a_reply_to_words():
    bare = replace(NEXT, text="")
    assert replace(CHAIN, posts=(QUESTION, bare)).asks
    assert not replace(CHAIN, posts=(QUESTION, bare), replied_to=None).asks
    assert not replace(CHAIN, posts=(*ANSWER, bare)).asks


class TestNames:
    """Prompts hold names where Discord has IDs."""

    async def test_channels_and_roles_have_their_names(self, place, engine, env):
        rules = env.guild.create_text_channel("rules")
        role = env.guild.create_role("captain")
        await place.ask(f"see <#{rules.id}>, <@&{role.id}>")
        assert "see #rules, @captain" in engine.requests[0].prompt

    async def test_unknown_mentions_are_named_unknown(self, place, engine):
        await place.ask("see <#123456789012345678>, <@&123456789012345678>, <@123456789012345678>")
        assert "see #unknown, @unknown-role, @unknown-user" in engine.requests[0].prompt

    async def test_a_channel_that_the_author_cannot_see_stays_unnamed(self, place, engine, env):
        hidden = env.guild.create_text_channel(
            "hidden", overwrites={env.guild.default_role: discord.PermissionOverwrite(view_channel=False)}
        )
        await place.ask(f"what is in <#{hidden.id}>?")
        assert "what is in #unknown?" in engine.requests[0].prompt
        await place.ask(f"what is in <#{hidden.id}>?", who=place.grace)
        assert "hidden" not in engine.requests[1].prompt


class TestRole:
    """Discord makes a role for each bot, and people mention it by accident."""

    @pytest.fixture
    def role(self, env, place):
        """Return the bot's role; the simulator makes it, but does not say whose it is."""
        role = env.bot.get_guild(env.guild.id).me.roles[-1]
        assert role.name == env.bot.user.name
        role.tags = discord.role.RoleTags({"bot_id": str(env.bot.user.id)})
        return role

    async def test_its_mention_is_answered_without_the_mention_in_the_prompt(self, place, engine, role):
        await place.ada.send(place.channel, f"{role.mention} what is red?")
        assert place.last.content == "answer 1\n-# base"
        assert "<user>what is red?\n" in engine.requests[0].prompt

    async def test_its_mention_without_words_gets_a_hint(self, place, role):
        await place.ada.send(place.channel, role.mention)
        assert "I don't see a question" in place.last.content

    async def test_other_roles_do_not_call_it(self, place, engine, env, role):
        other = env.guild.create_role("captain")
        await place.ada.send(place.channel, f"<@&{other.id}> what is red?")
        assert engine.requests == []
