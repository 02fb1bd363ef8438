"""The engine refuses a version whose files are sound: an older one or the base answers, and admins hear of it."""

from __future__ import annotations

import pytest

from bot.cogs.operations import POLL_INTERVAL_S
from storage.adapters.folder_store import AdapterRef
from storage.database.enums import Origin, Outcome
from storage.database.tables import ReplyMessageRow, ReplyRow
from storage.members import greet
from tests.bot.panels import said

MISFIT = "the adapter was loaded, but the model answers as the bare base: delete its graph"


@pytest.fixture
def refuse(engine):
    """Let the engine refuse versions once it is asked for them."""

    def begin(*versions) -> None:
        engine.misfits |= {version.digest: MISFIT for version in versions}

    return begin


@pytest.fixture
def asked(engine):
    """Return which versions the engine was asked for, by digest; None is the base."""
    return lambda: [request.adapter and request.adapter.digest for request in engine.requests]


async def test_the_last_good_version_answers_the_same_question(place, release, refuse, rows, asked):
    good, champion = release(1.0), release(2.0)
    refuse(champion)
    answer = await place.ask("hi")
    assert answer.content == "answer 2\n-# v1"
    assert [message for message in place.contents if "Sorry" in message] == []
    (row,) = rows(ReplyRow)
    assert (row.version_id, row.outcome, row.answer) == (good.id, Outcome.COMPLETE, "answer 2")
    assert asked() == [champion.digest, good.digest]


async def test_the_row_has_the_prompt_and_the_seed_of_the_one_that_answered(place, release, refuse, rows, engine):
    refuse(release(1.0))
    await place.ask("hi")
    (row,) = rows(ReplyRow)
    answered = engine.requests[-1]
    assert (row.version_id, row.prompt, row.seed) == (None, answered.prompt, answered.seed)


async def test_if_the_last_good_version_is_refused_too_the_base_answers(place, release, refuse, rows):
    refuse(release(1.0), release(2.0))
    assert (await place.ask("hi")).content == "answer 3\n-# base"
    assert [(row.version_id, row.outcome) for row in rows(ReplyRow)] == [(None, Outcome.COMPLETE)]


async def test_a_refused_version_is_not_asked_again_for_each_question(place, release, refuse, asked):
    champion = release(1.0)
    refuse(champion)
    for _ in range(3):
        assert (await place.ask("hi")).content.endswith("-# base")
    assert asked() == [champion.digest, None, None, None]


async def test_only_the_strength_that_was_refused_gives_way(place, release, engine, rows, env):
    champion = release(1.0)
    release_ = env.bot.services.releases.open(champion, 0.2)
    assert isinstance(release_.adapter, AdapterRef)
    engine.refusals[release_.adapter] = MISFIT
    assert (await place.ask("hi")).content.endswith("-# v1")


async def test_admins_read_it_in_the_status_and_as_an_alert(place, env, release, refuse):
    channel = env.guild.create_text_channel("admins")
    env.change_section("alerts", channel=channel.id, min_free_gb=0.0)
    refuse(release(1.0))
    await place.ask("hi")
    status = said((await place.grace.slash(place.channel, "version status")).response)
    assert f"⚠️ v1 cannot answer: {MISFIT}." in status
    await env.advance_time(POLL_INTERVAL_S + 1)
    (alert,) = (message.content for message in channel.history())
    assert alert.startswith(
        f"⚠️ The model refuses versions, so an older one or the base answers instead: {MISFIT}. What to do: "
    )


async def test_a_refused_version_is_not_promoted(place, add_version, engine, env):
    adapter = env.bot.services.releases.open(add_version(1.0)).adapter
    assert adapter is not None
    engine.refusals[adapter] = MISFIT
    result = await place.grace.slash(place.channel, "version promote", version="v1")
    assert MISFIT.removeprefix("the ") in result.followups[-1].content


class TestSecondAnswers:
    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_CHAT__SECOND_ANSWERS": "1"}

    @pytest.fixture(autouse=True)
    def greeted(self, place, query):
        query(lambda session: greet(session, place.ada.id))

    async def test_the_champion_answers_whatever_the_order(self, place, engine, rows, release, waiting, refuse):
        champion, rival = release(1.0), waiting(2.0)
        refuse(rival)
        seen = set()
        for _ in range(12):
            await place.ask("hi")
            engine.refusals.clear()  # as if some minutes had passed
            seen.add(place.last.content.split("-# ")[1])
            await place.ask("hi")  # this one comes alone
        assert seen == {"v1", "first answer"}
        assert not any("Sorry" in content for content in place.contents)
        assert [row.version_id for row in rows(ReplyRow) if row.outcome is Outcome.COMPLETE] == [champion.id] * 24
        refused = [row for row in rows(ReplyRow) if row.outcome is not Outcome.COMPLETE]
        assert {(row.version_id, row.origin, row.outcome) for row in refused} == {
            (rival.id, Origin.ALTERNATIVE, Outcome.FAILED)
        }
        assert not {row.id for row in refused} & {row.reply_id for row in rows(ReplyMessageRow)}

    async def test_of_a_refused_champion_and_its_rival_members_read_one_answer_or_the_other(
        self, place, engine, rows, release, waiting, refuse
    ):
        good, champion, rival = release(1.0), release(2.0), waiting(3.0)
        refuse(champion)
        for _ in range(12):
            await place.ask("hi")
            engine.refusals.clear()
            await place.ask("hi")
            engine.refusals.clear()
        assert not any("Sorry" in content for content in place.contents)
        shown = {row.reply_id for row in rows(ReplyMessageRow)}
        answered = [(row.version_id, row.outcome) for row in rows(ReplyRow) if row.id in shown]
        assert set(answered) == {(good.id, Outcome.COMPLETE), (rival.id, Outcome.COMPLETE)}
        assert len(answered) == 24
