"""Now and then a question gets two blind answers, and members say which one they like better."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean

import pytest
from sqlalchemy import select

from bot.chat.second_answer import GONE, SecondAnswers
from bot.engine import Finish
from storage.adapters.folder_store import WEIGHTS_FILE
from storage.database.enums import Basis, Origin
from storage.database.tables import ComparisonRow, ReplyRow
from storage.members import greet
from storage.privacy.consent import give_consent
from storage.privacy.erasure import delete_member
from storage.taste.opinions import read_taste_opinions
from storage.votes.votes import Vote
from tests.bot.panels import said


@pytest.fixture
def fixed_basis():
    return None


class TestSecondAnswer:
    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_CHAT__SECOND_ANSWERS": "1"}

    @pytest.fixture(autouse=True)
    def greeted(self, place, query):
        for member in (place.ada, place.bo):
            query(lambda session, member=member: greet(session, member.id))

    async def test_a_blind_second_answer_follows_the_first_and_both_take_votes(self, place, engine, rows, votes):
        await place.ask("hi")
        first, second = (m for m in place.channel.history() if m.author.bot)
        assert first.content == "answer 1\n-# first answer"
        assert second.content == "answer 2\n-# second answer · which one is better?"
        sent = [one.path.rpartition("/")[2] for one in place.env.http_requests if one.method == "POST"]
        assert [one for one in sent if one in ("typing", "messages")] == ["typing", "messages"] * 2
        for message in (first, second):
            assert [str(reaction.emoji) for reaction in message.reactions] == ["👍", "👎", "🔁"]
        one, other = rows(ReplyRow)
        assert (one.origin, other.origin) == (Origin.CHAT, Origin.ALTERNATIVE)
        assert one.prompt == other.prompt == engine.requests[1].prompt
        assert one.seed != other.seed
        assert one.source_message_id == other.source_message_id
        await place.ada.react(first, "👎")
        await place.ada.react(second, "👍")
        assert (votes(1), votes(2)) == ({place.ada.id: Vote.DOWN}, {place.ada.id: Vote.UP})

    async def test_they_come_from_champion_and_waiting_version_in_random_order(self, place, rows, release, waiting):
        release(1.0)
        champion, newest = release(2.0), waiting(3.0)
        for _ in range(12):
            await place.ask("hi")
            if len({row.version_id for row in rows(ReplyRow) if row.origin is Origin.ALTERNATIVE}) > 1:
                break
            await place.ask("hi")  # this one comes alone
        pairs = [m.content for m in place.channel.history() if m.author.bot and "answer\n" not in m.content]
        assert not any("v2" in content or "v3" in content for content in pairs if "second answer" in content)
        asked = {row.source_message_id for row in rows(ReplyRow) if row.origin is Origin.ALTERNATIVE}
        blind = [row for row in rows(ReplyRow) if row.source_message_id in asked]
        assert len({row.prompt for row in blind}) == 1
        answered = [row.version_id for row in blind]
        assert all(
            {one, other} == {champion.id, newest.id} for one, other in zip(answered[::2], answered[1::2], strict=True)
        )
        assert len(set(answered[::2])) == 2

    async def test_where_no_version_waits_the_champion_answers_twice(self, place, rows, release, waiting):
        waiting(1.0)
        release(2.0)
        champion = release(3.0)
        await place.ask("hi")
        assert [row.version_id for row in rows(ReplyRow)] == [champion.id] * 2

    async def test_if_the_waiting_version_is_damaged_the_champion_answers_twice(
        self, place, rows, waiting, settings, caplog
    ):
        version = waiting(1.0)
        (settings.data.directory / "adapters" / version.digest / WEIGHTS_FILE).write_bytes(b"altered")
        await place.ask("hi")
        assert [row.version_id for row in rows(ReplyRow)] == [None, None]
        assert "v1 cannot be compared with the version in use" in caplog.text

    async def test_a_tap_is_evidence_that_the_status_shows(self, place, rows, waiting):
        version = waiting(1.0)
        await place.ask("hi")
        first, _ = rows(ReplyRow)
        await place.bo.click(place.last, label="First" if first.version_id == version.id else "Second")
        status = said((await place.grace.slash(place.channel, "version status")).response)
        assert "v1 leads 1 to 0 in blind comparisons, by 1 member; about" in status

    async def test_a_tap_of_an_admin_is_a_verdict_of_their_own(self, place, rows, waiting):
        waiting(1.0)
        await place.ask("hi")
        for who in (place.bo, place.grace):
            await who.click(place.last, label="First")
        assert {row.user_id: row.by_admin for row in rows(ComparisonRow)} == {place.bo.id: False, place.grace.id: True}
        status = said((await place.grace.slash(place.channel, "version status")).response)
        assert "v1 against base: you " in status

    async def test_between_equal_answers_there_is_nothing_to_choose(self, place, engine):
        engine.answers = ["the same", "the same"]
        await place.ask("hi")
        first, second = (m for m in place.channel.history() if m.author.bot)
        assert (first.content.startswith("the same"), second.content.startswith("the same")) == (True, True)
        assert second.components == []

    async def test_the_basis_of_both_is_that_of_chat(self, place, rows, query):
        await place.ask("hi")
        query(lambda session: give_consent(session, place.bo.id))
        await place.ask("hi", who=place.bo)
        assert [row.basis for row in rows(ReplyRow)] == [None, None, Basis.LIVE_CHAT, Basis.LIVE_CHAT]

    async def test_the_first_answer_is_whole_before_the_second_is_asked_for(self, place, engine):
        seen = []

        async def look() -> None:
            if len(engine.requests) == 2:
                seen.append(next(m.content for m in place.channel.history() if m.author.bot))

        engine.interlude = look
        await place.ask("hi")
        assert seen
        assert set(seen) == {"answer 1\n-# first answer"}

    async def test_another_answer_stays_alone_and_names_its_version(self, place, rows):
        answer = await place.ask("hi")
        await place.ada.react(answer, "🔁")
        assert place.last.content == "answer 3\n-# base"
        assert [row.origin for row in rows(ReplyRow)] == [Origin.CHAT, Origin.ALTERNATIVE, Origin.CHAT]

    async def test_if_the_first_answer_fails_there_is_no_second(self, place, engine, rows):
        engine.finish = Finish.TIMEOUT
        answer = await place.ask("hi")
        assert answer.content.endswith("-# base · ran out of time")
        assert len(rows(ReplyRow)) == 1

    async def test_if_the_second_answer_fails_the_first_is_kept(self, place, engine):
        async def fill() -> None:
            engine.full = True

        engine.interlude = fill
        await place.ask("hi")
        assert [m.content for m in place.channel.history() if m.author.bot] == ["answer 1\n-# first answer"]

    async def test_words_deleted_in_between_do_not_come_back_with_the_second(self, place, engine, rows, query):
        async def delete() -> None:
            engine.interlude = None
            query(lambda session: delete_member(session, place.ada.id))

        engine.interlude = delete
        await place.ask("hi")
        assert rows(ReplyRow) == []
        assert len([m for m in place.channel.history() if m.author.bot]) == 1

    async def test_the_next_answer_to_the_member_or_while_another_is_written_comes_alone(self, place, env, rows):
        env.bot.services.answerer.at_work = 1
        await place.ask("hi")
        assert [row.origin for row in rows(ReplyRow)] == [Origin.CHAT]
        env.bot.services.answerer.at_work = 0
        for _ in range(4):
            await place.ask("hi")
        origins = [row.origin for row in rows(ReplyRow)][1:]
        assert origins == [Origin.CHAT, Origin.ALTERNATIVE, Origin.CHAT] * 2


@pytest.mark.parametrize(
    ("share", "of_many", "of_one"), [(0.1, 0.1, 0.1), (0.3, 0.3, 0.3), (0.5, 0.5, 0.5), (1, 0.5, 1)]
)
async def test_as_many_answers_come_as_pairs_as_the_share_says_but_at_most_half(env, share, of_many, of_one) -> None:
    second_answers = SecondAnswers(env.bot.services)
    to_one_member = [second_answers.is_due(1, share) for _ in range(20_000)]
    assert fmean(to_one_member) == pytest.approx(of_many, abs=0.02)
    assert (True, True) not in set(pairwise(to_one_member))
    to_new_members = [second_answers.is_due(member, share) for member in range(2, 20_002)]
    assert fmean(to_new_members) == pytest.approx(of_one, abs=0.02)


class TestChoice:
    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_CHAT__SECOND_ANSWERS": "1"}

    @pytest.fixture
    async def second(self, place):
        """The second answer to a question, with the buttons."""
        await place.ask("hi")
        return place.last

    async def test_a_tap_is_noted_privately_and_taught_and_the_same_again_takes_it_back(
        self, place, second, rows, query, settings
    ):
        labels = [button.label for row in second.components for button in row.children]
        assert labels == ["First", "Second", "About the same"]
        for label, noted, better in zip(labels, ("first one", "second one", "same"), (1, 2, None), strict=True):
            pressed = await place.bo.click(second, label=label)
            assert noted in pressed.response.content
            assert pressed.ephemeral
            (row,) = rows(ComparisonRow)
            assert (row.first_id, row.second_id, row.user_id, row.better_id) == (1, 2, place.bo.id, better)
            (choice,) = query(lambda session: read_taste_opinions(session, 1, settings)).choices
            assert (choice.reply_ids, choice.chosen) == ((1, 2), better)
        taken_back = await place.bo.click(second, label="About the same")
        assert "Your choice is taken back." in taken_back.response.content
        assert rows(ComparisonRow) == []

    async def test_each_member_has_their_own(self, place, second, rows):
        await place.ada.click(second, label="First")
        await place.bo.click(second, label="Second")
        assert {row.user_id: row.better_id for row in rows(ComparisonRow)} == {place.ada.id: 1, place.bo.id: 2}

    async def test_it_works_after_a_restart(self, place, second, restart, rows):
        await restart()
        await place.bo.click(second, label="First")
        assert len(rows(ComparisonRow)) == 1

    async def test_of_deleted_answers_there_is_nothing_to_choose(self, place, second, query, rows):
        query(lambda session: delete_member(session, place.ada.id))
        pressed = await place.bo.click(second, label="First")
        assert pressed.response.content == GONE
        assert rows(ComparisonRow) == []

    async def test_deleting_their_data_deletes_what_a_member_chose(self, place, second, query):
        await place.bo.click(second, label="First")
        query(lambda session: delete_member(session, place.bo.id))
        assert query(lambda session: session.scalars(select(ComparisonRow)).all()) == []
