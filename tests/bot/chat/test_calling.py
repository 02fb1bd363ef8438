"""What the bot answers: by the rule of a channel or category, and in quiet hours."""

from __future__ import annotations

import pytest

from tests.bot.guards.test_access import around_now
from tests.bot.panels import said


@pytest.fixture
def change_chat(env, settings):
    """Change settings of [chat] of the running bot."""

    def change(**values):
        env.change_settings(settings.model_copy(update={"chat": settings.chat.model_copy(update=values)}))

    return change


@pytest.fixture
def hush(change_chat):
    """Let the quiet hours be now."""

    return lambda **values: change_chat(quiet_hours=around_now(), **values)


@pytest.fixture
def is_answered(place, engine):
    """Send a message as ada and return whether the bot answered."""

    async def send(channel, text, **options):
        before = len(engine.requests)
        await place.ada.send(channel, text, **options)
        return len(engine.requests) > before

    return send


@pytest.fixture
def channel_with(env, change_chat):
    def create(rule):
        channel = env.guild.create_text_channel(rule)
        change_chat(channel_rules={channel.id: rule})
        return channel

    return create


async def test_where_only_mentions_count_a_reply_is_no_call(place, channel_with, is_answered):
    channel = channel_with("mention")
    assert await is_answered(channel, f"{place.mention} hi")
    assert not await is_answered(channel, "go on", reply_to=channel.last_message)
    assert not await is_answered(channel, "what is red?")


async def test_where_questions_count_those_to_everybody_are_answered(place, channel_with, is_answered):
    channel = channel_with("question")
    assert await is_answered(channel, "what is red?")
    assert await is_answered(channel, "Weiß jemand wann wir spielen")
    assert await is_answered(channel, "go on", reply_to=channel.last_message)
    said = await place.bo.send(channel, "I like blue.")
    assert not await is_answered(channel, "why?", reply_to=said)
    assert not await is_answered(channel, f"<@{place.bo.id}> why?")
    assert await is_answered(channel, f"{place.mention} tell <@{place.bo.id}> why")


async def test_the_nearest_rule_holds(place, env, change_chat, is_answered):
    category = env.guild.create_category("talk")
    free, asks = (env.guild.create_text_channel(name, category=category) for name in ("free", "asks"))
    change_chat(channel_rules={category.id: "always", asks.id: "question"})
    assert await is_answered(free, "just talking")
    assert not await is_answered(asks, "just talking")
    assert await is_answered(asks, "why?")
    assert not await is_answered(place.channel, "why?")


async def test_in_quiet_hours_only_mentions_and_clicks_are_answered(place, env, engine, hush, is_answered):
    free = env.guild.create_text_channel("free")
    hush(channel_rules={free.id: "always"}, second_answers=1.0)
    assert not await is_answered(free, "is anybody here?")
    assert await is_answered(free, f"{place.mention} are you?")
    answer = free.last_message
    assert answer.content == "answer 1\n-# base"  # and no second one to compare
    assert not await is_answered(free, "go on", reply_to=answer)
    await place.ada.react(answer, "🔁")
    assert len(engine.requests) == 2
    assert "may be used for training" in said((await place.grace.slash(free, "version status")).response)
