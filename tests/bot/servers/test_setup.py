"""`/setup`: one private message, step by step; everything holds at Finish, or nothing does."""

from __future__ import annotations

from datetime import timedelta

import discord
import pytest
from simcord.components import walk_components
from sqlalchemy import update

from bot.arenas.host import ArenaSchedule
from bot.localization.languages import Languages, languages_of
from bot.servers.draft import Known, ServerState, SetupDraft
from storage.database.columns import utc_now
from storage.database.enums import AuditOutcome, RoundStatus, Rule, TrainingSource
from storage.database.tables import ArenaRow, AuditRow, BindingRow, RoundRow, ScheduleRow, ServerRow
from storage.personalities.cards import Card, Example
from storage.personalities.personalities import change_card, create_personality, ensure_personality, read_personality
from storage.servers import ServerChoices
from storage.training.rounds import request_round
from tests.bot.chat.test_calling import is_answered
from tests.bot.environment import changed
from tests.bot.panels import latest_arenas, said

__all__ = ["is_answered"]


def channel_without(guild, name, **lacking):
    return guild.create_text_channel(name, overwrites={guild.default_role: discord.PermissionOverwrite(**lacking)})


def labels_of(wizard, key):
    """Return the options of a select."""
    parts = walk_components([part.to_dict() for part in wizard.message.components])
    select = next(part for part in parts if part.get("custom_id") == f"setup:{key}")
    return {option["value"]: option["label"] for option in select["options"]}


class Wizard:
    """The message of `/setup`, as one admin uses it."""

    def __init__(self, who, channel) -> None:
        self._who = who
        self._channel = channel
        self._id = 0

    async def open(self) -> Wizard:
        result = await self._who.slash(self._channel, "setup")
        assert result.response.ephemeral
        self._id = result.response.id
        return self

    @property
    def message(self) -> discord.Message:
        return next(one for one in self._channel.history(viewer=self._who) if one.id == self._id)

    @property
    def text(self) -> str:
        return said(self.message)

    async def press(self, label: str, times: int = 1):
        for _ in range(times):
            result = await self._who.click(self.message, label=label)
        return result

    async def choose(self, key: str, *values):
        return await self._who.select(self.message, list(values), custom_id=f"setup:{key}")


@pytest.fixture
def wizard(place):
    return Wizard(place.grace, place.channel)


@pytest.fixture
def stored(rows):
    """Return what the server chose."""

    def read() -> ServerChoices:
        (row,) = rows(ServerRow)
        return ServerChoices.model_validate(row.choices)

    return read


async def test_it_ends_in_a_bot_that_answers_there(place, env, wizard, stored, rows, query, engine, is_answered):
    guild = place.channel.guild
    talk, quiet, news = (guild.create_text_channel(name) for name in ("talk", "quiet", "news"))
    regulars = guild.create_role("regulars")
    reader = guild.add_member(env.create_user("reader"), roles=[regulars])
    query(lambda session: create_personality(session, "keeper", Card(description="Of few words"), by="test").id)
    await wizard.open()
    assert "Nothing is set up here yet" in wizard.text
    await wizard.press("Next")
    await wizard.choose("always", talk)
    await wizard.choose("never", quiet)
    await wizard.choose("elsewhere", "mention")
    await wizard.press("Next", 2)
    await wizard.choose("roles", regulars)
    await wizard.press("Next")
    await wizard.choose("personality", "keeper")
    await wizard.press("Next")
    await wizard.choose("arenas", "0 18 * * fri")
    await wizard.choose("arena-channel", place.channel)
    await wizard.choose("announce", news)
    await wizard.press("Next", 2)
    assert f"every message in {talk.mention}; nothing in {quiet.mention}; only mentions elsewhere" in wizard.text
    assert "✏️ now: everybody" in wizard.text
    assert rows(ServerRow) == rows(BindingRow) == []

    await wizard.press("Finish")
    assert f"Try it: write hello in {talk.mention}." in wizard.text
    assert "⚠️" not in wizard.text
    choices = stored()
    assert choices.rules == {talk.id: Rule.ALWAYS, quiet.id: Rule.NEVER}
    assert (choices.arena_channel, choices.announce_channel) == (place.channel.id, news.id)
    (line,) = rows(AuditRow)
    assert (line.action, line.outcome) == ("setup", AuditOutcome.DONE)
    assert "Personality: keeper" in line.subject

    await reader.send(talk, "hello")
    assert talk.last_message.content.endswith("-# keeper base")
    assert not await is_answered(talk, "ada has no such role")
    await reader.send(quiet, f"{place.mention} hello")
    assert quiet.last_message.content == "I'm not enabled in this channel."
    await reader.send(place.channel, "what is red?")
    assert len(engine.requests) == 1


async def test_where_it_is_silent_an_old_answer_gets_no_other_one(place, env, wizard, engine):
    answer = await place.ask("what is red?")
    await wizard.open()
    await wizard.press("Next")
    await wizard.choose("elsewhere", "never")
    await wizard.press("Finish")
    refused = await place.ada.context_menu(place.channel, "Another answer", answer)
    assert refused.response.content == "I'm not enabled in this channel."
    await place.ada.react(answer, "🔁")
    assert len(engine.requests) == 1


async def test_the_second_start_shows_what_is_set_and_changes_one_thing(place, wizard, stored, rows):
    await wizard.open()
    await wizard.press("Next", 2)
    await wizard.choose("threads", "all")
    await wizard.press("Finish")
    await wizard.open()
    assert "**Threads:** each conversation gets its own" in wizard.text
    assert "Set up by grace" in wizard.text
    await wizard.press("Next", 3)
    await wizard.choose("roles", place.channel.guild.create_role("regulars"))
    await wizard.press("Finish")
    assert stored().threads_everywhere
    assert len(stored().roles) == 1
    assert [row.generation for row in rows(ServerRow)] == [2]


async def test_whoever_closes_it_or_goes_away_or_is_interrupted_by_a_restart_changes_nothing(
    place, env, wizard, rows, new_bot, monkeypatch
):
    monkeypatch.setattr("bot.servers.wizard.LASTS_S", 30.0)
    await wizard.open()
    await wizard.press("Next")
    await wizard.choose("elsewhere", "never")
    await wizard.press("Close")
    assert wizard.text == "Closed. Nothing was changed."
    await wizard.open()
    await wizard.press("Next")
    await env.advance_time(40)
    assert wizard.text.startswith("This took longer than 14 minutes, so nothing was changed.")
    await wizard.open()
    await env.restart_bot(new_bot())
    await wizard.press("Next")
    assert wizard.text.startswith("I was restarted in the meantime, so nothing was changed.")
    assert rows(ServerRow) == []


async def test_of_two_admins_one_wins_and_the_other_sees_what_they_set(place, env, wizard, stored, rows):
    guild = place.channel.guild
    role = next(role for name, role in guild.roles.items() if name == "admins")
    hedy = Wizard(guild.add_member(env.create_user("hedy"), roles=[role]), place.channel)
    await wizard.open()
    await hedy.open()
    for one, rule in ((wizard, "mention"), (hedy, "question")):
        await one.press("Next")
        await one.choose("elsewhere", rule)
    await wizard.press("Finish")
    await hedy.press("Finish")
    assert stored().elsewhere is Rule.MENTION
    assert "finished `/setup` in the meantime" in hedy.text
    assert "questions, mentions and replies everywhere\n-# ✏️ now: only mentions everywhere" in hedy.text
    await hedy.press("Finish")
    assert stored().elsewhere is Rule.QUESTION
    outcomes = [row.outcome for row in rows(AuditRow)]
    assert outcomes == [AuditOutcome.DONE, AuditOutcome.REFUSED, AuditOutcome.DONE]


async def test_what_is_stored_counts_also_if_it_cannot_be_read_back_at_once(place, env, wizard, rows, monkeypatch):
    async def fail():
        raise OSError("away")

    await wizard.open()
    monkeypatch.setattr(env.bot.services.setups, "load", fail)
    await wizard.press("Finish")
    assert "### Saved. From now on:" in wizard.text
    assert [row.outcome for row in rows(AuditRow)] == [AuditOutcome.DONE]


async def test_a_personality_that_was_bound_meanwhile_stays(place, wizard, rows, query):
    keeper = query(lambda session: create_personality(session, "keeper", Card(), by="test")).id
    await wizard.open()
    await place.grace.slash(place.channel, "personality bind", personality="keeper", server=True)
    await wizard.press("Finish")
    assert [row.personality_id for row in rows(BindingRow)] == [keeper]
    assert len(rows(ServerRow)) == 1


async def test_it_names_each_permission_that_the_bot_lacks(place, env, wizard):
    guild = place.channel.guild
    talk = channel_without(guild, "talk", add_reactions=False)
    posts = channel_without(guild, "posts", send_messages=False, embed_links=False)
    await wizard.open()
    await wizard.press("Next")
    await wizard.choose("always", talk)
    await wizard.press("Next", 4)
    await wizard.choose("arenas", "0 18 * * *")
    await wizard.press("Finish")
    assert "Choose the channel for arenas" in place.channel.history(viewer=place.grace)[-1].content
    await wizard.choose("arena-channel", posts)
    await wizard.press("Next", 2)
    assert f"⚠️ In {talk.mention} I need Add Reactions." in wizard.text
    assert f"⚠️ In {posts.mention} I need Send Messages." in wizard.text


class TestPersonalityWithItsOwnName:
    """It speaks through a webhook, so the bot needs one more permission."""

    @pytest.fixture(autouse=True)
    def keeper(self, query):
        card = Card(system_prompt="You keep a lighthouse.", display_name="Ebba")
        query(lambda session: create_personality(session, "keeper", card, by="test").id)

    async def test_the_missing_permission_is_named_where_it_is_chosen(self, place, env, wizard):
        guild = place.channel.guild
        talk = channel_without(guild, "talk", manage_webhooks=False)
        hidden = channel_without(guild, "hidden", manage_webhooks=False, view_channel=False)
        await wizard.open()
        await wizard.press("Next", 4)
        assert "Manage Webhooks" not in wizard.text, "the default has no name of its own"
        await wizard.choose("personality", "keeper")
        problem = (
            f"⚠️ In {talk.mention} I need Manage Webhooks: without it, keeper speaks there under my name and picture."
        )
        assert problem in wizard.text
        assert hidden.mention not in wizard.text
        await wizard.press("Next", 3)
        assert problem in wizard.text
        await wizard.press("Finish")
        assert problem in wizard.text
        env.locales[place.grace.id] = "de"
        await wizard.open()
        await wizard.press("Weiter", 4)
        assert (
            f"⚠️ In {talk.mention} brauche ich „Webhooks verwalten“: Ohne diese Berechtigung spricht keeper dort unter "
            "meinem Namen und mit meinem Bild." in wizard.text
        )

    async def test_where_it_does_not_speak_nothing_is_needed(self, place, wizard, query):
        guild = place.channel.guild
        silent, other = (channel_without(guild, name, manage_webhooks=False) for name in ("silent", "other"))
        channel_without(guild, "to read", manage_webhooks=False, send_messages=False)
        query(lambda session: create_personality(session, "cook", Card(system_prompt="You cook."), by="test").id)
        await place.grace.slash(other, "personality bind", personality="cook")
        await wizard.open()
        await wizard.press("Next")
        await wizard.choose("never", silent)
        await wizard.press("Next", 3)
        await wizard.choose("personality", "keeper")
        assert "⚠️" not in wizard.text


async def test_a_server_with_much_to_say_still_fits_in_a_message(place, env, wizard, server_chooses, stored):
    env.locales[place.grace.id] = "de"  # needs more room
    guild = place.channel.guild
    denied = {"send_messages": False, "add_reactions": False, "read_message_history": False}
    channels = [channel_without(guild, f"c{number}", **denied) for number in range(60)]
    roles = frozenset(guild.create_role(f"r{number}").id for number in range(20))
    rules = {channel.id: list(Rule)[number % 5] for number, channel in enumerate(channels)}
    await server_chooses(rules=rules, thread_channels=frozenset(rules), roles=roles)
    await wizard.open()
    await wizard.press("Weiter")
    for number, rule in enumerate(Rule):
        await wizard.choose(rule.value, *channels[12 * number : 12 * number + 12])
    await wizard.press("Weiter")
    await wizard.choose("thread-channels", *channels[:20])
    await wizard.press("Weiter", 5)
    assert "✏️ jetzt:" in wizard.text
    assert "⚠️ Und " in wizard.text
    await wizard.press("Fertigstellen")
    assert "### Gespeichert. Ab jetzt gilt:" in wizard.text
    assert "⚠️ Und " in wizard.text
    assert len(stored().rules) == len(channels)


async def test_it_says_that_discord_lists_only_some_personalities(place, wizard, query):
    query(lambda session: [create_personality(session, f"p{number}", Card(), by="test").id for number in range(27)])
    await wizard.open()
    await wizard.press("Next", 4)
    assert len(labels_of(wizard, "personality")) == 25
    assert "so 3 are missing" in wizard.text


def test_a_misspelt_choice_is_an_error():
    draft = SetupDraft(Known(ServerState(ServerChoices(), "default"), ()), ServerChoices(), "default")
    with pytest.raises(ValueError, match="arena_chanel"):
        draft.choose(arena_chanel=1)


async def test_threads_can_be_chosen_for_some_channels_and_categories(place, wizard, stored, engine):
    guild = place.channel.guild
    category = guild.create_category("talks")
    inside = guild.create_text_channel("inside", category=category)
    await wizard.open()
    await wizard.press("Next", 2)
    await wizard.choose("thread-channels", category)
    await wizard.press("Finish")
    assert stored().thread_channels == {category.id}
    for channel in (inside, place.channel):
        await place.ada.send(channel, f"{place.mention} hi")
    assert (len(inside.threads), len(place.channel.threads)) == (1, 0)


async def test_a_server_with_very_many_choices_still_fits_into_the_message(
    place, env, wizard, server_chooses, monkeypatch
):
    env.locales[place.grace.id] = "de"
    monkeypatch.setattr("bot.servers.draft.MOST_LISTED", 40)
    await server_chooses(rules={10**18 + number: list(Rule)[number % 5] for number in range(200)})
    await wizard.open()
    await wizard.press("Weiter")
    await wizard.choose("elsewhere", "never")
    await wizard.press("Weiter", 6)
    assert "### 8 von 8: prüfen und fertigstellen" in wizard.text
    assert 3_500 < len(wizard.text) < 4_000


async def test_a_category_has_a_rule_and_its_channel_another(place, wizard, engine, is_answered):
    guild = place.channel.guild
    category = guild.create_category("talks")
    free, closed = (guild.create_text_channel(name, category=category) for name in ("free", "closed"))
    await wizard.open()
    await wizard.press("Next")
    await wizard.choose("always", category)
    await wizard.choose("always", category, closed)
    await wizard.choose("never", closed)  # moves it
    await wizard.press("Finish")
    assert await is_answered(free, "just talking")
    assert not await is_answered(closed, f"{place.mention} hello?")
    answer = free.last_message
    await wizard.open()
    await wizard.press("Next")
    await wizard.choose("never", closed, category)
    await wizard.press("Finish")
    await place.ada.react(answer, "🔁")
    assert len(engine.requests) == 1


async def test_what_the_operator_set_is_where_it_starts(place, env, wizard, stored, is_answered):
    asks = place.channel.guild.create_text_channel("asks")
    elsewhere = {asks.id: "question", 99: "always"}
    env.change_section("chat", channel_rules=elsewhere)
    await wizard.open()
    assert f"questions, mentions and replies in {asks.mention}; mentions and replies" in wizard.text
    await wizard.press("Next")
    await wizard.choose("question")
    await wizard.press("Finish")
    assert stored().rules == {}
    assert not await is_answered(asks, "what is red?")


async def test_it_asks_for_the_language_of_what_everybody_reads(place, env, wizard, stored, rows, add_version):
    version = add_version(1.0)
    await wizard.open()
    await wizard.press("Next", 6)
    assert labels_of(wizard, "language") == {"automatic": "Automatic: English", "en": "English", "de": "Deutsch"}
    await wizard.choose("language", "de")
    await wizard.press("Next")
    assert "**Language:** Deutsch\n-# ✏️ now: automatic" in wizard.text
    await wizard.press("Finish")
    assert stored().language == "de"
    assert "### Saved. From now on:" in wizard.text, "what only she sees stays in her language"
    assert [row.subject for row in rows(AuditRow)] == ["Language: Deutsch"]
    await place.grace.slash(place.channel, "version promote", version=version.name)
    assert place.channel.last_message.content.startswith("Ab jetzt antwortet **v1**")
    refused = await place.grace.slash(place.channel, "version promote", version=version.name)
    assert refused.followups[0].content == "v1 is already in use: nothing was changed."
    thread = await place.ada.slash(place.channel, "thread", topic="tea")
    assert thread.response is not None
    assert place.channel.threads[0].last_message.content.startswith("Schreib hier")


async def test_a_server_speaks_its_choice_then_the_operators_then_discords_language(env, server_chooses, settings):
    chose, lost, unset = (env.create_guild(name, preferred_locale="de") for name in ("chose", "lost", "unset"))
    await server_chooses(chose, language="en")
    await server_chooses(lost, language="fr")  # of which there is no translation any more
    of_server = languages_of(env.bot).of_server
    assert [of_server(guild.id).code for guild in (chose, lost, unset)] == ["en-US", "de", "de"]
    english = changed(settings, "discord", language="en").discord
    of_server = Languages(env.bot, english, {chose.id: "de", lost.id: "fr", unset.id: ""}.__getitem__).of_server
    assert [of_server(guild.id).code for guild in (chose, lost, unset)] == ["de", "en-US", "en-US"]


async def test_it_speaks_german_and_the_audit_trail_does_not(place, env, wizard, rows):
    env.locales[place.grace.id] = "de"
    talk = channel_without(place.channel.guild, "talk", add_reactions=False)
    await wizard.open()
    await wizard.press("Weiter")
    assert "### 2 von 8: wo ich antworte" in wizard.text
    assert "**Ich beantworte jede Nachricht in**" in wizard.text
    await wizard.choose("always", talk)
    await wizard.press("Weiter", 6)
    answers = f"**Ich antworte auf:** jede Nachricht in {talk.mention}; sonst überall Erwähnungen und Antworten an mich"
    assert f"{answers}\n-# ✏️ jetzt: überall Erwähnungen und Antworten an mich" in wizard.text
    assert f"⚠️ In {talk.mention} brauche ich „Reaktionen hinzufügen“." in wizard.text
    await wizard.press("Fertigstellen")
    assert f"Probier es aus: Schreib {place.mention} hallo in {place.channel.mention}." in wizard.text
    (line,) = rows(AuditRow)
    assert line.subject == f"Answers: every message in {talk.mention}; mentions and replies elsewhere"


async def test_it_is_for_admins_also_in_its_middle(place, env, wizard, rows):
    with pytest.raises(Exception, match="setup"):
        await place.ada.slash(place.channel, "setup")
    await wizard.open()
    await place.take_roles(place.grace)
    await wizard.press("Finish")
    assert "Only admins can do this" in place.channel.history(viewer=place.grace)[-1].content
    assert rows(ServerRow) == []


async def test_two_servers_are_independent(place, env, wizard, engine):
    other = env.create_guild("Other")
    channel = other.create_text_channel("general")
    dora = other.add_member(env.create_user("dora"))
    await wizard.open()
    await wizard.press("Next")
    await wizard.choose("elsewhere", "always")
    await wizard.press("Finish")
    await place.ada.send(place.channel, "just talking")
    await dora.send(channel, "just talking")
    assert len(engine.requests) == 1


async def test_a_new_server_reads_one_line_where_the_bot_may_write(place, env):
    guild = env.create_guild("New")
    closed = channel_without(guild, "closed", send_messages=False)
    open_ = guild.create_text_channel("open")
    env.bot.dispatch("guild_join", env.bot.get_guild(guild.id))
    await env.settle()
    assert closed.history() == []
    assert "`/setup`" in open_.last_message.content
    german = env.create_guild("Verein", preferred_locale="de").create_text_channel("allgemein")
    env.bot.dispatch("guild_join", env.bot.get_guild(german.guild.id))
    await env.settle()
    assert german.last_message.content.startswith("Hallo! Ein Admin kann mich mit `/setup` einrichten")


class TestWhatItStarts:
    async def test_an_arena_starts_at_the_servers_time_in_its_channel(self, place, env, server_chooses, query, rows):
        guild_id = await server_chooses(arena_schedule="* * * * *", arena_channel=place.channel.id)
        long_ago = utc_now() - timedelta(hours=1)
        query(lambda session: session.execute(update(ScheduleRow).values(seen_until=long_ago)))
        await env.advance_time(ArenaSchedule.INTERVAL_S + 1)
        (arena,) = rows(ArenaRow)
        assert (arena.guild_id, arena.channel_id, arena.started_by) == (guild_id, place.channel.id, "schedule")
        schedule = f"**Schedule:** at `* * * * *` UTC in {place.channel.mention} (`/setup`)"
        assert schedule in await latest_arenas(place)

    async def test_a_schedule_that_nobody_can_read_stops_no_other_servers_arena(
        self, place, env, server_chooses, query, rows, caplog
    ):
        await server_chooses(arena_schedule="* * * * *", arena_channel=place.channel.id)
        broken = ServerChoices(arena_schedule="noon", arena_channel=1).model_dump(mode="json")
        query(
            lambda session: session.add(
                ServerRow(guild_id=1, choices=broken, generation=1, chosen_by="", chosen_at=utc_now())
            )
        )
        await env.bot.services.setups.load()
        long_ago = utc_now() - timedelta(hours=1)
        query(lambda session: session.execute(update(ScheduleRow).values(seen_until=long_ago)))
        await env.advance_time(3 * ArenaSchedule.INTERVAL_S + 1)
        assert len(rows(ArenaRow)) == 1
        assert caplog.text.count("no arenas start until") == 1

    async def test_the_operators_schedule_ends_where_the_server_chose(self, place, env, server_chooses, rows):
        env.change_section("arena", channel=place.channel.id)
        host = env.bot.get_cog("Arenas")._host
        await server_chooses()
        await host.start_scheduled(place.channel.id, by_server=False)
        assert rows(ArenaRow) == []

    async def test_releases_are_announced_where_each_server_wants_it(self, place, env, server_chooses, release):
        other = env.create_guild("Other")
        news, theirs, default = (
            guild.create_text_channel(name)
            for guild, name in ((place.channel.guild, "news"), (other, "news"), (place.channel.guild, "old"))
        )
        env.change_section("release", announce_channel=default.id)
        await server_chooses(announce_channel=news.id)
        await server_chooses(other, announce_channel=theirs.id)
        route = f"/channels/{theirs.id}/messages"
        env.inject_error("POST", route, status=503, times=5)
        release(1.0)
        for _ in range(20):
            await env.advance_time(4)
        assert [len(channel.history()) for channel in (news, theirs, default)] == [1, 1, 0]

    async def test_a_restart_while_one_channel_fails_repeats_no_announcement(
        self, place, env, server_chooses, release, new_bot
    ):
        other = env.create_guild("Other")
        news, theirs = (guild.create_text_channel("news") for guild in (place.channel.guild, other))
        await server_chooses(announce_channel=news.id)
        await server_chooses(other, announce_channel=theirs.id)
        env.inject_error("POST", f"/channels/{theirs.id}/messages", status=503, times=None)
        release(1.0)
        for _ in range(20):
            await env.advance_time(4)
        await env.restart_bot(new_bot())
        await env.advance_time(4)
        assert [len(channel.history()) for channel in (news, theirs)] == [1, 0]


class TestFirstVersion:
    """After Finish, a personality whose card has enough examples is offered a first version."""

    @pytest.fixture
    def examples(self, query):
        """Give the default personality's card this many."""

        def give(number: int) -> None:
            shown = [Example(dialogue=(f"How are you, {n}?", "Fine, thank you.")) for n in range(number)]

            def write(session):
                default = read_personality(session, ensure_personality(session))
                change_card(session, default, Card(examples=tuple(shown)), by="test")

            query(write)

        return give

    async def test_a_press_asks_for_one_round_on_the_examples_and_everybody_sees_it(
        self, place, env, wizard, rows, examples, new_bot
    ):
        examples(7)
        await wizard.open()
        await wizard.press("Finish")
        assert "First version" not in wizard.text
        examples(8)
        await wizard.open()
        await wizard.press("Finish")
        assert "First version:** default can learn the 8 examples on its card now." in wizard.text
        env.locales[place.grace.id] = "de"  # and the server's is English
        shown = (await wizard.press("Make a first version")).response
        assert not shown.ephemeral
        assert shown.content.startswith("**Waiting for the trainer** (round 1)")
        (round_,) = rows(RoundRow)
        assert (round_.learns_from, round_.status) == (TrainingSource.EXAMPLES, RoundStatus.REQUESTED)
        assert round_.progress_message_id == shown.id
        assert [row.action for row in rows(AuditRow)] == ["setup", "setup", "version train"]
        del env.locales[place.grace.id]
        await env.restart_bot(new_bot())
        again = (await wizard.press("Make a first version")).response
        assert again.content.startswith("Round 1 is already requested.")
        assert len(rows(RoundRow)) == 1

    @pytest.mark.parametrize("what", ["a version", "a round"])
    async def test_otherwise_nothing_is_offered(self, wizard, query, examples, add_version, what):
        examples(8)
        if what == "a version":
            add_version()
        else:
            query(lambda session: request_round(session, 1, "grace"))
        await wizard.open()
        await wizard.press("Finish")
        assert "First version" not in wizard.text

    async def test_who_may_not_train_is_offered_nothing(self, place, env, wizard, examples):
        """The bot serves another server, which the default personality answers in too."""
        examples(8)
        other = env.create_guild("elsewhere")
        other.create_text_channel("general")
        await wizard.open()
        await wizard.press("Finish")
        assert "First version" not in wizard.text
