"""The base is shown answers like those that members like, as earlier turns; a version has learned from them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from storage.database.columns import utc_now
from storage.database.enums import Basis, Origin
from storage.database.tables import ComparisonRow, ReplyRow
from storage.members import DIRECT
from storage.releases.bases import base_in_use
from storage.taste.updating import learn_all
from storage.votes.comparisons import Better, compare
from tests.bot.panels import said
from tests.seeding import ALICE, add_reply, add_taste
from tests.storage.taste.test_orders import END, try_order

MESSAGE, LIKED = "I like tea.", "What kind of tea do you like best?"
SHOWN = {"shown_as": "answer that people like"}
EXAMPLE = [{"role": "user", "content": MESSAGE, **SHOWN}, {"role": "assistant", "content": LIKED, **SHOWN}]


@pytest.fixture
async def liked_question(place, query, env, engine):
    """Members who like questions, and a question among the answers that a round drew."""

    def seed(session):
        add_taste(session, 60)
        drawn = {"origin": Origin.SAMPLE, "basis": Basis.PROMPT_BANK, "base_revision": env.bot.services.base.revision}
        add_reply(session, prompt=MESSAGE, answer=LIKED, **drawn)

    query(seed)
    await env.bot.services.tastes.refresh()
    await env.bot.services.tastes.settle()
    engine.requests.clear()


def last_of(rows) -> list[dict[str, str]]:
    return rows(ReplyRow)[-1].messages


@pytest.mark.usefixtures("liked_question")
class TestTurns:
    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_GENERATION__CANDIDATES": "1", "REACTUNE_CHAT__COOLDOWN_S": "0"}

    async def test_the_base_gets_them_between_the_system_prompt_and_the_conversation_also_for_another_answer(
        self, place, engine, rows, env
    ):
        answer = await place.ask("How are you?")
        system, *turns, question = last_of(rows)
        assert (system["role"], turns, question["content"]) == ("system", EXAMPLE, "How are you?")
        (request,) = engine.requests
        assert request.prompt == rows(ReplyRow)[-1].prompt
        assert f"<user>{MESSAGE}\n<assistant>{LIKED}\n<user>How are you?" in request.prompt
        assert "did not fit" not in place.last.content
        await place.ada.react(answer, "🔁")
        await env.settle()
        first, second = rows(ReplyRow)[-2:]
        assert first.prompt == second.prompt
        assert EXAMPLE[1] in second.messages

    async def test_they_make_room_for_a_long_question_and_a_version_gets_none(self, place, engine, release, rows):
        engine.window = 45
        await place.ask("word " * 25)
        assert [message["role"] for message in last_of(rows)] == ["system", "user"]
        assert "did not fit" not in place.last.content
        engine.window = 10_000
        release(1.0)
        await place.ask("How are you?")
        assert EXAMPLE[0] not in last_of(rows)


@pytest.mark.usefixtures("liked_question")
class TestBlindPair:
    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_CHAT__SECOND_ANSWERS": "1"}

    async def test_chat_and_an_arena_compare_the_base_with_a_version_as_each_of_them_answers(
        self, place, waiting, rows, env
    ):
        version = waiting(1.0)
        await place.ask("How are you?")
        both = {row.version_id: row.messages for row in rows(ReplyRow)[-2:]}
        assert EXAMPLE[0] in both[None]
        assert EXAMPLE[0] not in both[version.id]
        await place.bo.click(place.last, label="First")
        assert len(rows(ComparisonRow)) == 1
        await place.grace.slash(place.channel, "arena start", prompt="Tea or coffee?")
        await env.settle()
        both = {row.version_id: row.messages for row in rows(ReplyRow) if row.origin is Origin.ARENA}
        assert both.keys() == {None, version.id}
        assert EXAMPLE[0] in both[None]
        assert EXAMPLE[0] not in both[version.id]


class TestOrder:
    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_GENERATION__CANDIDATES": "1", "REACTUNE_CHAT__COOLDOWN_S": "0"}

    @pytest.fixture(autouse=True)
    async def kept(self, place, query, env):
        """Members who like questions, and a base that asked them when a round told it to."""

        def seed(session):
            add_taste(session, 60)
            used = base_in_use(session)
            try_order(session, base_revision=used.revision)

        query(seed)
        await env.bot.services.tastes.refresh()
        await env.bot.services.tastes.settle()

    async def test_the_base_is_told_what_people_like_and_taste_says_so_and_a_version_is_not(
        self, place, engine, release, rows
    ):
        await place.ask("How are you?")
        system = last_of(rows)[0]
        assert system["shown_as"] == "its last line is an order, for what people like"
        assert system["content"].endswith(f"\n{END}")
        assert f"{END}\n" in engine.requests[-1].prompt
        assert place.last.content.endswith(f"-# base · follows answers that you like · told: “{END}”")
        for command in ("taste", "version status"):
            shown = await place.grace.slash(place.channel, command)
            assert f"I follow one order, because it brings what members like: “{END}”" in said(shown.response)
        release(1.0)
        await place.ask("How are you?")
        assert "shown_as" not in last_of(rows)[0]
        assert END not in engine.requests[-1].prompt


@pytest.mark.usefixtures("liked_question")
class TestSwitchedOff:
    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_GENERATION__EXAMPLES": "0"}

    async def test_there_are_none(self, place, rows):
        await place.ask("How are you?")
        assert EXAMPLE[0] not in last_of(rows)


async def test_members_are_not_served_what_only_a_round_may_use_yet(place, query, env, rows):
    """A dozen choices let a round rank answers, and are too few to be sure of what members like."""

    def seed(session):
        for number in range(12):
            prompt = f"question {number}"
            better, worse = (add_reply(session, prompt=prompt, answer=said) for said in (LIKED, "Tea is good."))
            compare(session, better, worse, ALICE, Better.FIRST, home=(DIRECT, utc_now() - timedelta(days=400)))
        drawn = {"origin": Origin.SAMPLE, "basis": Basis.PROMPT_BANK, "base_revision": env.bot.services.base.revision}
        add_reply(session, prompt=MESSAGE, answer=LIKED, **drawn)

    query(seed)
    tastes = env.bot.services.tastes
    await tastes.refresh()
    await tastes.settle()
    await place.ask("How are you?")
    known = query(lambda session: learn_all(session, rows(ReplyRow)[-1].personality_id, env.bot.services.settings))
    assert [turn.answer for turn in known.examples] == [LIKED]
    assert EXAMPLE[0] not in last_of(rows)
