"""Members pick the best of several blind answers; admins or a schedule start arenas."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import discord
import pytest
import simcord
from simcord.components import walk_components

from bot.app import ReactuneBot
from bot.arenas.board import number_of
from bot.arenas.host import ArenaPlan, ArenaSchedule
from bot.discord_errors import ARCHIVED, RATE_LIMIT_PAUSE_S
from bot.engine import Finish, GenerationFailed
from reactune.doctor.command import run_checks
from storage.adapters.folder_store import AdapterStore
from storage.conversations.prompt_bank import read_bank
from storage.database.columns import utc_now
from storage.database.enums import NOBODY, ArenaStatus, Basis, Origin, Outcome
from storage.database.tables import ArenaAnswerRow, ArenaRow, MemberRow, ReplyRow, ReplySpeakerRow, VoteEventRow
from storage.errors import SettingsError
from storage.votes.arenas import PickGesture, stop_arena
from storage.votes.votes import Vote
from tests.bot.guards.test_access import around_now
from tests.bot.panels import latest_arenas, said

TICK_S = 2.5


@pytest.fixture
def fixed_basis():
    return None


@pytest.fixture
def start(place):
    """Let grace start an arena, and return its message."""

    async def run(prompt="Tea or coffee?", **options):
        result = await place.grace.slash(place.channel, "arena start", prompt=prompt, **options)
        assert "The arena is being prepared" in result.response.content
        return shown(place)

    return run


@pytest.fixture
def make_due(query):
    """Make every open arena due."""
    return lambda: query(lambda session: session.query(ArenaRow).update({"closes_at": utc_now()}))


def shown(place) -> discord.Message:
    """Return the arena's message as it is now."""
    return next(m for m in reversed(place.channel.history()) if m.author.bot)


def parts(message, kind: discord.ComponentType) -> list[dict]:
    components = [part.to_dict() for part in message.components]
    return [part for part in walk_components(components) if part["type"] == kind.value]


def buttons(message) -> list[str]:
    return [part["label"] for part in parts(message, discord.ComponentType.button)]


def frames(message) -> list[list[str]]:
    """Return what stands in each frame of an arena, line by line."""
    frames = parts(message, discord.ComponentType.container)
    texts = [[part for part in walk_components(frame) if "content" in part] for frame in frames]
    return [text["content"].splitlines() for (text,) in texts]


def votes_by_place(rows, votes) -> dict[int, dict[int, Vote]]:
    return {row.position: votes(row.reply_id) for row in rows(ArenaAnswerRow)}


class TestWhoMayDoIt:
    @pytest.mark.parametrize("command", ["start", "stop"])
    async def test_members_are_refused_by_the_bot_even_if_discord_allows_them(self, place, env, command, rows):
        root = next(c for c in env.backend.commands[None].values() if c["name"] == "arena")
        root.update(default_member_permissions=None)
        result = await place.ada.slash(place.channel, f"arena {command}")
        assert "Only admins can do this" in result.response.content
        assert rows(ArenaRow) == []


class TestStart:
    async def test_it_shows_the_prompt_and_blind_answers_with_a_button_each(self, place, start, engine, rows):
        engine.answers = ["tea", "coffee", "both"]
        message = await start()
        assert message.flags.components_v2
        assert "\n>>> Tea or coffee?\n" in said(message)
        assert [title for title, _ in frames(message)] == ["### 1", "### 2", "### 3"]
        assert {answer for _, answer in frames(message)} == {"tea", "coffee", "both"}
        assert buttons(message) == ["1", "2", "3"]
        assert "base" not in said(message)
        row = rows(ArenaRow)[0]
        assert (row.status, row.message_id, row.prompt) == (ArenaStatus.OPEN, message.id, "Tea or coffee?")
        assert row.started_by.startswith("grace")
        assert f"<t:{int(row.closes_at.timestamp())}:R>" in said(message)
        assert len([m for m in place.channel.history() if m.author.bot]) == 1

    async def test_each_answer_is_a_reply_of_the_prompt_bank_without_a_member(self, start, engine, rows):
        engine.answers = ["tea", "coffee", "both"]
        message = await start()
        replies = {row.id: row for row in rows(ReplyRow)}
        for reply in replies.values():
            assert (reply.origin, reply.basis, reply.author_id) == (Origin.ARENA, Basis.PROMPT_BANK, NOBODY)
            assert (reply.outcome, reply.version_id) == (Outcome.COMPLETE, None)
            request = next(r for r in engine.requests if r.seed == reply.seed)
            assert reply.prompt == request.prompt
        assert rows(ReplySpeakerRow) == []
        texts = [answer for _, answer in frames(message)]
        assert [replies[row.reply_id].answer for row in rows(ArenaAnswerRow)] == texts
        assert engine.requests[0].prompt.endswith("<user>Tea or coffee?\n<assistant>")
        assert "You are talking with" not in engine.requests[0].prompt

    async def test_different_versions_answer_and_of_two_the_second_is_the_last_good_one(
        self, place, start, rows, release
    ):
        first, champion = release(1.0), release(2.0)
        await start(answers=2)
        assert {row.version_id for row in rows(ReplyRow)} == {champion.id, first.id}
        await place.grace.slash(place.channel, "arena stop")
        await start()
        assert {row.version_id for row in rows(ReplyRow)[2:]} == {champion.id, first.id, None}

    async def test_the_champion_answers_again_if_there_are_few_versions(self, start, rows, release):
        champion = release(1.0)
        await start(answers=4)
        assert sorted(row.version_id or 0 for row in rows(ReplyRow)) == [0, champion.id, champion.id, champion.id]

    async def test_a_waiting_version_and_the_champion_give_equal_parts(self, place, start, rows, release, waiting):
        release(1.0)
        champion, newest = release(2.0), waiting(3.0)
        for answers, each in ((2, 1), (3, 1), (4, 2)):
            earlier = len(rows(ReplyRow))
            await start(answers=answers)
            of_versions = Counter(row.version_id for row in rows(ReplyRow)[earlier:])
            assert of_versions == {champion.id: each, newest.id: each}
            await place.grace.slash(place.channel, "arena stop")

    async def test_a_damaged_waiting_version_is_left_out(self, start, rows, waiting, settings):
        damaged = waiting(1.0)
        folder = AdapterStore(settings.data.directory / "adapters").path(damaged.digest)
        next(folder.glob("*.safetensors")).unlink()
        await start(answers=2)
        assert [row.version_id for row in rows(ReplyRow)] == [None, None]

    async def test_a_version_with_damaged_files_is_left_out(self, start, rows, release, settings):
        damaged, champion = release(1.0), release(2.0)
        folder = AdapterStore(settings.data.directory / "adapters").path(damaged.digest)
        next(folder.glob("*.safetensors")).unlink()
        await start(answers=3)
        assert damaged.id not in {row.version_id for row in rows(ReplyRow)}
        assert [row.version_id for row in rows(ReplyRow)].count(champion.id) == 2

    async def test_answers_are_in_random_order(self, place, start, engine):
        firsts: set[str] = set()
        for _ in range(12):
            engine.answers = ["tea", "coffee", "both"]
            firsts.add(frames(await start())[0][1])
            await place.grace.slash(place.channel, "arena stop")
            if len(firsts) > 1:
                break
        assert len(firsts) > 1

    async def test_the_same_or_an_empty_answer_is_sampled_again_and_then_dropped(self, place, start, engine, rows):
        engine.answers = ["tea", "tea", "coffee", "coffee", "tea", "coffee"]
        message = await start()
        assert buttons(message) == ["1", "2"]
        assert {row.answer for row in rows(ReplyRow)} == {"tea", "coffee"}
        assert len(engine.requests) == 3 + 3
        await place.grace.slash(place.channel, "arena stop")
        engine.answers = ["", "milk", "water", "juice"]
        await start()
        assert {row.answer for row in rows(ReplyRow)[2:]} == {"milk", "water", "juice"}

    async def test_of_two_versions_with_the_same_answer_both_are_sampled_again(self, place, engine, rows, waiting):
        """Else the version that makes way would give rarer answers than the other one."""
        version = waiting(1.0)
        engine.answers = ["tea", "tea", "coffee", "milk"]
        await place.grace.slash(place.channel, "arena start", prompt="Tea?", answers=2)
        assert {row.answer: row.version_id for row in rows(ReplyRow)} == {"coffee": None, "milk": version.id}
        await place.grace.slash(place.channel, "arena stop")
        engine.answers = ["tea"] * 20
        await place.grace.slash(place.channel, "arena start", prompt="Tea?", answers=2)
        assert "All answers are the same" in said(shown(place))

    async def test_an_answer_that_takes_too_long_fails_it_without_another_wait(self, place, engine, rows):
        engine.finish = Finish.TIMEOUT
        await place.grace.slash(place.channel, "arena start", prompt="Tea?")
        assert "The model timed out" in said(shown(place))
        assert len(engine.requests) == 3
        assert rows(ArenaRow)[0].status is ArenaStatus.FAILED

    async def test_without_answers_to_compare_it_is_cancelled_and_says_why(self, place, engine, rows):
        for trouble, why in (
            ({"answers": ["tea"] * 20}, "All answers are the same"),
            ({"answers": ["", "tea", "coffee", *[""] * 3]}, "The version in use (base) gave an empty answer"),
            ({"full": True}, "I'm busy"),
            ({"full": False, "failure": GenerationFailed("secret detail")}, "The model failed"),
            ({"failure": RuntimeError("secret detail")}, "reference: `"),
        ):
            for name, value in trouble.items():
                setattr(engine, name, value)
            await place.grace.slash(place.channel, "arena start", prompt="Tea?")
            assert why in said(shown(place))
            assert "secret" not in said(shown(place))
            assert buttons(shown(place)) == []
            engine.answers = []
        assert [row.status for row in rows(ArenaRow)] == [ArenaStatus.FAILED] * 5
        assert rows(ReplyRow) == []

    async def test_nobody_is_pinged(self, place, start, engine, env):
        engine.answers = [f"@everyone <@{place.bo.id}> {i}" for i in range(3)]
        message = await start(f"@everyone <@{place.bo.id}> tea?")
        stored = env.backend.get_message(place.channel.id, message.id)
        assert (stored.ping_user_ids, stored.ping_role_ids, stored.mention_everyone) == ([], [], False)

    async def test_a_channel_has_one_arena_at_a_time(self, place, start, rows):
        await start()
        refused = await place.grace.slash(place.channel, "arena start", prompt="Another?")
        assert "hat channel already has an arena" in refused.response.content
        assert len(rows(ArenaRow)) == 1

    async def test_one_of_two_simultaneous_admins_gets_a_message(self, place, env, engine, rows):
        refusals = []

        async def second_admin() -> None:
            engine.interlude = None
            arenas = env.bot.get_cog("Arenas")
            plan = _plan(env, place)
            try:
                await arenas._host.start(plan)
            except Exception as error:
                refusals.append(str(error))

        engine.interlude = second_admin
        await place.grace.slash(place.channel, "arena start", prompt="Tea?")
        assert len(refusals) == 1
        assert "already" in refusals[0]
        assert [row.status for row in rows(ArenaRow)] == [ArenaStatus.OPEN]

    async def test_another_channel_can_be_named_and_there_missing_permissions_are(self, place, env, rows):
        nobody = discord.PermissionOverwrite(send_messages=False)
        closed = env.guild.create_text_channel("closed", overwrites={env.guild.default_role: nobody})
        result = await place.grace.slash(place.channel, "arena start", prompt="Tea?", channel=closed)
        assert "give me Send Messages there" in result.response.content
        assert rows(ArenaRow) == []
        other = env.guild.create_text_channel("other")
        result = await place.grace.slash(place.channel, "arena start", prompt="Tea?", channel=other)
        assert f"/{other.id}/" in result.response.content
        assert rows(ArenaRow)[0].channel_id == other.id
        assert buttons(other.last_message) == ["1", "2", "3"]

    async def test_a_refusal_by_discord_fails_the_arena(self, place, env, rows):
        env.inject_error("POST", f"/channels/{place.channel.id}/messages", status=403, code=50013, message="no")
        result = await place.grace.slash(place.channel, "arena start", prompt="Tea?")
        assert "I can no longer post in its channel" in result.response.content
        assert rows(ArenaRow)[0].status is ArenaStatus.FAILED


def _plan(env: simcord.Env, place) -> ArenaPlan:
    return ArenaPlan(env.bot.get_channel(place.channel.id), "Coffee?", 2, 5.0, "somebody")


class TestPrompts:
    async def test_without_a_prompt_one_of_the_bank_is_asked_and_none_twice(self, place, rows):
        for _ in range(3):
            await place.grace.slash(place.channel, "arena start")
            await place.grace.slash(place.channel, "arena stop")
        assert len({row.prompt for row in rows(ArenaRow)}) == 3

    async def test_a_prompt_that_is_empty_or_does_not_fit_is_refused(self, place, engine, rows):
        engine.window = 40
        for prompt, why in (("word " * 100, "too long for the model's context"), ("   ", "That prompt is empty")):
            result = await place.grace.slash(place.channel, "arena start", prompt=prompt)
            assert why in result.response.content
        assert rows(ArenaRow) == []


class TestOwnBank:
    @pytest.fixture
    def bank(self, tmp_path):
        path = tmp_path / "bank.txt"
        path.write_text("word " * 100 + "\nShort?\n", encoding="utf-8")
        return path

    @pytest.fixture
    def overrides(self, bank):
        return {"REACTUNE_ARENA__PROMPTS": str(bank)}

    async def test_a_prompt_of_the_bank_that_does_not_fit_is_skipped_by_line(self, place, engine, rows, caplog):
        engine.window = 40
        for _ in range(4):
            await place.grace.slash(place.channel, "arena start")
            await place.grace.slash(place.channel, "arena stop")
        assert {row.prompt for row in rows(ArenaRow)} == {"Short?"}
        assert any("Skipped line 1 of" in record.getMessage() for record in caplog.records)

    async def test_a_missing_bank_is_reported_with_its_setting(self, place, bank, rows):
        bank.unlink()
        refused = await place.grace.slash(place.channel, "arena start")
        for text in (refused.response.content, await latest_arenas(place)):
            assert "arena.prompts" in text.lower()
            assert "cannot be read" in text
        assert rows(ArenaRow) == []


class TestPicks:
    async def test_a_press_is_a_vote_that_the_next_one_changes_or_withdraws(self, place, start, votes, rows):
        message = await start()
        pressed = await place.ada.click(message, label="2")
        assert pressed.ephemeral
        assert "You chose 2. Press another number to change" in pressed.response.content
        member = place.ada.id
        assert votes_by_place(rows, votes) == {1: {member: Vote.DOWN}, 2: {member: Vote.UP}, 3: {member: Vote.DOWN}}
        assert {row.message_id for row in rows(VoteEventRow)} == {message.id}
        after = shown(place)
        assert (said(after), buttons(after)) == (said(message), ["1", "2", "3"]), "it shows no counts"
        changed = await place.ada.click(message, label="3")
        assert "You chose 3" in changed.response.content
        assert votes_by_place(rows, votes)[3] == {place.ada.id: Vote.UP}
        withdrawn = await place.ada.click(message, label="3")
        assert "taken back" in withdrawn.response.content
        assert votes_by_place(rows, votes) == {1: {}, 2: {}, 3: {}}

    async def test_presses_count_in_the_order_in_which_they_came(self, place, start, votes, rows, env):
        await start()
        picks = env.bot.services.pick_queue
        await asyncio.gather(
            *(picks.take(1, place.ada.id, number, PickGesture.PRESSED) for number in (1, 2, 3, 1, 1, 2))
        )
        assert votes_by_place(rows, votes)[2] == {place.ada.id: Vote.UP}

    async def test_the_join_date_of_a_voter_is_stored(self, place, start, rows):
        message = await start()
        await place.ada.click(message, label="2")
        await place.bo.react(message, "1️⃣")
        assert {(row.guild_id, row.user_id) for row in rows(MemberRow)} == {
            (place.ada.guild.id, place.ada.id),
            (place.ada.guild.id, place.bo.id),
        }

    async def test_it_is_no_answer_of_the_chat(self, place, start, engine, rows):
        message = await start()
        asked = len(engine.requests)
        await place.ada.react(message, "👍")
        assert rows(VoteEventRow) == []
        form = await place.ada.slash(place.channel, "suggest")
        assert "haven't answered anything" in form.response.content
        again = await place.ada.context_menu(place.channel, "Another answer", message)
        assert "isn't one of my answers" in again.response.content
        assert len(engine.requests) == asked
        await place.ada.click(message, label="1")
        text = (await place.grace.slash(place.channel, "version show")).response.content
        assert "👍 0 👎 0" in text, "picks are no approval of a version"


class TestBusyDatabase:
    async def test_a_press_is_answered_once_it_is_stored(self, place, start, lock_database, rows):
        message = await start()
        lock_database()
        pressed = await place.ada.click(message, label="1")
        assert "You chose 1" in pressed.response.content
        assert len(rows(VoteEventRow)) == 3


class TestNumberReactions:
    @pytest.mark.parametrize(
        ("emoji", "number"),
        [("1️⃣", 1), ("4️⃣", 4), ("2\u20e3", 2), ("5️⃣", None), ("0️⃣", None), ("#️⃣", None), ("👍", None), ("1", None)],
    )
    def test_only_one_to_four_are_numbers(self, emoji, number):
        assert number_of(emoji) == number

    async def test_a_number_is_a_pick_and_is_removed_to_keep_votes_blind(self, place, start, votes, rows, env):
        message = await start()
        await place.ada.react(message, "2️⃣")
        assert votes_by_place(rows, votes)[2] == {place.ada.id: Vote.UP}
        assert shown(place).reactions == []
        await place.ada.react(message, "2️⃣")
        assert votes_by_place(rows, votes)[2] == {place.ada.id: Vote.UP}
        events = len(rows(VoteEventRow))
        robot = env.guild.add_member(env.create_user("robot", bot=True))
        await robot.react(message, "1️⃣")
        await place.ada.react(message, "4️⃣")
        assert len(rows(VoteEventRow)) == events, "of bots, or of numbers without an answer, there are none"


class TestThread:
    async def test_an_arena_does_not_call_the_bot_into_a_thread(self, place, engine):
        started = await place.ada.send(place.channel, "let us talk")
        thread = await place.open_thread(started)
        await place.grace.slash(thread, "arena start", prompt="Tea?")
        assert buttons(thread.last_message) == ["1", "2", "3"]
        await place.ada.send(thread, "not for the bot")
        assert len(engine.requests) == 3
        pressed = await place.ada.click(next(m for m in thread.history() if m.author.bot), label="1")
        assert "You chose 1" in pressed.response.content


class TestDoctor:
    def test_it_looks_at_the_bank_and_the_schedule(self, settings):
        def findings(**arena):
            changed = settings.arena.model_copy(update=arena)
            model = settings.model.model_copy(update={"base": "/nowhere"})
            found = run_checks(settings.model_copy(update={"arena": changed, "model": model}))
            return {finding.what: finding for finding in found}

        well = findings(schedule="0 18 * * *", channel=7)
        assert well["Prompt bank"].message == f"{len(read_bank('').prompts)} prompts in the bundled bank"
        assert well["Arenas"].message == "scheduled at 0 18 * * * UTC in channel 7"
        assert findings()["Arenas"].message == "started by admins only"
        unwell = findings(prompts="/nowhere.txt", schedule="0 18 * * *")
        assert unwell["Prompt bank"].status == "problem"
        assert "arena.prompts" in unwell["Prompt bank"].message
        assert "arena.channel is not" in unwell["Arenas"].message


class TestWithoutManageMessages:
    """The bot cannot remove reactions, so a reaction is the pick, and its removal withdraws it."""

    @pytest.fixture
    def place(self, place, env):
        kept = discord.PermissionOverwrite(manage_messages=False)
        channel = env.guild.create_text_channel("kept", overwrites={env.guild.default_role: kept})
        return replace(place, channel=channel)

    async def test_removing_the_number_withdraws_the_pick(self, place, start, votes, rows):
        message = await start()
        await place.ada.react(message, "2️⃣")
        assert [str(reaction.emoji) for reaction in shown(place).reactions] == ["2️⃣"]
        assert votes_by_place(rows, votes)[2] == {place.ada.id: Vote.UP}
        await place.ada.unreact(message, "2️⃣")
        assert votes_by_place(rows, votes)[2] == {}

    async def test_after_a_gap_a_number_counts_for_those_who_never_voted(self, place, start, votes, rows, env, restart):
        message = await start()
        await place.ada.react(message, "1️⃣")
        await place.ada.click(message, label="2")
        feed = env._gateway_feed
        env.backend.subscribers.remove(feed)  # the gateway gap
        env.backend.set_reaction(place.channel.id, message.id, "3️⃣", place.bo.id, True)
        env.backend.subscribers.append(feed)
        await restart()
        assert votes_by_place(rows, votes)[2] == {place.ada.id: Vote.UP, place.bo.id: Vote.DOWN}
        assert votes_by_place(rows, votes)[3] == {place.ada.id: Vote.DOWN, place.bo.id: Vote.UP}


class TestClosing:
    async def test_when_its_time_has_come_versions_counts_and_the_winner_are_shown(
        self, place, start, env, make_due, rows, release, caplog
    ):
        caplog.set_level("INFO", "bot.arenas.host")
        release(1.0)
        message = await start(answers=2)
        await place.ada.click(message, label="2")
        await place.bo.click(message, label="2")
        await env.advance_time(TICK_S)
        assert rows(ArenaRow)[0].status is ArenaStatus.OPEN
        make_due()
        await env.advance_time(TICK_S)
        closed = shown(place)
        assert closed.id == message.id
        assert "Answer 2 (" in said(closed)
        assert "won with 2 of 2 choices" in said(closed)
        (logged,) = [record.getMessage() for record in caplog.records if "is closed" in record.getMessage()]
        assert re.fullmatch(r"Arena 1 is closed\. Answer 2 \((v1|base)\) won with 2 of 2 choices\.", logged)
        assert buttons(closed) == []
        assert {title.removesuffix(" 🏆")[8:] for title, _, _ in frames(closed)} == {"v1", "base"}
        assert [choices[-9:] for _, _, choices in frames(closed)] == ["0 choices", "2 choices"]
        assert rows(ArenaRow)[0].status is ArenaStatus.CLOSED

    async def test_stop_closes_it_now_or_says_that_there_is_none(self, place, start, rows):
        stopped = await place.grace.slash(place.channel, "arena stop")
        assert "hat channel has no arena" in stopped.response.content
        message = await start()
        await place.ada.click(message, label="1")
        stopped = await place.grace.slash(place.channel, "arena stop")
        assert "This arena is closed" in stopped.response.content
        assert "won with 1 of 1 choice" in said(shown(place))
        assert rows(ArenaRow)[0].status is ArenaStatus.CLOSED

    async def test_a_late_press_or_number_does_not_count(self, place, start, make_due, rows):
        message = await start()
        make_due()
        late = await place.ada.click(message, label="1")
        assert late.response.content == "This arena is closed."
        await place.ada.react(message, "1️⃣")
        assert shown(place).reactions == []
        assert rows(VoteEventRow) == []

    async def test_while_discord_has_trouble_the_results_wait(self, place, start, env, make_due, rows):
        await start()
        make_due()
        env.inject_error("PATCH", "/channels/*/messages/*", status=503, times=5)
        await env.advance_time(60)
        assert rows(ArenaRow)[0].status is ArenaStatus.CLOSED
        assert "This arena is closed" in said(shown(place))


class TestFaults:
    async def test_an_arena_that_discord_refuses_to_show_for_now_is_shown_later(self, place, env, rows):
        env.inject_error("PATCH", "/channels/*/messages/*", status=429, times=4)
        await place.grace.slash(place.channel, "arena start", prompt="Tea?")
        await env.advance_time(5 * RATE_LIMIT_PAUSE_S)
        assert rows(ArenaRow)[0].status is not ArenaStatus.FAILED
        assert "Which answer is best?" in said(shown(place))

    async def test_deleting_its_message_or_channel_cancels_it_and_keeps_the_votes(self, place, start, env, votes, rows):
        message = await start()
        await place.ada.click(message, label="1")
        env.backend.delete_message(place.channel.id, message.id)
        await env.settle()
        row = rows(ArenaRow)[0]
        assert (row.status, row.reason) == (ArenaStatus.FAILED, "its message was deleted")
        assert votes_by_place(rows, votes)[1] == {place.ada.id: Vote.UP}
        await start("Another?")
        other = env.guild.create_text_channel("other")
        await place.grace.slash(place.channel, "arena start", prompt="Tea?", channel=other)
        env.backend.delete_channel(other.id)
        await env.settle()
        row = rows(ArenaRow)[-1]
        assert (row.status, row.reason) == (ArenaStatus.FAILED, "its channel was deleted")

    async def test_deleting_its_message_while_the_bot_is_offline_cancels_it_later(
        self, place, start, env, rows, restart
    ):
        message = await start()
        feed = env._gateway_feed
        env.backend.subscribers.remove(feed)
        env.backend.delete_message(place.channel.id, message.id)
        env.backend.subscribers.append(feed)
        await restart()
        row = rows(ArenaRow)[0]
        assert (row.status, row.reason) == (ArenaStatus.FAILED, "its message or channel was deleted")

    async def test_deleted_or_stopped_while_it_is_prepared_it_is_not_opened(self, place, env, engine, rows):
        async def delete_it() -> None:
            engine.interlude = None
            env.backend.delete_message(place.channel.id, place.channel.last_message.id)
            await asyncio.sleep(0.2)

        async def stop_it() -> None:
            engine.interlude = None
            await env.bot.services.database.run(stop_arena, place.channel.id, "somebody")

        engine.interlude = delete_it
        await place.grace.slash(place.channel, "arena start", prompt="Tea?")
        row = rows(ArenaRow)[0]
        assert (row.status, row.reason) == (ArenaStatus.FAILED, "its message was deleted")
        engine.interlude = stop_it
        await place.grace.slash(place.channel, "arena start", prompt="Tea?")
        assert "It was stopped by somebody" in said(shown(place))
        assert rows(ReplyRow) == []

    async def test_one_in_a_thread_that_has_archived_itself_closes_with_its_results(self, place, env, make_due, rows):
        thread = await place.open_thread(await place.ada.send(place.channel, "about tea"))
        await place.grace.slash(thread, "arena start", prompt="Tea?")
        await env.bot.get_channel(thread.id).edit(archived=True)
        env.inject_error("PATCH", "/channels/*/messages/*", status=400, code=ARCHIVED)
        make_due()
        await env.advance_time(TICK_S)
        assert "This arena is closed" in said(next(m for m in thread.history() if m.author.bot))
        assert rows(ArenaRow)[0].status is ArenaStatus.CLOSED
        assert not (await env.bot.fetch_channel(thread.id)).archived


class TestRestart:
    async def test_buttons_work_after_a_restart_and_it_closes_on_time(
        self, place, start, env, make_due, rows, votes, restart
    ):
        message = await start()
        await restart()
        await place.ada.click(message, label="1")
        assert votes_by_place(rows, votes)[1] == {place.ada.id: Vote.UP}
        assert buttons(shown(place)) == ["1", "2", "3"]
        make_due()
        await env.advance_time(TICK_S)
        assert "won with 1 of 1 choice" in said(shown(place))

    async def test_one_that_an_earlier_release_posted_with_embeds_lives_on(
        self, place, start, env, make_due, rows, votes, restart
    ):
        message = await start()
        stored = env.backend.get_message(place.channel.id, message.id)
        row = [{"type": 2, "style": 1, "label": str(n), "custom_id": f"reactune:arena:1:{n}"} for n in (1, 2, 3)]
        stored.content, stored.flags = "**Which answer is best?** Press its number.\n>>> Tea or coffee?", 0
        stored.embeds = [{"title": str(n), "description": "tea", "type": "rich"} for n in (1, 2, 3)]
        stored.components = [{"type": 1, "id": 1, "components": [part | {"id": 2 + n} for n, part in enumerate(row)]}]
        await place.bo.click(shown(place), label="2")
        await restart()
        after = shown(place)
        assert (after.id, after.flags.components_v2, after.content, after.embeds) == (message.id, True, "", [])
        await place.ada.click(after, label="2")
        assert votes_by_place(rows, votes)[2] == {place.ada.id: Vote.UP, place.bo.id: Vote.UP}
        make_due()
        await env.advance_time(TICK_S)
        assert "won with 2 of 2 choices" in said(shown(place))

    async def test_an_overdue_one_closes_at_once_with_missed_reactions(
        self, place, start, env, make_due, rows, restart
    ):
        message = await start()
        feed = env._gateway_feed
        env.backend.subscribers.remove(feed)
        env.backend.set_reaction(place.channel.id, message.id, "3️⃣", place.bo.id, True)
        env.backend.subscribers.append(feed)
        make_due()
        await restart()
        await env.settle()
        assert "Answer 3 (base) won with 1 of 1 choice" in said(shown(place))
        assert rows(ArenaRow)[0].status is ArenaStatus.CLOSED

    async def test_it_lives_on_where_the_bot_may_not_read_the_reactions_again(
        self, place, start, env, make_due, rows, restart
    ):
        await start()
        env.inject_error("GET", "/channels/*/messages/*", status=403, code=50001, times=None)
        await restart()
        assert rows(ArenaRow)[0].status is ArenaStatus.OPEN
        assert buttons(shown(place)) == ["1", "2", "3"]
        make_due()
        await env.advance_time(TICK_S)
        assert rows(ArenaRow)[0].status is ArenaStatus.CLOSED

    async def test_what_a_crash_left_behind_is_shown_again_and_fails_if_it_was_being_prepared(
        self, place, start, env, query, rows, restart
    ):
        message = await start()
        stored = env.backend.get_message(place.channel.id, message.id)
        stored.content, stored.embeds, stored.components = "Preparing an arena …", [], []
        await restart()
        assert buttons(shown(place)) == ["1", "2", "3"]
        query(lambda session: session.query(ArenaRow).update({"status": ArenaStatus.PREPARING}))
        await restart()
        assert rows(ArenaRow)[0].status is ArenaStatus.FAILED
        assert "The bot restarted while preparing it" in said(shown(place))
        assert (buttons(shown(place)), shown(place).embeds) == ([], [])


class TestLatest:
    async def test_it_shows_arenas_the_bank_and_the_schedule_but_no_votes_by_answer(self, place, start):
        text = await latest_arenas(place)
        assert text.startswith("No arenas yet. Start one with `/arena start`.")
        message = await start()
        await place.ada.click(message, label="1")
        text = await latest_arenas(place)
        assert "Tea or coffee? · closes <t:" in text
        assert "1 choice so far" in text
        prompts = len(read_bank("").prompts)
        assert f"{prompts} prompts in the bundled bank; {prompts} not used yet" in text
        assert "**Schedule:** none" in text


class TestSchedule:
    """A bot with a schedule replaces the one without."""

    @pytest.fixture
    def scheduled(self, settings, engine, base):
        def create(channel_id: int, schedule: str = "0 4 1 1 *", quiet_hours: str = ""):
            arena = settings.arena.model_copy(update={"schedule": schedule, "channel": channel_id})
            chat = settings.chat.model_copy(update={"quiet_hours": quiet_hours})
            return ReactuneBot(settings.model_copy(update={"arena": arena, "chat": chat}), engine=engine, base=base)

        return create

    async def test_nothing_starts_before_its_time(self, place, env, scheduled, rows, restart):
        await restart(scheduled(place.channel.id))
        await env.settle()
        assert rows(ArenaRow) == []
        text = await latest_arenas(place)
        assert f"`0 4 1 1 *` UTC in <#{place.channel.id}>" in text

    async def test_one_that_was_missed_starts_at_once(self, place, start, env, scheduled, rows, query, restart):
        await start()
        await place.grace.slash(place.channel, "arena stop")
        two_years_ago = utc_now() - timedelta(days=800)
        query(lambda s: s.query(ArenaRow).update({"started_by": "schedule", "started_at": two_years_ago}))
        await restart(scheduled(place.channel.id))
        await env.settle()
        first, second = rows(ArenaRow)
        assert (second.started_by, second.status) == ("schedule", ArenaStatus.OPEN)
        assert second.prompt != first.prompt
        assert buttons(shown(place)) == ["1", "2", "3"]

    async def test_one_that_is_due_in_quiet_hours_starts_when_they_end(
        self, place, start, env, settings, scheduled, rows, query, restart
    ):
        await start()
        await place.grace.slash(place.channel, "arena stop")
        two_years_ago = utc_now() - timedelta(days=800)
        query(lambda s: s.query(ArenaRow).update({"started_by": "schedule", "started_at": two_years_ago}))
        hours = around_now()
        await restart(scheduled(place.channel.id, quiet_hours=hours))
        await env.advance_time(ArenaSchedule.INTERVAL_S + 1)
        assert len(rows(ArenaRow)) == 1
        status = await latest_arenas(place)
        assert f", but not in quiet hours ({hours} UTC)" in status
        env.change_settings(settings)
        await env.advance_time(ArenaSchedule.INTERVAL_S + 1)
        assert [row.started_by for row in rows(ArenaRow)] == ["schedule", "schedule"]

    async def test_a_missing_channel_is_logged_with_its_setting(self, place, env, scheduled, rows, caplog, restart):
        await restart(scheduled(123))
        await env.bot.get_cog("Arenas")._host.start_scheduled(123, by_server=False)
        assert any("arena.channel = 123" in record.getMessage() for record in caplog.records)
        assert rows(ArenaRow) == []

    @pytest.mark.parametrize(("schedule", "channel"), [("daily", 7), ("0 4 * * *", 0)])
    async def test_an_invalid_schedule_is_refused_at_the_start(self, place, scheduled, schedule, channel):
        async with scheduled(channel, schedule) as bot:
            with pytest.raises(SettingsError, match=r"arena\.(schedule|channel)"):
                await bot.setup_hook()
