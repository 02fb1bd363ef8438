"""What members write after an answer is a weak vote where the server and the member want it; the words are not kept."""

from __future__ import annotations

import pytest

from storage.database.enums import WeakVote
from storage.database.tables import ConsentRow, FollowUpRow, VoteEventRow


@pytest.fixture
def overrides():
    return {"REACTUNE_VOTES__WEAK": "thanked, went on, asked again"}


@pytest.fixture
def said(rows):
    """Return what was said after each watched answer."""
    return lambda: [row.said for row in rows(FollowUpRow)]


async def test_thanks_of_the_asker_count_and_are_shown_for_what_they_are(place, said, rows):
    answer = await place.ask("hi")
    assert said() == [None]
    await place.bo.send(place.channel, "thanks from me too!", reply_to=answer)
    assert said()[0] is None
    await place.ada.send(place.channel, "And what about Sunday?", reply_to=answer)
    assert said()[0] is WeakVote.WENT_ON
    await place.ada.send(place.channel, "Thank you, that helps!", reply_to=answer)
    assert said()[0] is WeakVote.THANKED
    assert rows(VoteEventRow) == []
    shown = (await place.ada.slash(place.channel, "myvotes")).response.content
    assert "1 weak vote, read from what was done after an answer:" in shown
    assert "thanked [" in shown
    assert "counts a little in what people here like" in shown
    assert "👍" not in shown


async def test_a_complaint_with_thanks_says_nothing(place, said):
    answer = await place.ask("hi")
    await place.ada.send(place.channel, "thanks, but that's wrong", reply_to=answer)
    assert said()[0] is None


async def test_a_thumb_replaces_it(place):
    answer = await place.ask("hi")
    await place.ada.send(place.channel, "thanks!", reply_to=answer)
    await place.ada.react(answer, "👎")
    shown = (await place.ada.slash(place.channel, "myvotes")).response.content
    assert "thanked" in shown
    assert "doesn't count: the vote on the same answer replaces it" in shown


async def test_a_thumb_that_was_taken_back_replaced_it(place):
    answer = await place.ask("hi")
    await place.ada.send(place.channel, "thanks!", reply_to=answer)
    await place.ada.react(answer, "👎")
    await place.ada.unreact(answer, "👎")
    shown = (await place.ada.slash(place.channel, "myvotes")).response.content
    assert "it stays replaced although that vote was withdrawn" in shown


async def test_edited_and_deleted_words_count_no_more(place, said):
    answer = await place.ask("hi")
    words = await place.ada.send(place.channel, "thanks!", reply_to=answer)
    await place.ada.edit(words, "thanks, but that's wrong")
    assert said()[0] is None
    await place.ada.edit(words, "thanks a lot!")
    assert said()[0] is WeakVote.THANKED
    await place.ada.delete(words)
    assert said()[0] is None


async def test_another_answer_asked_is_shown(place):
    answer = await place.ask("hi")
    await place.ada.react(answer, "🔁")
    shown = (await place.ada.slash(place.channel, "myvotes")).response.content
    assert "asked again [" in shown


class TestAnotherAnswerThatCountsByItself:
    @pytest.fixture
    def overrides(self):
        return {}

    async def test_a_like_and_a_dislike_that_cancel_replace_nothing(self, place):
        answer = await place.ask("hi")
        await place.ada.react(answer, "👍")
        await place.ada.react(answer, "🔁")
        assert "the vote on the same answer replaces it" in await self._asked_again(place)
        await place.ada.react(answer, "👎")
        assert "counts a little" in await self._asked_again(place)

    async def _asked_again(self, place):
        lines = (await place.ada.slash(place.channel, "myvotes")).response.content.splitlines()
        return next(line for line in lines if line.startswith("asked again"))


class TestOnDiscord:
    @pytest.fixture
    def fixed_basis(self):
        return None

    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_VOTES__WEAK": "thanked", "REACTUNE_PRIVACY__DISCORD_TRAINING_PERMISSION": "true"}

    async def test_only_members_who_opted_in_are_watched(self, place, said, rows):
        await place.ask("hi")
        assert rows(FollowUpRow) == []
        await place.ada.slash(place.channel, "privacy opt-in")
        assert [row.user_id for row in rows(ConsentRow)] == [place.ada.id]
        answer = await place.ask("hi again")
        await place.ada.send(place.channel, "thanks!", reply_to=answer)
        assert said()[0] is WeakVote.THANKED
        await place.ada.slash(place.channel, "privacy opt-out")
        assert rows(FollowUpRow) == []


class TestSwitchedOff:
    @pytest.fixture
    def overrides(self):
        return {}

    async def test_nothing_is_read(self, place, rows):
        answer = await place.ask("hi")
        await place.ada.send(place.channel, "thanks!", reply_to=answer)
        assert rows(FollowUpRow) == []
