"""Reactions become votes, also after crashes, restarts and database failures."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from bot.cogs.reactions import FIRST_VOTES, HINT_S, RECONCILE_PAUSE_S
from bot.vote_queue import Reacted, VoteQueue
from storage.conversations.replies import add_message
from storage.database.database import Database
from storage.database.enums import Basis
from storage.database.tables import MemberRow, ReplyRow, VoteEventRow
from storage.privacy.consent import give_consent
from storage.votes.votes import Thumb, Vote, votes_on
from tests.bot.panels import delete_everything


class TestVotes:
    async def test_a_thumb_is_a_vote_and_its_removal_withdraws_it(self, place, votes, rows):
        answer = await place.ask("hi")
        await place.ada.react(answer, "👍")
        assert votes(1) == {place.ada.id: Vote.UP}
        await place.ada.unreact(answer, "👍")
        assert votes(1) == {}
        assert [row.added for row in rows(VoteEventRow)] == [True, False]

    async def test_both_thumbs_cancel_out(self, place, votes):
        answer = await place.ask("hi")
        await place.ada.react(answer, "👍")
        await place.ada.react(answer, "👎")
        assert votes(1) == {}
        await place.ada.unreact(answer, "👍")
        assert votes(1) == {place.ada.id: Vote.DOWN}

    @pytest.mark.parametrize("emoji", ["👍🏻", "👍🏼", "👍🏽", "👍🏾", "👍🏿"])
    async def test_every_skin_tone_counts(self, place, votes, emoji):
        answer = await place.ask("hi")
        await place.ada.react(answer, emoji)
        assert votes(1) == {place.ada.id: Vote.UP}

    async def test_other_reactions_and_the_bots_own_do_not(self, place, rows, env):
        answer = await place.ask("hi")
        robot = env.guild.add_member(env.create_user("robot", bot=True))
        await place.ada.react(answer, "🎉")
        await robot.react(answer, "👎")
        assert rows(VoteEventRow) == []

    async def test_reactions_on_other_messages_are_not_votes(self, place, rows):
        message = await place.ada.send(place.channel, "just talking")
        await place.bo.react(message, "👍")
        assert rows(VoteEventRow) == []

    async def test_one_vote_per_member_whichever_message_of_the_answer_carries_it(self, place, engine, votes):
        engine.answers = [" ".join(["word"] * 600)]
        await place.ask("long please")
        first, last = (m for m in place.channel.history() if m.author.bot)
        await place.ada.react(first, "👎")
        await place.ada.react(last, "👎")
        assert votes(1) == {place.ada.id: Vote.DOWN}
        await place.ada.unreact(last, "👎")
        assert votes(1) == {place.ada.id: Vote.DOWN}

    async def test_clearing_all_reactions_withdraws_all_votes(self, place, votes, env):
        answer = await place.ask("hi")
        await place.ada.react(answer, "👍")
        await place.bo.react(answer, "👎")
        env.backend.clear_reactions(place.channel.id, answer.id)
        await env.settle()
        assert votes(1) == {}

    async def test_clearing_one_emoji_withdraws_its_votes_alone(self, place, votes, env):
        answer = await place.ask("hi")
        await place.ada.react(answer, "👍")
        await place.bo.react(answer, "👎")
        env.backend.clear_reaction(place.channel.id, answer.id, "👎")
        await env.settle()
        assert votes(1) == {place.ada.id: Vote.UP}

    async def test_reactions_made_while_the_bot_was_offline_are_found(self, place, votes, env, new_bot):
        answer = await place.ask("hi")
        await place.ada.react(answer, "👍")
        old, feed = env.bot, env._gateway_feed
        env.backend.subscribers.remove(feed)  # the gateway gap
        env.backend.set_reaction(place.channel.id, answer.id, "👍", place.ada.id, False)
        env.backend.set_reaction(place.channel.id, answer.id, "👎🏽", place.bo.id, True)
        env.backend.subscribers.append(feed)
        assert votes(1) == {place.ada.id: Vote.UP}
        await env.restart_bot(new_bot())
        assert votes(1) == {place.bo.id: Vote.DOWN}
        await old.close()

    @pytest.mark.parametrize("status", [500, 503, 429])
    async def test_reactions_that_discord_refuses_are_asked_for_again(self, place, votes, env, new_bot, status):
        answer = await place.ask("hi")
        old, feed = env.bot, env._gateway_feed
        env.backend.subscribers.remove(feed)
        env.backend.set_reaction(place.channel.id, answer.id, "👍", place.bo.id, True)
        env.backend.subscribers.append(feed)
        env.inject_error("GET", "/channels/*/messages/*", status=status, times=2)
        await env.restart_bot(new_bot())
        assert votes(1) == {}
        await env.advance_time(2 * RECONCILE_PAUSE_S)
        assert votes(1) == {place.bo.id: Vote.UP}
        await old.close()

    async def test_a_second_return_changes_nothing(self, place, rows, env, new_bot):
        answer = await place.ask("hi")
        await place.ada.react(answer, "👍")
        old = env.bot
        await env.restart_bot(new_bot())
        assert len(rows(VoteEventRow)) == 1
        await old.close()

    async def test_a_deleted_answer_does_not_stop_the_reconciliation(self, place, votes, env, new_bot):
        first, second = await place.ask("one"), await place.ask("two")
        old, feed = env.bot, env._gateway_feed
        env.backend.subscribers.remove(feed)
        env.backend.delete_message(place.channel.id, second.id)
        env.backend.set_reaction(place.channel.id, first.id, "👍", place.bo.id, True)
        env.backend.subscribers.append(feed)
        await env.restart_bot(new_bot())
        assert votes(1) == {place.bo.id: Vote.UP}
        await old.close()


class TestEmoji:
    """Other emoji vote as thumbs do, a server's own too."""

    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_VOTES__EMOJI": '{"❤️": 1.5, "🥱": -0.5, "<:party:777777777777777777>": 2}'}

    async def test_an_emoji_is_a_vote_and_its_removal_withdraws_it(self, place, votes, rows):
        answer = await place.ask("hi")
        await place.ada.react(answer, "❤️")
        await place.bo.react(answer, "🥱")
        await place.grace.react(answer, "party:777777777777777777")
        assert votes(1) == {place.ada.id: Vote.UP, place.bo.id: Vote.DOWN, place.grace.id: Vote.UP}
        assert [row.emoji for row in rows(VoteEventRow)] == ["❤️", "🥱", "777777777777777777"]
        await place.ada.unreact(answer, "❤️")
        await place.grace.unreact(answer, "party:777777777777777777")
        assert votes(1) == {place.bo.id: Vote.DOWN}

    async def test_the_bot_offers_thumbs_only(self, place):
        answer = await place.ask("hi")
        assert [str(reaction.emoji) for reaction in answer.reactions] == ["👍", "👎", "🔁"]

    async def test_several_of_one_member_are_one_vote(self, place, votes, env):
        answer = await place.ask("hi")
        for emoji in ("❤️", "👍", "party:777777777777777777"):
            await place.ada.react(answer, emoji)
        await place.ada.unreact(answer, "👍")
        assert votes(1) == {place.ada.id: Vote.UP}
        shown = await place.ada.slash(place.channel, "myvotes")
        assert "You voted on 1 answer" in shown.response.content
        assert "<:party:777777777777777777>" in shown.response.content

    async def test_opposite_ones_cancel_out_and_the_member_reads_which(self, place, votes):
        answer = await place.ask("hi")
        for emoji in ("❤️", "party:777777777777777777", "🥱"):
            await place.ada.react(answer, emoji)
        assert votes(1) == {}
        mention = f"-# <@{place.ada.id}>, your"
        assert place.last.content.startswith(f"{mention} ❤️<:party:777777777777777777> and 🥱 cancel each other out.")
        await place.ada.unreact(answer, "🥱")
        assert votes(1) == {place.ada.id: Vote.UP}

    async def test_moderators_clear_them(self, place, votes, env):
        answer = await place.ask("hi")
        await place.ada.react(answer, "party:777777777777777777")
        await place.bo.react(answer, "❤️")
        env.backend.clear_reaction(place.channel.id, answer.id, "party:777777777777777777")
        await env.settle()
        assert votes(1) == {place.bo.id: Vote.UP}

    async def test_a_return_finds_those_it_knows_and_leaves_others_as_they_are(
        self, place, env, new_bot, settings, rows
    ):
        answer = await place.ask("hi")
        await place.ada.react(answer, "🥱")
        old, feed = env.bot, env._gateway_feed
        env.backend.subscribers.remove(feed)  # the gateway gap
        env.backend.set_reaction(place.channel.id, answer.id, "party:777777777777777777", place.bo.id, True)
        env.backend.set_reaction(place.channel.id, answer.id, "🎉", place.bo.id, True)
        env.backend.subscribers.append(feed)
        settings.votes.emoji.pop("🥱")  # as after a change of config.toml
        await env.restart_bot(new_bot())
        assert await env.bot.services.database.read(votes_on, 1) == {place.bo.id: Vote.UP}
        assert [(row.emoji, row.added) for row in rows(VoteEventRow)] == [("🥱", True), ("777777777777777777", True)]
        await old.close()


class TestMembership:
    """Since when a voter is a member gives the vote its weight."""

    async def test_a_reaction_shows_since_when_its_member_joined(self, place, env, rows):
        answer = await place.ask("hi")
        await place.bo.react(answer, "👍")
        (row,) = rows(MemberRow)
        joined_at = env.backend.guilds[env.guild.id].members[place.bo.id].joined_at
        assert (row.guild_id, row.user_id) == (env.guild.id, place.bo.id)
        assert row.joined_at.isoformat() == joined_at

    async def test_nothing_is_kept_of_members_who_do_not_vote(self, place, rows):
        answer = await place.ask("hi")
        message = await place.ada.send(place.channel, "just talking")
        await place.bo.react(message, "👍")
        await place.ada.react(answer, "🎉")
        assert rows(MemberRow) == []

    async def test_a_member_who_came_back_is_new_again(self, place, env, rows):
        answer = await place.ask("hi")
        await place.bo.react(answer, "👍")
        before = rows(MemberRow)[0].joined_at
        env.backend.guilds[env.guild.id].members[place.bo.id].joined_at = "2026-03-01T00:00:00+00:00"
        await place.bo.react(answer, "👎")
        assert [row.joined_at for row in rows(MemberRow)] == [datetime(2026, 3, 1, tzinfo=UTC)] != [before]

    async def test_a_vote_in_a_direct_message_belongs_to_no_server(self, place, env, rows, votes):
        await place.ada.send_dm("hi")
        answer = place.ada.user.dm_channel.last_message
        env.backend.set_reaction(answer.channel.id, answer.id, "👍", place.ada.id, True)
        await env.settle()
        assert votes(1) == {place.ada.id: Vote.UP}
        assert rows(MemberRow) == []

    async def test_voters_of_the_time_away_are_asked_about_on_return(self, place, votes, env, new_bot, rows):
        answer = await place.ask("hi")
        old, feed = env.bot, env._gateway_feed
        env.backend.subscribers.remove(feed)  # the gateway gap
        gone = env.guild.add_member(env.create_user("gone"))
        for member in (place.bo, gone):
            env.backend.set_reaction(place.channel.id, answer.id, "👍", member.id, True)
        env.backend.remove_member(env.guild.id, gone.id)
        env.backend.subscribers.append(feed)
        await env.restart_bot(new_bot())
        assert votes(1) == {place.bo.id: Vote.UP, gone.id: Vote.UP}
        assert [row.user_id for row in rows(MemberRow)] == [place.bo.id]
        await old.close()

    async def test_members_are_forgotten_with_their_data_and_stay_so(self, place, rows, env, new_bot):
        answer = await place.ask("hi", who=place.bo)
        await place.ada.react(answer, "👍")
        await delete_everything(place.ada, place.channel)
        old = env.bot
        await env.restart_bot(new_bot())
        assert rows(MemberRow) == []
        await old.close()


class TestEarlyVotes:
    async def test_a_vote_quicker_than_the_answers_row_counts(self, place, votes, env):
        answer = await place.ask("hi")
        log, thumb = env.bot.services.vote_queue, Thumb(987_654, place.ada.id, "👍")
        log.put(Reacted(thumb, added=True))
        await env.settle()
        assert votes(1) == {}
        database = env.bot.services.database
        await asyncio.to_thread(_within_transaction, database, add_message, 1, 987_654, answer.channel.id, 1)
        log.recorded(987_654)
        await log.flush(60)
        assert votes(1) == {place.ada.id: Vote.UP}

    async def test_reactions_before_the_row_are_applied_before_later_ones(self, place, votes, env):
        answer = await place.ask("hi")
        log, thumb = env.bot.services.vote_queue, Thumb(987_654, place.ada.id, "👍")
        log.put(Reacted(thumb, added=True))
        await log.flush(60)
        await asyncio.to_thread(
            _within_transaction, env.bot.services.database, add_message, 1, 987_654, answer.channel.id, 1
        )
        log.put(Reacted(thumb, added=False))
        log.recorded(987_654)
        await log.flush(60)
        assert votes(1) == {}

    async def test_a_row_written_while_it_is_looked_for_is_found(self, place, votes, env, settings):
        answer = await place.ask("hi")
        database = HastyDatabase(env.bot.services.database.engine)
        log = VoteQueue(database, env.bot.tasks, ())

        async def record():
            await asyncio.to_thread(_within_transaction, database, add_message, 1, 987_654, answer.channel.id, 1)
            log.recorded(987_654)

        database.meanwhile = record
        log.put(Reacted(Thumb(987_654, place.ada.id, "👍"), added=True))
        await log.flush(60)
        assert votes(1) == {place.ada.id: Vote.UP}

    async def test_one_that_cannot_be_stored_costs_no_other(self, place, votes, env):
        answer = await place.ask("hi")
        log, impossible = env.bot.services.vote_queue, 2**70
        for user_id, emoji in ((impossible, "👍"), (place.ada.id, "👍"), (impossible, "👎"), (place.bo.id, "👎")):
            log.put(Reacted(Thumb(987_654, user_id, emoji), added=True))
        await log.flush(60)
        await asyncio.to_thread(
            _within_transaction, env.bot.services.database, add_message, 1, 987_654, answer.channel.id, 1
        )
        log.recorded(987_654)
        await log.flush(60)
        assert votes(1) == {place.ada.id: Vote.UP, place.bo.id: Vote.DOWN}

    async def test_votes_keep_their_order_while_the_database_comes_and_goes(self, place, env, rows):
        answer = await place.ask("hi")
        log = VoteQueue(FailingDatabase(env.bot.services.database.engine), env.bot.tasks, ())
        for added in (True, False) * 3:
            log.put(Reacted(Thumb(answer.id, place.ada.id, "👍"), added=added))
            await asyncio.sleep(0)
        await log.flush(60)
        assert [row.added for row in rows(VoteEventRow)] == [True, False] * 3


class FailingDatabase(Database):
    """Away for the first three times that something is to be written."""

    failures = 3

    async def run(self, work, /, *args, **kwargs):
        if self.failures:
            self.failures -= 1
            raise OperationalError("INSERT", None, ConnectionError("away"))
        return await super().run(work, *args, **kwargs)


class HastyDatabase(Database):
    """Somebody writes between a read and its answer."""

    meanwhile = None

    async def read(self, work, /, *args, **kwargs):
        found = await super().read(work, *args, **kwargs)
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        return found


def _within_transaction(database, work, *arguments):
    with database.transaction() as session:
        return work(session, *arguments)


class TestBusyDatabase:
    async def test_votes_wait_until_the_database_takes_them(self, place, votes, lock_database):
        answer = await place.ask("hi")
        lock_database()
        await place.ada.react(answer, "👍")
        assert votes(1) == {place.ada.id: Vote.UP}


class TestLiveChat:
    @pytest.fixture
    def fixed_basis(self):
        return None

    async def test_without_consent_there_is_no_basis(self, place, rows):
        await place.ask("hi")
        assert rows(ReplyRow)[0].basis is None

    async def test_everybody_quoted_must_have_agreed(self, place, rows, query):
        query(lambda session: give_consent(session, place.ada.id))
        answer = await place.ask("hi")
        await place.bo.send(place.channel, "and me?", reply_to=answer)
        assert [row.basis for row in rows(ReplyRow)] == [Basis.LIVE_CHAT, None]


class TestFirstVote:
    """A member reads once what a vote does, in a message that disappears."""

    @pytest.fixture
    def fixed_basis(self):
        return None

    async def test_each_member_reads_it_once(self, place, env):
        answer = await answer_below_notice(place)
        for who, emoji in ((place.ada, "👍"), (place.bo, "❤️"), (place.ada, "👎")):
            await who.react(answer, emoji)
        told = [text for text in place.contents if "your first vote" in text]
        assert sorted(told) == sorted(
            f"-# <@{who.id}>, thanks for your first vote. Reactions teach me which of my answers people "
            "like. `/myvotes` shows what became of yours."
            for who in (place.ada, place.bo)
        )
        await env.advance_time(HINT_S)
        assert [text for text in place.contents if "your first vote" in text] == []

    async def test_a_crowd_does_not_fill_the_channel(self, place, env, rows):
        answer = await answer_below_notice(place)
        crowd = [env.guild.add_member(env.create_user(f"new{number}")) for number in range(6)]
        for member in crowd:
            await member.react(answer, "👍")
        assert sum("your first vote" in text for text in place.contents) == FIRST_VOTES
        assert len(rows(VoteEventRow)) == len(crowd)


async def answer_below_notice(place):
    """Ask twice: the first answer is followed by the notice about privacy."""
    await place.ask("hi")
    return await place.ask("hello")


class TestBothThumbs:
    """👍 and 👎 of one member cancel each other out, and the member reads so once a day."""

    async def test_the_member_reads_it_once(self, place, rows):
        answer = await place.ask("hi")
        await place.ada.react(answer, "👍")
        assert place.last.id == answer.id
        await place.ada.react(answer, "👎")
        assert place.last.content.startswith(f"-# <@{place.ada.id}>, your 👍 and 👎 cancel each other out.")
        assert place.last.reference.message_id == answer.id
        other = await place.ask("hello")
        for emoji in ("👎", "👍"):
            await place.ada.react(other, emoji)
        assert place.last.id == other.id
        for emoji in ("👎", "👍"):
            await place.bo.react(other, emoji)
        assert f"<@{place.bo.id}>" in place.last.content

    async def test_the_hint_disappears(self, place, env):
        answer = await place.ask("hi")
        for emoji in ("👍", "👎"):
            await place.ada.react(answer, emoji)
        await env.advance_time(HINT_S)
        assert place.last.id == answer.id

    async def test_two_skin_tones_of_one_thumb_are_not_a_contradiction(self, place):
        answer = await place.ask("hi")
        await place.ada.react(answer, "👍")
        await place.ada.react(answer, "👍🏽")
        assert place.last.id == answer.id

    async def test_thumbs_on_two_messages_of_one_answer_count_together(self, place, engine):
        engine.answers = [" ".join(["word"] * 600)]
        await place.ask("long please")
        first, last = (m for m in place.channel.history() if m.author.bot)
        await place.ada.react(first, "👍")
        await place.ada.react(last, "👎")
        assert "cancel each other out" in place.last.content

    async def test_a_batch_asks_for_its_hints_after_the_commit_with_two_queries(self, place, env, past_the_bot):
        answers = [await place.ask(words) for words in ("hi", "hello", "good morning")]
        contradictions, firsts, statements = [], [], []
        queue = VoteQueue(past_the_bot, env.bot.tasks, (), contradictions.append, firsts.append)
        event.listen(
            past_the_bot.engine,
            "before_cursor_execute",
            lambda _c, _cursor, said, *_: statements.append(said.split()[0]),
        )
        event.listen(past_the_bot.engine, "commit", lambda _connection: statements.append("COMMIT"))
        for answer in answers:
            for member in (place.ada, place.bo):
                for emoji in ("👍", "👎"):
                    queue.put(Reacted(Thumb(answer.id, member.id, emoji), added=True))
        await queue.flush(60)
        assert {first.user_id for first in firsts} == {place.ada.id, place.bo.id}
        assert len(contradictions) == 6
        committed = statements.index("COMMIT", statements.index("INSERT"))
        assert statements[committed + 1 :].count("SELECT") == 2

    async def test_nobody_is_pinged(self, place, env):
        answer = await place.ask("hi")
        for emoji in ("👍", "👎"):
            await place.ada.react(answer, emoji)
        assert env.backend.get_message(place.channel.id, place.last.id).ping_user_ids == []
