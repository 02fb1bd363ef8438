"""The same messages before and after stand under a finished round and a promotion."""

from __future__ import annotations

import discord
import pytest
from sqlalchemy import update

from storage.database.enums import GateVerdict, RoundStatus
from storage.database.tables import VersionRow
from storage.releases.contests import read_contest
from storage.releases.promotion import conclude
from storage.training.rounds import SCHEDULE, claim_round, finish_round, request_round
from tests.seeding import choose, compared_metrics

FIELDS = [
    ("Hi, how are you?", "**base:** hm\n**v1:** Fine! And you?"),
    ("What is tea?", "**base:** hm\n**v1:** Fine! And you?"),
]


def fields_of(message: discord.Message) -> list[tuple[str | None, str | None]]:
    (embed,) = message.embeds
    assert embed.title == "The same messages, before and after"
    assert "chosen by nobody" in (embed.footer.text or "")
    return [(one.name, one.value) for one in embed.fields]


@pytest.fixture
def compared(add_version):
    """Add a version whose round has asked the same messages before and after."""
    return lambda: add_version(1.0, metrics=compared_metrics("Fine! And you?"))


@pytest.fixture
async def news(place, server_chooses):
    """Let the server hear of releases in a channel of their own."""
    channel = place.channel.guild.create_text_channel("news")
    await server_chooses(announce_channel=channel.id)
    return channel


async def test_under_a_finished_round(place, env, query, compared):
    shown = (await place.grace.slash(place.channel, "version train")).response
    assert shown.embeds == []
    query(lambda session: claim_round(session, "here"))
    version = compared()
    query(lambda s: s.execute(update(VersionRow).where(VersionRow.id == version.id).values(round_id=1)))
    query(lambda session: finish_round(session, 1, RoundStatus.PUBLISHED, "v1 learned from 12 pairs", {}))
    await env.advance_time(2)
    message = await env.bot.get_channel(place.channel.id).fetch_message(shown.id)
    assert "A new version is made" in message.content
    assert fields_of(message) == FIELDS


async def test_under_a_promotion_and_its_announcement_but_not_under_a_rollback(place, env, news, compared):
    compared()
    promoted = await place.grace.slash(place.channel, "version promote", version="v1")
    assert fields_of(promoted.response) == FIELDS
    await env.advance_time(4)
    (announced,) = news.history()
    assert announced.content.startswith("📣 **v1** answers from now on (before: base).")
    assert fields_of(announced) == FIELDS
    await place.grace.slash(place.channel, "version rollback")
    await env.advance_time(4)
    assert news.last_message.content.startswith("↩️")
    assert news.last_message.embeds == []


async def test_an_announcement_says_what_changed_in_style_and_leaves_measurements_out(place, env, news, add_version):
    shorter = {"measure": "words", "is_more": False, "answers": 40}
    add_version(1.0, metrics={"changes": [shorter], "strength": 0.75, "degenerate_share": 0.1})
    await place.grace.slash(place.channel, "version promote", version="v1")
    await env.advance_time(4)
    (announced,) = news.history()
    assert "\n**What changed, compared with the base model:** shorter answers.\n" in announced.content
    assert "strength" not in announced.content


async def test_without_embed_links_the_promotion_is_announced_alone(place, env, news, compared, caplog):
    compared()
    env.inject_error("POST", f"/channels/{news.id}/messages", status=403, times=1)
    await place.grace.slash(place.channel, "version promote", version="v1")
    await env.advance_time(4)
    (announced,) = news.history()
    assert announced.content.startswith("📣 **v1** answers from now on (before: base).")
    assert announced.embeds == []
    assert "cannot be announced" not in caplog.text


async def test_under_the_news_that_a_version_is_ready(place, env, news, compared, query, settings):
    version = compared()
    query(lambda s: s.execute(update(VersionRow).values(verdict="not enough evidence")))

    def decide(session):
        choose(session, version, None, wins=30, losses=1)
        contest = read_contest(session, 1, settings.votes)
        conclude(session, contest, contest.decision, settings.release)

    query(decide)
    await env.advance_time(4)
    assert "✓ **v1** is ready" in news.last_message.content
    assert fields_of(news.last_message) == FIELDS


async def test_under_the_news_that_the_schedule_made_a_version_which_are_told_once(
    place, env, news, add_version, query, new_bot
):
    query(lambda session: (request_round(session, 1, SCHEDULE), claim_round(session, "here")))
    add_version(1.0, GateVerdict.NOT_ENOUGH_EVIDENCE, compared_metrics("Fine! And you?"), round_id=1)
    query(lambda session: finish_round(session, 1, RoundStatus.PUBLISHED, "v1 learned from 12 pairs", {}))
    await env.advance_time(4)
    await env.restart_bot(new_bot())
    await env.advance_time(4)
    (told,) = news.history()
    assert told.content.startswith("🌱 I made **v1** from what you taught me. You compare it now: `/choose` shows ten")
    assert fields_of(told) == FIELDS


async def test_under_the_details_of_a_version(place, compared, query):
    compared()
    shown = await place.grace.slash(place.channel, "version show", version="v1")
    assert fields_of(shown.response) == FIELDS
    query(lambda session: session.execute(update(VersionRow).values(trained_on_deleted_data=True)))
    assert (await place.grace.slash(place.channel, "version show", version="v1")).response.embeds == []
    assert (await place.grace.slash(place.channel, "version show", version="base")).response.embeds == []


async def test_a_long_answer_ends_after_a_word_and_nothing_in_it_pings_or_breaks_a_limit(place, add_version):
    answer = f"<@{place.ada.id}> @everyone " + "very " * 500
    add_version(1.0, metrics=compared_metrics(answer, said_before="*" * 900))
    (embed,) = (await place.grace.slash(place.channel, "version show", version="v1")).response.embeds
    value = embed.fields[0].value
    before, after = value.split("\n")
    assert before.endswith("\\* …")
    assert after.endswith("very very …")
    assert "<@" not in value
    assert "@everyone" not in value
    assert len(value) <= 1024
    add_version(1.0, metrics=compared_metrics("", said_before="hm"))
    (embed,) = (await place.grace.slash(place.channel, "version show", version="v2")).response.embeds
    assert embed.fields[0].value == "**base:** hm\n**v2:** empty answer"


async def test_a_german_server_reads_it_in_german(place, env, news, compared, server_chooses):
    await server_chooses(announce_channel=news.id, language="de")
    compared()
    await place.grace.slash(place.channel, "version promote", version="v1")
    await env.advance_time(4)
    (embed,) = news.last_message.embeds
    assert embed.title == "Dieselben Nachrichten, vorher und nachher"
