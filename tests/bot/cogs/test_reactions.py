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


class TestVotes:
    async def test_a_thumb_is_a_vote_and_its_removal_withdraws_it(self, place, votes, rows):
        answer = await place.ask("hi")
        await place.ada.react(answer, "👍")
        assert votes(1) == {place.ada.id: Vote.UP}
        await place.ada.unreact(answer, "👍")
        assert votes(1) == {}
        assert [row.added for row in rows(VoteEventRow)] == [True, False]
        await place.ada.react(answer, "👍")
        await place.ada.react(answer, "👎")
        assert votes(1) == {}, "both thumbs cancel out"
        await place.ada.unreact(answer, "👍")
        assert votes(1) == {place.ada.id: Vote.DOWN}

    async def test_other_reactions_on_other_messages_or_by_bots_are_not_votes(self, place, rows, env):
        answer = await place.ask("hi")
        message = await place.ada.send(place.channel, "just talking")
        robot = env.guild.add_member(env.create_user("robot", bot=True))
        await place.ada.react(answer, "🎉")
        await robot.react(answer, "👎")
        await place.bo.react(message, "👍")
        assert rows(VoteEventRow) == rows(MemberRow) == []

    async def test_clearing_reactions_withdraws_their_votes(self, place, votes, env):
        answer = await place.ask("hi")
        await place.ada.react(answer, "👍")
        await place.bo.react(answer, "👎")
        env.backend.clear_reaction(place.channel.id, answer.id, "👎")
        await env.settle()
        assert votes(1) == {place.ada.id: Vote.UP}
        env.backend.clear_reactions(place.channel.id, answer.id)
        await env.settle()
        assert votes(1) == {}

    async def test_reactions_made_while_the_bot_was_offline_are_found_once(self, place, votes, rows, env, new_bot):
        answer, deleted = await place.ask("one"), await place.ask("two")
        await place.ada.react(answer, "👍")
        with env.gap():
            env.backend.delete_message(place.channel.id, deleted.id)
            env.backend.set_reaction(place.channel.id, answer.id, "👍", place.ada.id, False)
            env.backend.set_reaction(place.channel.id, answer.id, "👎🏽", place.bo.id, True)
        assert votes(1) == {place.ada.id: Vote.UP}
        for _ in range(2):
            await env.restart_bot(new_bot())
            assert votes(1) == {place.bo.id: Vote.DOWN}
        assert len(rows(VoteEventRow)) == 3

    @pytest.mark.parametrize("status", [500, 429])
    async def test_reactions_that_discord_refuses_are_asked_for_again(self, place, votes, env, new_bot, status):
        answer = await place.ask("hi")
        with env.gap():
            env.backend.set_reaction(place.channel.id, answer.id, "👍", place.bo.id, True)
        env.inject_error("GET", "/channels/*/messages/*", status=status, times=2)
        await env.restart_bot(new_bot())
        assert votes(1) == {}
        await env.advance_time(2 * RECONCILE_PAUSE_S)
        assert votes(1) == {place.bo.id: Vote.UP}

    async def test_who_reacted_is_not_asked_where_only_the_bot_did(self, place, votes, env, new_bot):
        answer = await place.ask("hi")
        with env.gap():
            env.backend.set_reaction(place.channel.id, answer.id, "👍", place.bo.id, True)
        env.http_requests.clear()
        await env.restart_bot(new_bot())
        assert votes(1) == {place.bo.id: Vote.UP}
        asked = [one.path for one in env.http_requests if one.method == "GET" and "/reactions/" in one.path]
        assert len(asked) == 1


class TestEmoji:
    """Other emoji vote as thumbs do, a server's own too."""

    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_VOTES__EMOJI": '{"❤️": 1.5, "🥱": -0.5, "<:party:777777777777777777>": 2}'}

    async def test_an_emoji_is_a_vote_and_its_removal_withdraws_it(self, place, votes, rows, env):
        answer = await place.ask("hi")
        assert [str(reaction.emoji) for reaction in answer.reactions] == ["👍", "👎", "🔁"], "the bot offers no others"
        await place.ada.react(answer, "❤️")
        await place.bo.react(answer, "🥱")
        await place.grace.react(answer, "party:777777777777777777")
        assert votes(1) == {place.ada.id: Vote.UP, place.bo.id: Vote.DOWN, place.grace.id: Vote.UP}
        assert [row.emoji for row in rows(VoteEventRow)] == ["❤️", "🥱", "777777777777777777"]
        await place.ada.unreact(answer, "❤️")
        await place.grace.unreact(answer, "party:777777777777777777")
        assert votes(1) == {place.bo.id: Vote.DOWN}
        await place.grace.react(answer, "party:777777777777777777")
        env.backend.clear_reaction(place.channel.id, answer.id, "party:777777777777777777")
        await env.settle()
        assert votes(1) == {place.bo.id: Vote.DOWN}, "a moderator cleared it"

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

    async def test_a_return_finds_those_it_knows_and_leaves_others_as_they_are(
        self, place, env, new_bot, settings, rows
    ):
        answer = await place.ask("hi")
        await place.ada.react(answer, "🥱")
        with env.gap():
            env.backend.set_reaction(place.channel.id, answer.id, "party:777777777777777777", place.bo.id, True)
            env.backend.set_reaction(place.channel.id, answer.id, "🎉", place.bo.id, True)
        settings.votes.emoji.pop("🥱")  # as after a change of config.toml
        await env.restart_bot(new_bot())
        assert await env.bot.services.database.read(votes_on, 1) == {place.bo.id: Vote.UP}
        assert [(row.emoji, row.added) for row in rows(VoteEventRow)] == [("🥱", True), ("777777777777777777", True)]


class TestMembership:
    """Since when a voter is a member gives the vote its weight."""

    async def test_a_reaction_shows_since_when_its_member_joined(self, place, env, rows):
        answer = await place.ask("hi")
        await place.bo.react(answer, "👍")
        (row,) = rows(MemberRow)
        bo = env.backend.guilds[env.guild.id].members[place.bo.id]
        assert (row.guild_id, row.user_id) == (env.guild.id, place.bo.id)
        assert row.joined_at.isoformat() == bo.joined_at
        bo.joined_at = "2026-03-01T00:00:00+00:00"  # who came back is new again
        await place.bo.react(answer, "👎")
        assert [one.joined_at for one in rows(MemberRow)] == [datetime(2026, 3, 1, tzinfo=UTC)] != [row.joined_at]

    async def test_a_vote_in_a_direct_message_belongs_to_no_server(self, place, env, rows, votes):
        await place.ada.send_dm("hi")
        answer = place.ada.user.dm_channel.last_message
        env.backend.set_reaction(answer.channel.id, answer.id, "👍", place.ada.id, True)
        await env.settle()
        assert votes(1) == {place.ada.id: Vote.UP}
        assert rows(MemberRow) == []

    async def test_voters_of_the_time_away_are_asked_about_on_return(self, place, votes, env, new_bot, rows):
        answer = await place.ask("hi")
        with env.gap():
            gone = env.guild.add_member(env.create_user("gone"))
            for member in (place.bo, gone):
                env.backend.set_reaction(place.channel.id, answer.id, "👍", member.id, True)
            env.backend.remove_member(env.guild.id, gone.id)
        await env.restart_bot(new_bot())
        assert votes(1) == {place.bo.id: Vote.UP, gone.id: Vote.UP}
        assert [row.user_id for row in rows(MemberRow)] == [place.bo.id]


class TestEarlyVotes:
    async def test_a_vote_quicker_than_the_answers_row_counts(self, place, votes, env, query):
        answer = await place.ask("hi")
        log, thumb = env.bot.services.vote_queue, Thumb(987_654, place.ada.id, "👍")
        log.put(Reacted(thumb, place.channel.id, added=True))
        await env.settle()
        assert votes(1) == {}
        query(record(answer))
        log.recorded(987_654)
        await log.flush(60)
        assert votes(1) == {place.ada.id: Vote.UP}

    async def test_reactions_before_the_row_are_applied_before_later_ones(self, place, votes, env, query):
        answer = await place.ask("hi")
        log, thumb = env.bot.services.vote_queue, Thumb(987_654, place.ada.id, "👍")
        log.put(Reacted(thumb, place.channel.id, added=True))
        await log.flush(60)
        query(record(answer))
        log.put(Reacted(thumb, place.channel.id, added=False))
        log.recorded(987_654)
        await log.flush(60)
        assert votes(1) == {}

    async def test_a_row_written_while_it_is_looked_for_is_found(self, place, votes, env, query):
        answer = await place.ask("hi")
        database = HastyDatabase(env.bot.services.database.engine)
        log = VoteQueue(database, env.bot.tasks, ())

        async def meanwhile():
            query(record(answer))
            log.recorded(987_654)

        database.meanwhile = meanwhile
        log.put(Reacted(Thumb(987_654, place.ada.id, "👍"), place.channel.id, added=True))
        await log.flush(60)
        assert votes(1) == {place.ada.id: Vote.UP}

    async def test_one_that_cannot_be_stored_costs_no_other(self, place, votes, env, query):
        answer = await place.ask("hi")
        log, impossible = env.bot.services.vote_queue, 2**70
        for user_id, emoji in ((impossible, "👍"), (place.ada.id, "👍"), (impossible, "👎"), (place.bo.id, "👎")):
            log.put(Reacted(Thumb(987_654, user_id, emoji), place.channel.id, added=True))
        await log.flush(60)
        query(record(answer))
        log.recorded(987_654)
        await log.flush(60)
        assert votes(1) == {place.ada.id: Vote.UP, place.bo.id: Vote.DOWN}

    async def test_votes_keep_their_order_while_the_database_comes_and_goes(self, place, env, rows):
        answer = await place.ask("hi")
        log = VoteQueue(FailingDatabase(env.bot.services.database.engine), env.bot.tasks, ())
        for added in (True, False) * 3:
            log.put(Reacted(Thumb(answer.id, place.ada.id, "👍"), place.channel.id, added=added))
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


def record(answer):
    """Return work that writes the row of a further message of the first answer."""
    return lambda session: add_message(session, 1, 987_654, answer.channel.id, 1)


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

    async def test_everybody_quoted_must_have_agreed(self, place, rows, query):
        await place.ask("hi")
        query(lambda session: give_consent(session, place.ada.id))
        answer = await place.ask("hello")
        await place.bo.send(place.channel, "and me?", reply_to=answer)
        assert [row.basis for row in rows(ReplyRow)] == [None, Basis.LIVE_CHAT, None]


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
            f"-# <@{who.id}>, thanks for your first vote. Reactions teach me which of my answers members "
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

    async def test_the_member_reads_it_once(self, place, env):
        answer = await place.ask("hi")
        for emoji in ("👍", "👍🏽"):  # two skin tones of one thumb are no contradiction
            await place.ada.react(answer, emoji)
            assert place.last.id == answer.id
        await place.ada.react(answer, "👎")
        assert place.last.content.startswith(f"-# <@{place.ada.id}>, your 👍 and 👎 cancel each other out.")
        assert place.last.reference.message_id == answer.id
        assert env.backend.get_message(place.channel.id, place.last.id).ping_user_ids == [], "nobody is pinged"
        await env.advance_time(HINT_S)
        assert place.last.id == answer.id, "the hint disappears"
        other = await place.ask("hello")
        for emoji in ("👎", "👍"):
            await place.ada.react(other, emoji)
        assert place.last.id == other.id
        for emoji in ("👎", "👍"):
            await place.bo.react(other, emoji)
        assert f"<@{place.bo.id}>" in place.last.content

    async def test_thumbs_on_two_messages_of_one_answer_count_together(self, place, engine):
        engine.answers = [" ".join(["word" * 225] * 3)]
        await place.ask("long please")
        first, last = (m for m in place.channel.history() if m.author.bot)
        await place.ada.react(first, "👍")
        await place.ada.react(last, "👎")
        assert "cancel each other out" in place.last.content

    async def test_a_batch_asks_for_its_hints_after_the_commit_with_two_queries(self, place, env, past_the_bot):
        answers = [await place.ask(words) for words in ("hi", "hello", "good morning")]
        contradictions, firsts, statements = [], [], []
        queue = VoteQueue(
            past_the_bot,
            env.bot.tasks,
            (),
            lambda channel_id, _found: contradictions.append(channel_id),
            lambda channel_id, first: firsts.append((channel_id, first.user_id)),
        )
        event.listen(
            past_the_bot.engine,
            "before_cursor_execute",
            lambda _c, _cursor, said, *_: statements.append(said.split()[0]),
        )
        event.listen(past_the_bot.engine, "commit", lambda _connection: statements.append("COMMIT"))
        for answer in answers:
            for member in (place.ada, place.bo):
                for emoji in ("👍", "👎"):
                    queue.put(Reacted(Thumb(answer.id, member.id, emoji), place.channel.id, added=True))
        await queue.flush(60)
        assert set(firsts) == {(place.channel.id, place.ada.id), (place.channel.id, place.bo.id)}
        assert contradictions == [place.channel.id] * 6
        committed = statements.index("COMMIT", statements.index("INSERT"))
        assert statements[committed + 1 :].count("SELECT") == 2
