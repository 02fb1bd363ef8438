"""Once what members like acts, they are told so, once; and small print says what acted on an answer."""

from __future__ import annotations

import pytest

from storage.database.enums import Basis, Origin, Rule
from storage.database.tables import OwnPromptRow, PersonalityRow
from storage.servers import ServerChoices, apply_setup
from storage.taste.acting import switch_taste
from storage.taste.learning import FEWEST
from tests.bot.chat.conftest import CALM, LOUD
from tests.bot.panels import said
from tests.seeding import add_reply, add_taste

FROM_NOW = "From now on, I begin several answers and finish the one that members would like best. `/taste` says more."


@pytest.fixture
def overrides():
    return {"REACTUNE_GENERATION__EXPLORATION": "0", "REACTUNE_CHAT__COOLDOWN_S": "0"}


@pytest.fixture
def vote_calmly(place, engine):
    """Let bo like the next answer in a channel if it is calm, or dislike it if it is `loud`."""

    async def vote(channel=place.channel, *, loud: bool = False) -> None:
        engine.answers = [LOUD if loud else CALM] * 4
        await place.ada.send(channel, f"{place.mention} hi")
        await place.bo.react(channel.last_message, "👎" if loud else "👍")
        await place.env.settle()

    return vote


def news_in(channel) -> list[str]:
    return [message.content for message in channel.history() if message.content.endswith("`/taste` says more.")]


class TestInTheChannel:
    async def test_the_vote_that_begins_it_is_answered_once_and_never_again(
        self, place, like_calm_answers, vote_calmly, rows, restart
    ):
        await like_calm_answers(FEWEST - 2)
        await vote_calmly()
        assert news_in(place.channel) == []
        await vote_calmly(loud=True)
        (news,) = news_in(place.channel)
        assert news.startswith(f"After {FEWEST} votes, I begin to see what members like: no “very” (")
        assert news.endswith(FROM_NOW)
        assert "<@" not in news
        assert [row.told_of_choosing for row in rows(PersonalityRow)] == [True]
        await vote_calmly()
        await restart()
        await vote_calmly(loud=True)
        assert len(news_in(place.channel)) == 1

    async def test_after_a_restart_a_vote_on_an_older_answer_is_enough(self, place, like_calm_answers, env, restart):
        await like_calm_answers(FEWEST - 1)
        answer = await place.ask("hi")
        await restart()
        await place.bo.react(answer, "👍")
        await env.settle()
        assert len(news_in(place.channel)) == 1

    async def test_where_votes_are_clear_at_once_the_second_news_comes_alone(self, place, query, rows, env):
        query(lambda session: add_taste(session, 60))
        await env.bot.services.tastes.refresh()
        await env.bot.services.tastes.settle()
        answer = await place.ask("hi")
        await place.bo.react(answer, "👎")
        await env.settle()
        (teaches,) = news_in(place.channel)
        assert teaches.startswith("After 61 votes, I've seen enough to train on what members like: ")
        assert "a question at the end (sure)" in teaches
        assert "From now on, new versions of me learn it." in teaches
        assert "Until one answers, I follow answers of my own in that style." in teaches
        await place.ada.react(answer, "👎")
        await env.settle()
        assert news_in(place.channel) == [teaches]
        assert [row.told_of_teaching for row in rows(PersonalityRow)] == [True]

    async def test_where_the_bot_may_not_write_another_channel_hears_it(
        self, place, like_calm_answers, vote_calmly, rows
    ):
        other = place.channel.guild.create_text_channel("other")
        await like_calm_answers(FEWEST - 1)
        answer = await place.ask("hi")
        channel = place.env.bot.get_channel(place.channel.id)
        await channel.set_permissions(channel.guild.me, send_messages=False)
        await place.bo.react(answer, "👎")
        await place.env.settle()
        assert news_in(place.channel) == []
        assert [row.told_of_choosing for row in rows(PersonalityRow)] == [False]
        await vote_calmly(other)
        assert len(news_in(other)) == 1

    async def test_news_that_discord_refuses_are_told_after_the_next_vote(
        self, place, like_calm_answers, vote_calmly, rows, env
    ):
        await like_calm_answers(FEWEST - 1)
        answer = await place.ask("hi")
        env.inject_error("POST", "/channels/*/messages", status=403, times=1)
        await place.bo.react(answer, "👎")
        await env.settle()
        assert [row.told_of_choosing for row in rows(PersonalityRow)] == [False]
        await vote_calmly()
        assert len(news_in(place.channel)) == 1

    async def test_nothing_is_said_where_admins_chose_silence(self, place, like_calm_answers, query, env):
        await like_calm_answers(FEWEST - 1)
        answer = await place.ask("hi")
        choices = ServerChoices(rules={place.channel.id: Rule.NEVER})
        query(lambda s: apply_setup(s, place.channel.guild.id, choices, None, expected_generation=0, by="grace"))
        await env.bot.services.setups.load()
        await place.bo.react(answer, "👎")
        await env.settle()
        assert news_in(place.channel) == []

    async def test_nothing_is_said_while_the_taste_is_off(self, place, like_calm_answers, vote_calmly, query):
        query(lambda session: switch_taste(session, 1, on=False))
        await like_calm_answers(FEWEST - 1)
        await vote_calmly(loud=True)
        assert news_in(place.channel) == []
        query(lambda session: switch_taste(session, 1, on=True))
        await vote_calmly()
        assert len(news_in(place.channel)) == 1

    async def test_in_german_where_the_server_speaks_it(self, place, like_calm_answers, vote_calmly, query, env):
        choices = ServerChoices(language="de")
        query(lambda s: apply_setup(s, place.channel.guild.id, choices, None, expected_generation=0, by="grace"))
        await env.bot.services.setups.load()
        await like_calm_answers(FEWEST - 1)
        await vote_calmly(loud=True)
        assert any(text.startswith(f"Bisher {FEWEST} Stimmen. Allmählich") for text in place.contents)


class TestInQuietHours:
    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_CHAT__QUIET_HOURS": "00:00-23:59", "REACTUNE_CHAT__COOLDOWN_S": "0"}

    async def test_the_bot_starts_no_message_of_its_own(self, place, like_calm_answers, vote_calmly, rows):
        await like_calm_answers()
        await vote_calmly()
        assert news_in(place.channel) == []
        assert [row.told_of_choosing for row in rows(PersonalityRow)] == [False]


class TestWithOneAnswer:
    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_GENERATION__CANDIDATES": "1", "REACTUNE_CHAT__COOLDOWN_S": "0"}

    async def test_nothing_is_said_of_what_it_does_not_do(self, place, like_calm_answers, vote_calmly):
        await like_calm_answers()
        await vote_calmly()
        assert news_in(place.channel) == []


class TestInPrivate:
    async def test_whoever_chose_reads_it_once_and_the_channel_hears_it_after_the_next_vote(
        self, place, query, rows, vote_calmly
    ):
        def write(session):
            add_taste(session, FEWEST - 1)
            session.add_all(
                OwnPromptRow(personality_id=1, text=f"What about {i}?", digest=str(i), added_by="grace")
                for i in range(30)
            )

        query(write)
        shown = (await place.ada.slash(place.channel, "choose")).response
        assert FROM_NOW not in said(shown)
        for _ in range(3):  # the taste in memory may lag a press behind
            if FROM_NOW not in said(shown):
                shown = (await place.ada.click(shown, label="Left")).response or shown
                await place.env.settle()
        assert said(shown).startswith(f"After {FEWEST - 1} votes and ")
        assert shown.flags.ephemeral
        assert news_in(place.channel) == []
        shown = (await place.ada.click(shown, label="Left")).response or shown
        assert FROM_NOW not in said(shown)
        assert [row.told_of_choosing for row in rows(PersonalityRow)] == [False]
        for _ in range(2):
            await vote_calmly()
        assert len(news_in(place.channel)) == 1
        assert [row.told_of_choosing for row in rows(PersonalityRow)] == [True]


class TestSmallPrint:
    async def test_it_says_what_the_taste_chose_the_answer_for(self, place, engine, like_calm_answers):
        await like_calm_answers()
        engine.answers = [LOUD, CALM, LOUD, LOUD]
        assert (await place.ask("hi")).content.splitlines()[-1] == "-# base · chosen for: few warm words"
        engine.answers = [CALM] * 4
        assert (await place.ask("hi")).content.endswith("-# base"), "equal answers were chosen for nothing"

    async def test_it_says_that_examples_are_followed(self, place, query, env):
        def seed(session):
            add_taste(session, 60)
            asked = "What kind of tea do you like best?"
            drawn = {
                "origin": Origin.SAMPLE,
                "basis": Basis.PROMPT_BANK,
                "base_revision": env.bot.services.base.revision,
            }
            add_reply(session, prompt="I like tea.", answer=asked, **drawn)

        query(seed)
        await env.bot.services.tastes.refresh()
        await env.bot.services.tastes.settle()
        assert "-# base · follows answers that you like" in (await place.ask("hi")).content
