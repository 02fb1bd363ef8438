"""People's choices make a version ready or drop it; a canary asks them more often; members read about it."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from sqlalchemy import update

from bot.app import ReactuneBot
from storage.adapters.folder_store import WEIGHTS_FILE, AdapterStore
from storage.database.columns import utc_now
from storage.database.enums import CanaryStatus, GateVerdict, Origin, PairSource, RoundStatus, Split
from storage.database.tables import AliasMoveRow, CanaryRow, ReplyRow, RoundPairRow, RoundRow, VersionRow
from storage.releases.announcements import prepare_announcement
from storage.releases.canaries import start_canary
from storage.releases.promotion import promote, release_passed, roll_back
from storage.releases.versions import read_alias, register, version_named
from storage.settings.sections import ReleaseSettings
from storage.training.rounds import claim_round, finish_round
from storage.votes.comparisons import Better, compare
from tests.bot.guards.test_quiet_hours import around_now
from tests.bot.panels import said
from tests.seeding import account, add_taste, ask_twice, choose
from tests.storage.adapters.test_folder_store import publish

SOON_S = 4
"""Longer than the watch's interval."""
METRICS = {"validation_pairs": 30, "validation_accuracy": 0.67, "divergence": 0.5}
CHECKS = [{"name": "divergence", "outcome": "fail", "sentence": "answers moved 4.2 nats per token"}]


@pytest.fixture
def make_version(settings, base, query):
    """Publish an adapter and register it as the next version, made by a round of 9 pairs from the champion."""

    def make(value: float = 1.0, verdict: GateVerdict = GateVerdict.PASS, round_id: int | None = None):
        digest = publish(AdapterStore(settings.data.directory / "adapters"), value=value)

        def write(session):
            champion = read_alias(session, 1).version
            checks = [] if verdict is GateVerdict.PASS else CHECKS
            row = RoundRow(
                personality_id=1,
                requested_by="grace",
                gate={"verdict": verdict, "checks": checks},
            )
            session.add(row)
            session.flush()
            sources = [PairSource.SIBLINGS] * 7 + [PairSource.CORRECTION] * 2
            session.add_all(
                RoundPairRow(round_id=row.id, position=i, source=source, split=Split.TRAIN, weight=0.5)
                for i, source in enumerate(sources)
            )
            return register(
                session,
                1,
                digest=digest,
                base_name=base.name,
                base_revision=base.revision,
                parent_id=champion.id if champion else None,
                round_id=round_id or row.id,
                metrics=METRICS,
                verdict=verdict,
            )

        return query(write)

    return make


@pytest.fixture
def give(query):
    """Let people choose between a version and the champion, each at a question of their own."""

    def choices(version, **sides: int) -> None:
        query(lambda session: choose(session, version, read_alias(session, 1).version, **sides))

    return choices


@pytest.fixture
def canary(rows):
    """Return the row of the canary that was started last."""
    return lambda: rows(CanaryRow)[-1]


@pytest.fixture
def start(place):
    async def begin(version: str = "v1", **options):
        result = await place.grace.slash(place.channel, "model canary start", version=version, **options)
        return result.response or result.followups[-1]

    return begin


@pytest.fixture
def status(place):
    async def ask() -> str:
        return (await place.grace.slash(place.channel, "model canary status")).response.content

    return ask


@pytest.fixture
def announced(env, settings, place):
    """Have releases announced, and return what was said so far."""
    channel = env.guild.create_text_channel("news")
    env.change_settings(with_release(settings, announce_channel=channel.id))

    async def read() -> list[str]:
        await env.advance_time(SOON_S)
        return [message.content for message in channel.history()]

    read.channel = channel
    return read


def with_release(settings, **values):
    return settings.model_copy(update={"release": settings.release.model_copy(update=values)})


class TestWhoMayDoIt:
    @pytest.mark.parametrize("command", ["start", "stop", "status"])
    async def test_members_are_refused_by_discord(self, place, command):
        options = {"version": "v1"} if command == "start" else {}
        with pytest.raises(Exception, match="model"):
            await place.ada.slash(place.channel, f"model canary {command}", **options)

    @pytest.mark.parametrize("command", ["start", "stop", "status"])
    async def test_members_are_refused_by_the_bot_even_if_discord_allows_them(
        self, place, env, make_version, command, rows
    ):
        make_version()
        root = next(c for c in env.backend.commands[None].values() if c["name"] == "model")
        root.update(default_member_permissions=None)
        options = {"version": "v1"} if command == "start" else {}
        result = await place.ada.slash(place.channel, f"model canary {command}", **options)
        assert "Only admins can do this" in result.response.content
        assert rows(CanaryRow) == []


class TestGate:
    async def test_a_version_that_did_not_pass_is_not_promoted_and_the_answer_says_how_to(
        self, place, make_version, rows
    ):
        make_version(verdict=GateVerdict.FAIL)
        result = await place.grace.slash(place.channel, "model promote", version="v1")
        assert result.followups[-1].content == (
            "v1 did not pass the gate (fail: answers moved 4.2 nats per token): "
            "to use it anyway, repeat with override and a reason."
        )
        without = await place.grace.slash(place.channel, "model promote", version="v1", override=True)
        assert "Overriding the gate needs a reason" in without.followups[-1].content
        assert rows(AliasMoveRow) == []

    async def test_an_override_promotes_is_kept_and_shown(self, place, make_version, rows, announced):
        make_version(verdict=GateVerdict.NOT_ENOUGH_EVIDENCE)
        result = await place.grace.slash(
            place.channel, "model promote", version="v1", override=True, reason="only a test server"
        )
        assert result.response.content.startswith("**v1** answers from now on")
        assert (await place.ask("hi")).content.endswith("-# v1")
        assert next(m for m in rows(AliasMoveRow) if m.alias == "champion").overrides_gate
        shown = (await place.grace.slash(place.channel, "model show", version="v1")).response.content
        assert "? waits for people's choices: answers moved 4.2 nats per token" in shown
        assert "made it the champion, overriding the gate: only a test server" in shown
        (news,) = await announced()
        assert "⚠️ The gate was overridden. V1" not in news
        assert "⚠️ The gate was overridden. v1 ? waits for people's choices: answers moved 4.2" in news
        assert "only a test server" in news

    async def test_the_list_says_what_the_gate_said(self, place, make_version):
        for verdict in GateVerdict:
            make_version(verdict=verdict)
        listed = (await place.grace.slash(place.channel, "model list")).response.content
        words = {"v1": "✓ passed the gate", "v2": "✗ failed the gate", "v3": "? waits for people's choices"}
        for name, word in words.items():
            assert any(f"**{name}**" in line and word in line for line in listed.splitlines())

    async def test_a_canary_of_what_failed_needs_an_override_too(self, make_version, start, canary, status, rows):
        make_version(verdict=GateVerdict.FAIL)
        assert "did not pass the gate (fail: answers moved" in (await start()).content
        assert rows(CanaryRow) == []
        assert "30% of answers" in (await start(override=True, reason="be brave")).content
        assert (canary().overrides_gate, canary().start_reason) == (True, "be brave")
        assert "overrode the gate (fail): be brave" in await status()


class TestAdviceAfterARound:
    @pytest.fixture
    def advice(self, place, env, query, make_version):
        """Let a round publish a version, do something, and return what the round's message says then."""

        async def read(verdict: GateVerdict, work) -> str:
            shown = (await place.grace.slash(place.channel, "model train")).response
            query(lambda session: claim_round(session, "here"))
            version = make_version(verdict=verdict, round_id=1)
            query(lambda session: work(session, version))
            query(lambda session: finish_round(session, 1, RoundStatus.PUBLISHED, "v1 learned from 9 pairs", METRICS))
            await env.advance_time(1.5)
            return (await env.bot.get_channel(place.channel.id).fetch_message(shown.id)).content

        return read

    async def test_a_version_that_did_not_pass_needs_an_override(self, advice):
        text = await advice(GateVerdict.FAIL, lambda _session, _version: None)
        assert "To use v1 anyway, run `/model promote v1` with `override` and a reason." in text

    async def test_an_automatically_released_version_answers(self, advice):
        automatic = ReleaseSettings(auto_promote=True)
        text = await advice(GateVerdict.PASS, lambda session, v1: release_passed(session, 1, v1, automatic))
        assert "v1 answers now. To undo this: `/model rollback`." in text

    async def test_people_decide_about_a_version_that_waits(self, advice):
        text = await advice(GateVerdict.NOT_ENOUGH_EVIDENCE, lambda _session, _version: None)
        assert "People's choices decide about v1 from now on. How far they are: `/model status`." in text

    async def test_a_canary_has_a_status(self, advice):
        def begin(session, v1):
            start_canary(session, 1, v1, ReleaseSettings(), by="grace", reason="")

        text = await advice(GateVerdict.NOT_ENOUGH_EVIDENCE, begin)
        assert "People compare v1 with the champion now. Details: `/model canary status`." in text


class TestWaiting:
    """A version that waits for people's choices."""

    @pytest.fixture
    def v1(self, make_version):
        return make_version(verdict=GateVerdict.NOT_ENOUGH_EVIDENCE)

    @pytest.fixture
    def says(self, place):
        """Return the line of `/model status` about the next version."""

        async def read() -> str:
            text = said((await place.grace.slash(place.channel, "model status")).response)
            return next((line for line in text.splitlines() if line.startswith("**Next version:**")), "")

        return read

    async def test_without_a_newer_version_nothing_is_said(self, says):
        assert await says() == ""

    async def test_at_first_it_says_how_to_get_choices(self, v1, says):
        assert await says() == (
            "**Next version:** v1 waits for people's choices: nobody has compared it with base yet. Second answers in "
            "chat and `/arena start` ask people; `/model canary start v1` asks more often"
        )

    async def test_the_lead_and_what_is_missing_are_said_and_kept(self, v1, says, give, env, rows):
        give(v1, wins=5, losses=1)
        assert "v1 leads 5 to 1 in blind pairs, by 6 people; about 9 more choices decide." in await says()
        await env.advance_time(SOON_S)
        (row,) = rows(VersionRow)
        assert (row.verdict, row.evidence["wins"]) == (GateVerdict.NOT_ENOUGH_EVIDENCE, 5)

    @pytest.mark.parametrize(
        ("sides", "words"),
        [
            ({"wins": 2, "losses": 2}, "v1 is level 2 to 2 in blind pairs, by 4 people; undecided so far."),
            ({"losses": 3}, "v1 trails 0 to 3 in blind pairs, by 3 people; about"),
        ],
    )
    async def test_without_a_lead(self, v1, says, give, sides, words):
        give(v1, **sides)
        assert words in await says()

    async def test_it_says_that_the_time_left_cannot_decide(self, v1, says, give, query):
        give(v1, wins=1, losses=1)
        made = utc_now() - timedelta(days=20)
        query(lambda session: session.execute(update(VersionRow).values(created_at=made)))
        assert (
            "v1 is level 1 to 1 in blind pairs, by 2 people; at 0.1 choices a day, the 8 days left cannot decide."
        ) in await says()

    async def test_it_says_which_choices_do_not_count_and_why(self, place, v1, says, query, env, rows):
        def ask(session):
            for question in ("one", "two", "one"):
                for user in (7, account(days_old=0)):
                    compare(session, *ask_twice(session, v1, None, prompt=question), user, Better.FIRST)

        query(ask)
        assert (
            "v1 leads 2 to 0 in blind pairs, by 1 person; about 4 more choices decide. 2 of 6 choices count, the "
            "others not: 3 by new accounts or members, 1 on a question that was decided before. Second answers"
        ) in await says()
        await env.advance_time(SOON_S)
        assert rows(VersionRow)[0].evidence["left_out"] == {"new": 3, "repeated": 1}

    async def test_if_no_choice_counts_it_says_why(self, v1, says, query):
        newcomer = account(days_old=0)
        query(lambda session: compare(session, *ask_twice(session, v1, None), newcomer, Better.FIRST))
        assert (
            "v1 is level 0 to 0 in blind pairs; undecided so far. 0 of 1 choices count, the others not: 1 by new "
            "accounts or members."
        ) in await says()

    async def test_what_people_prefer_is_ready(self, place, v1, says, give, env, rows):
        give(v1, wins=9)
        await env.advance_time(SOON_S)
        reason = "people prefer v1 to base: 9 to 0 in blind pairs, by 9 people"
        assert await says() == f"**Next version:** v1 is ready: {reason}. To use it: `/model promote v1`"
        assert rows(AliasMoveRow) == []
        shown = (await place.grace.slash(place.channel, "model show", version="v1")).response.content
        assert f"✓ is ready: answers moved 4.2 nats per token; {reason}" in shown
        promoted = await place.grace.slash(place.channel, "model promote", version="v1")
        assert promoted.response.content.startswith("**v1** answers from now on")

    async def test_a_ready_version_is_announced_once_also_after_a_restart(self, v1, give, announced, env, engine, base):
        give(v1, wins=9)
        ready = (
            "✓ **v1** is ready: people prefer v1 to base: 9 to 0 in blind pairs, by 9 people. "
            "To use it: `/model promote v1`."
        )
        assert await announced() == [ready]
        old = env.bot
        await env.restart_bot(ReactuneBot(old.services.settings, engine=engine, base=base))
        assert await announced() == [ready]
        await old.close()

    async def test_in_quiet_hours_the_announcement_waits_for_their_end(self, v1, give, announced, env):
        settings = env.bot.services.settings
        chat = settings.chat.model_copy(update={"quiet_hours": around_now()})
        env.change_settings(settings.model_copy(update={"chat": chat}))
        give(v1, wins=9)
        assert await announced() == []
        env.change_settings(settings)
        assert len(await announced()) == 1

    async def test_a_dropped_version_is_announced(self, v1, give, announced):
        give(v1, losses=9)
        assert await announced() == [
            "✗ **v1** was dropped: people like v1 less than base: 0 to 9 in blind pairs, by 9 people. base stays. "
            "Details: `/model show v1`."
        ]

    async def test_what_people_like_less_is_dropped(self, place, v1, says, give, env):
        give(v1, losses=9)
        await env.advance_time(SOON_S)
        reason = "people like v1 less than base: 0 to 9 in blind pairs, by 9 people"
        assert await says() == f"**Next version:** v1 was dropped: {reason}. Details: `/model show v1`"
        assert "✗ was dropped" in (await place.grace.slash(place.channel, "model list")).response.content
        refused = await place.grace.slash(place.channel, "model promote", version="v1")
        assert reason in refused.followups[-1].content

    async def test_with_auto_promote_it_answers_and_that_is_announced(self, place, v1, give, env, announced):
        env.change_settings(with_release(env.bot.services.settings, auto_promote=True))
        give(v1, wins=9)
        (news,) = await announced()
        assert news.startswith("📣 **v1** answers from now on (before: base).\nBy people's choices: people prefer v1")
        assert (await place.ask("hi")).content.endswith("-# v1")


class TestAsking:
    """A canary asks people more often."""

    async def test_its_share_of_answers_comes_with_a_second_one_by_the_challenger(
        self, place, make_version, start, rows, monkeypatch
    ):
        version = make_version()
        said = (await start(share=0.5)).content
        assert said.startswith(
            "From now on, 50% of answers come with a blind second one, and **v1** gives one of the two"
        )
        chances = iter([0.6, 0.4])
        monkeypatch.setattr("bot.chat.second_answer.random.random", lambda: next(chances))
        await place.ask("hi")
        assert [(row.version_id, row.origin) for row in rows(ReplyRow)] == [(None, Origin.CHAT)]
        await place.ask("hi again")
        asked = rows(ReplyRow)[1:]
        assert {row.version_id for row in asked} == {version.id, None}
        assert [row.origin for row in asked] == [Origin.CHAT, Origin.ALTERNATIVE]

    async def test_it_keeps_its_share_and_days_across_a_restart_and_a_change_of_settings(
        self, env, make_version, start, settings, engine, base, canary, fixed_basis
    ):
        make_version()
        await start()
        old = env.bot
        other = with_release(settings, canary_share=0.01, canary_days=1.0)
        await env.restart_bot(ReactuneBot(other, engine=engine, base=base, fixed_basis=fixed_basis))
        await env.advance_time(SOON_S)
        assert (canary().status, canary().share, canary().days) == (CanaryStatus.RUNNING, 0.3, 14)
        await old.close()

    async def test_a_challenger_whose_files_are_damaged_is_rolled_back(
        self, make_version, start, settings, canary, announced
    ):
        version = make_version()
        await start()
        (settings.data.directory / "adapters" / version.digest / WEIGHTS_FILE).write_bytes(b"altered")
        (news,) = await announced()
        assert canary().status is CanaryStatus.ROLLED_BACK
        assert news.startswith("🐤 The canary of **v1** was rolled back: v1 cannot answer: the adapter")

    async def test_a_damaged_version_is_not_tried(self, make_version, start, settings, rows):
        version = make_version()
        (settings.data.directory / "adapters" / version.digest / WEIGHTS_FILE).unlink()
        assert "is missing" in (await start()).content
        assert rows(CanaryRow) == []


class TestStatus:
    async def test_it_shows_share_choices_evidence_and_days(self, place, make_version, start, give, status):
        version = make_version()
        await start(reason="let us see")
        give(version, wins=4, losses=1)
        text = await status()
        assert text.startswith(
            "**Canary:** 30% of answers come with a blind second one; v1 gives one of the two and base the other. "
            "Running for 0 minutes (started by grace"
        )
        assert "let us see" in text
        assert "v1 leads 4 to 1 in blind pairs, by 5 people; about" in text
        assert "Evidence that people prefer v1: 1.8 of 20; that they like it less: 0.27 of 20" in text
        assert "Without a result, the canary ends in 13 days." in text
        short = said((await place.grace.slash(place.channel, "model status")).response)
        assert "v1 leads 4 to 1" in short
        assert "A canary asks people in 30% of answers. Details: `/model canary status`" in short
        listed = (await place.grace.slash(place.channel, "model list")).response.content
        assert "🐤 **v1** · 👍 0 👎 0 · tried as a canary" in listed

    async def test_without_one_it_says_so_and_how_the_last_one_ended(self, place, make_version, start, status, canary):
        assert await status() == "No canary is running."
        refused = await place.grace.slash(place.channel, "model canary stop")
        assert "No canary is running" in refused.followups[-1].content
        make_version()
        await start()
        stopped = await place.grace.slash(place.channel, "model canary stop", reason="too odd")
        assert stopped.response.content == "The canary was stopped: **base** stays the champion."
        assert canary().status is CanaryStatus.STOPPED
        assert "The last one, of v1, was stopped: grace" in await status()

    async def test_versions_are_offered_while_typing(self, place, make_version):
        make_version()
        choices = await place.grace.autocomplete(place.channel, "model canary start", "version", "")
        assert [choice["value"] for choice in choices] == ["v1", "base"]


class TestEnd:
    async def test_what_people_prefer_is_promoted_and_announced(
        self, place, make_version, start, give, rows, canary, announced
    ):
        version = make_version()
        await start()
        give(version, wins=9)
        (news,) = await announced()
        assert canary().status is CanaryStatus.PROMOTED
        assert news.startswith("📣 **v1** answers from now on (before: base).\nBy the canary: people prefer v1 to base")
        assert (await place.ask("hi")).content.endswith("-# v1")
        (move,) = [m for m in rows(AliasMoveRow) if m.alias == "champion"]
        assert (move.to_version_id, move.moved_by) == (version.id, "the canary")

    async def test_what_people_like_less_is_rolled_back(self, make_version, start, give, canary, announced):
        version = make_version()
        await start()
        give(version, losses=9)
        (news,) = await announced()
        assert canary().status is CanaryStatus.ROLLED_BACK
        assert news.startswith("🐤 The canary of **v1** was rolled back: people like v1 less than base: 0 to 9")
        assert news.endswith("base stays.")

    @pytest.mark.parametrize(
        ("verdict", "how"), [(GateVerdict.PASS, ""), (GateVerdict.NOT_ENOUGH_EVIDENCE, " with `override` and a reason")]
    )
    async def test_after_its_days_it_is_inconclusive_and_the_champion_stays(
        self, verdict, how, make_version, start, give, canary, announced, query
    ):
        version = make_version(verdict=verdict)
        await start()
        give(version, wins=2, losses=2)
        query(lambda session: session.execute(update(CanaryRow).values(started_at=utc_now() - timedelta(days=14))))
        (news,) = await announced()
        assert canary().status is CanaryStatus.INCONCLUSIVE
        assert "ended without a result: 14 days did not decide between v1 and base: 2 to 2 in blind pairs" in news
        assert f"To use v1 anyway: `/model promote v1`{how}." in news

    async def test_it_ends_when_its_days_left_cannot_decide(
        self, make_version, start, give, canary, announced, query, status
    ):
        version = make_version()
        await start()
        give(version, wins=2, losses=2)

        def begun(days: float):
            query(
                lambda session: session.execute(update(CanaryRow).values(started_at=utc_now() - timedelta(days=days)))
            )

        begun(days=5)
        assert await announced() == []
        begun(days=10)
        (news,) = await announced()
        assert canary().status is CanaryStatus.INCONCLUSIVE
        assert news.startswith(
            "🐤 The canary of **v1** ended without a result: at 0.4 choices a day, the 4 days left cannot decide: 2 to "
            "2 in blind pairs, by 4 people. base stays."
        )
        assert "ended without a result: at 0.4 choices a day" in await status()

    async def test_choices_made_while_the_bot_was_away_end_it(self, env, make_version, start, give, canary, new_bot):
        version = make_version()
        await start()
        old = env.bot
        give(version, losses=9)
        await env.restart_bot(new_bot())
        await env.advance_time(SOON_S)
        assert canary().status is CanaryStatus.ROLLED_BACK
        await old.close()

    async def test_a_promotion_by_hand_stops_it(self, place, make_version, start, canary):
        make_version(1.0)
        make_version(2.0)
        await start()
        await place.grace.slash(place.channel, "model promote", version="v2")
        assert canary().status is CanaryStatus.STOPPED
        assert (await place.ask("hi")).content.endswith("-# v2")

    async def test_one_of_two_simultaneous_canary_starts_gets_a_message(
        self, place, make_version, env, start, query, rows
    ):
        make_version(1.0)
        make_version(2.0)
        real = env.bot.services.releases.open

        def slow_open(target):
            env.bot.services.releases.open = real

            def begin(session):
                v2 = version_named(session, 1, "v2")
                start_canary(session, 1, v2, env.bot.services.settings.release, by="other", reason="")

            query(begin)
            return real(target)

        env.bot.services.releases.open = slow_open
        assert "A canary of v2 is running: stop it first" in (await start()).content
        assert [row.started_by for row in rows(CanaryRow)] == ["other"]


class TestAnnouncements:
    async def test_a_promotion_is_announced_with_its_changes_and_undo(self, place, make_version, announced):
        answer = await place.ask("hi")
        await place.ada.react(answer, "👍")
        make_version()
        await place.grace.slash(place.channel, "model promote", version="v1", reason="it is kinder, @everyone")
        (news,) = await announced()
        lines = news.splitlines()
        assert lines[0] == "📣 **v1** answers from now on (before: base)."
        assert lines[1].startswith("By grace (")
        assert lines[1].endswith("it is kinder, @ everyone.")
        assert lines[2] == (
            "**New since base:** 1 round with 9 pairs trained on (7 from answers to the same question, 2 from "
            "suggestions); 1 vote while base answered"
        )
        assert lines[3] == "**Measured:** 30 for validation · 67% of those right · divergence 0.50 nats/token"
        assert lines[4] == "`/model rollback` brings base back."
        assert not announced.channel.last_message.mention_everyone

    async def test_those_who_voted_hear_what_their_votes_said(self, place, make_version, announced, query):
        query(lambda session: add_taste(session, 40))
        make_version()
        await place.grace.slash(place.channel, "model promote", version="v1")
        (news,) = await announced()
        (told,) = [line for line in news.splitlines() if line.startswith("**To everyone who voted:** ")]
        assert "by your votes, people here like a question at the end (sure)" in told
        assert told.endswith("`/myvotes` shows what became of yours.")

    async def test_a_rollback_is_announced_in_a_line(self, place, make_version, announced):
        make_version()
        await place.grace.slash(place.channel, "model promote", version="v1")
        await place.grace.slash(place.channel, "model rollback", reason="too loud")
        news = await announced()
        assert len(news) == 2
        assert news[1].startswith("↩️ **base** answers again (before: v1). By grace (")
        assert news[1].endswith("too loud. `/model promote v1` brings v1 back.")
        assert "\n" not in news[1]

    async def test_news_that_could_not_be_read_is_announced_later(
        self, place, make_version, announced, monkeypatch, rows
    ):
        failures = [RuntimeError("the database went away")]

        def fail_once(session, news):
            if failures:
                raise failures.pop()
            return prepare_announcement(session, news)

        monkeypatch.setattr("bot.releases.announcer.prepare_announcement", fail_once)
        make_version()
        await place.grace.slash(place.channel, "model promote", version="v1")
        assert await announced() == failures == []
        (news,) = await announced()
        assert "**v1** answers from now on" in news
        assert all(move.announced for move in rows(AliasMoveRow))

    async def test_nothing_is_announced_twice(self, place, make_version, announced, env, settings, engine, base, rows):
        make_version()
        await place.grace.slash(place.channel, "model promote", version="v1")
        assert len(await announced()) == 1
        old = env.bot
        await env.restart_bot(ReactuneBot(old.services.settings, engine=engine, base=base))
        assert len(await announced()) == 1
        assert all(move.announced for move in rows(AliasMoveRow))
        await old.close()

    async def test_events_while_the_bot_was_offline_are_announced_unless_old(
        self, make_version, announced, env, query, engine, base
    ):
        make_version()
        old = env.bot
        await old.close()

        def meanwhile(session):
            v1 = version_named(session, 1, "v1")
            promote(session, 1, v1, expected_generation=0, by="root (command line)", reason="long ago")
            session.execute(update(AliasMoveRow).values(moved_at=utc_now() - timedelta(days=2)))
            roll_back(session, 1, expected_generation=1, by="root (command line)", reason="today")

        query(meanwhile)
        await env.restart_bot(ReactuneBot(old.services.settings, engine=engine, base=base))
        (news,) = await announced()
        assert "By root (command line): today." in news

    @pytest.mark.parametrize(("status", "code"), [(404, 10003), (403, 50001), (403, 50013)])
    async def test_a_channel_that_takes_nothing_is_named_once_in_the_log(
        self, place, make_version, announced, env, status, code, caplog, rows
    ):
        route = f"/channels/{announced.channel.id}/messages"
        env.inject_error("POST", route, status=status, code=code, message="no", times=None)
        make_version()
        with caplog.at_level(logging.ERROR):
            await place.grace.slash(place.channel, "model promote", version="v1")
            await announced()
            tried = len([request for request in env.http_requests if request.path.endswith(route)])
            await announced()
            await place.grace.slash(place.channel, "model rollback")
            assert await announced() == []
        assert tried == 1
        assert caplog.text.count("release.announce_channel") == 1
        assert all(move.announced for move in rows(AliasMoveRow))

    async def test_while_discord_is_in_trouble_it_waits(self, place, make_version, announced, env):
        route = f"/channels/{announced.channel.id}/messages"
        env.inject_error("POST", route, status=503, times=5)
        make_version()
        await place.grace.slash(place.channel, "model promote", version="v1")
        for _ in range(20):
            news = await announced()
        assert len(news) == 1

    async def test_without_a_channel_nothing_is_announced_or_queued(self, place, make_version, env, rows, settings):
        make_version()
        await place.grace.slash(place.channel, "model promote", version="v1")
        await env.advance_time(SOON_S)
        assert all(move.announced for move in rows(AliasMoveRow))


class TestInGerman:
    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_DISCORD__LANGUAGE": "de"}

    async def test_a_german_admin_reads_in_german_why_it_ended(
        self, place, env, make_version, start, status, give, canary, announced
    ):
        version = make_version(verdict=GateVerdict.NOT_ENOUGH_EVIDENCE)
        await start()
        give(version, losses=9)
        (news,) = await announced()
        why = "v1 gefällt weniger als base: 0 zu 9 in anonymen Paaren, von 9 Personen"
        assert news.startswith(f"🐤 Der Canary von **v1** wurde zurückgenommen: {why}.")
        assert canary().reason == "people like v1 less than base: 0 to 9 in blind pairs, by 9 people"
        assert "people like v1 less than base: 0 to 9" in await status()
        env.locales[place.grace.id] = "de"
        assert why in await status()
        shown = said((await place.grace.slash(place.channel, "model show", version="v1")).response)
        assert f"die Canary-Entscheidung hat ihren Canary beendet: {why}" in shown
        assert shown.count(why) == 2, "as its verdict too"

    async def test_a_german_admin_reads_an_admins_words_as_they_were_written(
        self, place, env, make_version, start, status
    ):
        make_version()
        await start()
        await place.grace.slash(place.channel, "model canary stop", reason="it passed the gate")
        env.locales[place.grace.id] = "de"
        assert "hat ihn beendet: it passed the gate." in await status()
