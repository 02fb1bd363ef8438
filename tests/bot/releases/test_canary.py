"""A canary answers a share of conversations, and its votes promote it or roll it back; members read about it."""

from __future__ import annotations

import logging
from dataclasses import replace as changed
from datetime import timedelta

import pytest
from sqlalchemy import update

from bot.app import ReactuneBot
from bot.engine import GenerationFailed
from storage.adapters.folder_store import WEIGHTS_FILE, AdapterStore
from storage.database.columns import utc_now
from storage.database.enums import (
    CanaryStatus,
    GateVerdict,
    Outcome,
    PairSource,
    QuarantineRule,
    QuarantineStatus,
    RoundStatus,
    Split,
)
from storage.database.tables import (
    AliasMoveRow,
    CanaryRow,
    QuarantinedVoteRow,
    QuarantineRow,
    ReplyRow,
    RoundPairRow,
    RoundRow,
)
from storage.releases.announcements import prepare_announcement
from storage.releases.canaries import answers_with_challenger, start_canary
from storage.releases.promotion import promote, release_passed, roll_back
from storage.releases.versions import read_alias, register, version_named
from storage.settings.sections import ReleaseSettings
from storage.training.rounds import claim_round, finish_round
from storage.votes.votes import Vote
from tests.seeding import ALICE, account, add_reply, vote
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
def overrides():
    # Most tests here give many votes at once, and mean no burst.
    return {"REACTUNE_VOTES__BURST_VOTES": "0"}


@pytest.fixture
def give(query):
    """Let members vote on an answer of a version, each once."""

    def votes(version, *, up: int = 0, down: int = 0) -> int:
        def write(session):
            reply_id = add_reply(session, personality_id=1, version_id=version.id if version else None)
            for member in range(up + down):
                vote(session, reply_id, 1_000 + member, Vote.UP if member < up else Vote.DOWN)
            return reply_id

        return query(write)

    return votes


@pytest.fixture
def canary(rows):
    """Return the row of the canary that was started last."""
    return lambda: rows(CanaryRow)[-1]


@pytest.fixture
def channel_for(place, env, canary):
    """Return a channel whose conversation belongs to the challenger, or to the champion."""

    def find(*, challenger: bool):
        row = canary()
        while True:
            channel = env.guild.create_text_channel("another")
            if answers_with_challenger(row.id, channel.id, row.share) is challenger:
                return changed(place, channel=channel)

    return find


@pytest.fixture
def start(place):
    async def begin(version: str = "v1", **options):
        options = {"share": 0.5} | options
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
        assert "? not enough evidence for the gate yet: answers moved 4.2 nats per token" in shown
        assert "made it the champion, overriding the gate: only a test server" in shown
        (news,) = await announced()
        assert "⚠️ The gate was overridden. V1" not in news
        assert "⚠️ The gate was overridden. v1 ? not enough evidence for the gate yet: answers moved 4.2" in news
        assert "only a test server" in news

    async def test_the_list_says_what_the_gate_said(self, place, make_version):
        for verdict in GateVerdict:
            make_version(verdict=verdict)
        listed = (await place.grace.slash(place.channel, "model list")).response.content
        for name, words in (("v1", "✓ passed"), ("v2", "✗ failed"), ("v3", "? not enough evidence for")):
            assert any(f"**{name}**" in line and f"{words} the gate" in line for line in listed.splitlines())

    async def test_a_canary_of_what_did_not_pass_needs_an_override_too(self, make_version, start, canary, status, rows):
        make_version(verdict=GateVerdict.FAIL)
        assert "did not pass the gate (fail: answers moved" in (await start()).content
        assert rows(CanaryRow) == []
        assert "answers 50% of conversations" in (await start(override=True, reason="be brave")).content
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

    async def test_a_canary_has_a_status(self, advice):
        automatic = ReleaseSettings(auto_promote=True, canary_share=0.2)
        text = await advice(GateVerdict.PASS, lambda session, v1: release_passed(session, 1, v1, automatic))
        assert "v1 answers a share of conversations. Details: `/model canary status`." in text


class TestWhoAnswers:
    async def test_the_challenger_answers_its_conversations_and_the_champion_the_others(
        self, make_version, start, channel_for, engine, rows
    ):
        version = make_version()
        assert (await start()).content.startswith("**v1** answers 50% of conversations from now on.")
        tried, kept = channel_for(challenger=True), channel_for(challenger=False)
        for place, name in ((tried, "v1"), (kept, "base"), (tried, "v1"), (kept, "base")):
            assert (await place.ask("hi")).content.endswith(f"-# {name}")
        assert [reply.version_id for reply in rows(ReplyRow)] == [version.id, None, version.id, None]
        assert [bool(request.adapter) for request in engine.requests] == [True, False, True, False]

    async def test_a_conversation_keeps_its_side_across_a_restart_and_a_change_of_settings(
        self, env, make_version, start, channel_for, settings, engine, base, canary, fixed_basis
    ):
        make_version()
        await start()
        tried, kept = channel_for(challenger=True), channel_for(challenger=False)
        other = with_release(settings, canary_share=0.01, canary_alpha=0.4, canary_max_votes=1)
        old = env.bot
        await env.restart_bot(ReactuneBot(other, engine=engine, base=base, fixed_basis=fixed_basis))
        for place, name in ((tried, "v1"), (kept, "base")):
            answer = await place.ask("hi")
            assert answer.content.endswith(f"-# {name}")
            await place.ada.react(answer, "👍")
        await env.advance_time(SOON_S)
        row = canary()
        assert (row.status, row.share, row.alpha, row.max_votes) == (CanaryStatus.RUNNING, 0.5, 0.05, 400)
        assert (row.numbers["challenger"]["up"], row.numbers["champion"]["up"]) == (1, 1)
        await old.close()

    async def test_stopping_it_takes_effect_with_the_next_answer(self, place, make_version, start, channel_for, canary):
        make_version()
        await start()
        tried = channel_for(challenger=True)
        assert (await tried.ask("hi")).content.endswith("-# v1")
        stopped = await place.grace.slash(place.channel, "model canary stop", reason="too odd")
        assert stopped.response.content == "The canary was stopped: **base** answers everywhere."
        assert (await tried.ask("hi")).content.endswith("-# base")
        assert canary().status is CanaryStatus.STOPPED
        assert canary().reason.endswith("stopped it: too odd")

    async def test_a_challenger_whose_files_are_damaged_gives_way_to_the_champion_and_its_canary_ends(
        self, make_version, start, channel_for, settings, canary
    ):
        version = make_version()
        await start()
        tried = channel_for(challenger=True)
        (settings.data.directory / "adapters" / version.digest / WEIGHTS_FILE).write_bytes(b"altered")
        assert (await tried.ask("hi")).content.endswith("-# base")
        assert canary().status is CanaryStatus.ROLLED_BACK
        assert "v1 cannot answer: the adapter" in canary().reason

    async def test_it_ends_even_where_nobody_asks(self, make_version, start, settings, env, canary, announced):
        version = make_version()
        await start()
        (settings.data.directory / "adapters" / version.digest / WEIGHTS_FILE).unlink()
        (news,) = await announced()
        assert canary().status is CanaryStatus.ROLLED_BACK
        assert news.startswith("🐤 The canary of **v1** was rolled back: v1 cannot answer")

    async def test_a_damaged_version_is_not_tried(self, make_version, start, settings, rows):
        version = make_version()
        (settings.data.directory / "adapters" / version.digest / WEIGHTS_FILE).unlink()
        assert "is missing" in (await start()).content
        assert rows(CanaryRow) == []


class TestStatus:
    async def test_it_shows_share_votes_approval_and_evidence(
        self, place, make_version, start, give, status, env, rows
    ):
        version = make_version()
        await start(reason="let us see")
        give(version, up=8, down=2)
        give(None, up=3, down=1)
        text = await status()
        assert text.startswith(
            "**Canary:** v1 answers 50% of conversations and base the rest; running for 0 minutes (started by grace"
        )
        assert "let us see" in text
        assert "**v1:** 👍 8 👎 2 in 1 conversation, approval 80% (49% to 94%)" in text
        assert "**base:** 👍 3 👎 1 in 1 conversation, approval 75% (30% to 95%)" in text
        assert "of 40" in text
        assert "Without a result, the canary ends after 390 more votes on v1." in text
        short = (await place.grace.slash(place.channel, "model status")).response.content
        assert "v1 answers 50% of conversations. v1 has 80% of 10 votes, base has 75% of 4 votes." in short
        listed = (await place.grace.slash(place.channel, "model list")).response.content
        assert "🐤 **v1** · 👍 8 👎 2 · answers as a canary" in listed
        await env.advance_time(SOON_S)
        assert rows(CanaryRow)[0].numbers["challenger"]["up"] == 8

    async def test_it_says_how_many_votes_count_and_how_many_they_were(
        self, place, make_version, start, status, query, env, rows
    ):
        version = make_version()
        await start()

        def light_votes(session):
            reply_id = add_reply(session, personality_id=1, version_id=version.id)
            for number in range(5):
                vote(session, reply_id, account(days_old=15) + number, Vote.UP)
            vote(session, reply_id, ALICE, Vote.DOWN)

        query(light_votes)
        text = await status()
        assert "**v1:** 👍 2.5 👎 1 in 1 conversation, approval 71% (" in text
        assert "; 6 votes worth 3.5, because new accounts and new members count less" in text
        assert "**base:** 👍 0 👎 0 in 0 conversations, no votes\n" in text
        assert "the canary ends after 394 more votes on v1" in text
        short = (await place.grace.slash(place.channel, "model status")).response.content
        assert "v1 has 71% of 6 votes worth 3.5, base has no votes." in short
        await env.advance_time(SOON_S)
        assert rows(CanaryRow)[0].numbers["challenger"]["given"] == 6

    async def test_new_accounts_do_not_make_a_champion(self, make_version, start, give, query, env, canary):
        version = make_version()
        await start()
        give(None, up=10, down=20)

        def stuff(session):
            reply_id = add_reply(session, personality_id=1, version_id=version.id)
            for number in range(60):
                vote(session, reply_id, account(days_old=0) + number, Vote.UP)

        query(stuff)
        await env.advance_time(SOON_S)
        assert canary().status is CanaryStatus.RUNNING
        assert canary().numbers["challenger"]["given"] == 60

    async def test_without_one_it_says_so_and_how_the_last_one_ended(self, place, make_version, start, status):
        assert await status() == "No canary is running: the champion answers every conversation."
        assert (
            "No canary is running"
            in (await place.grace.slash(place.channel, "model canary stop")).followups[-1].content
        )
        make_version()
        await start()
        await place.grace.slash(place.channel, "model canary stop", reason="too odd")
        assert "The last one, of v1, was stopped: grace" in await status()

    async def test_votes_in_quarantine_do_not_count(self, make_version, start, give, status, query):
        version = make_version()
        await start()
        reply_id = give(version, up=6)

        def hold_back(session):
            now = utc_now()
            row = QuarantineRow(
                personality_id=1,
                rule=QuarantineRule.REPLY,
                subject_id=reply_id,
                vote="up",
                first_vote_at=now,
                last_vote_at=now,
            )
            session.add(row)
            session.flush()
            for member in range(5):
                session.add(QuarantinedVoteRow(quarantine_id=row.id, reply_id=reply_id, user_id=1_000 + member))

        query(hold_back)
        assert "**v1:** 👍 1 👎 0" in await status()

    async def test_versions_are_offered_while_typing(self, place, make_version):
        make_version()
        choices = await place.grace.autocomplete(place.channel, "model canary start", "version", "")
        assert [choice["value"] for choice in choices] == ["v1", "base"]


class TestBurst:
    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_VOTES__BURST_VOTES": "5"}

    async def test_a_burst_does_not_end_it_and_waits_for_an_admin(
        self, make_version, start, give, env, canary, status, rows
    ):
        version = make_version()
        await start()
        give(version, up=30)
        give(None, down=4)
        for _ in range(2):
            await env.advance_time(SOON_S)
            assert canary().status is CanaryStatus.RUNNING
        (held,) = rows(QuarantineRow)
        assert (held.status, held.rule) == (QuarantineStatus.OPEN, QuarantineRule.REPLY)
        assert "**v1:** 👍 0 👎 0" in await status()


class TestEnd:
    async def test_the_better_one_is_promoted_and_announced(
        self, make_version, start, give, env, rows, canary, announced, channel_for
    ):
        version = make_version()
        await start()
        kept = channel_for(challenger=False)
        give(version, up=30)
        give(None, up=10, down=20)
        (news,) = await announced()
        assert canary().status is CanaryStatus.PROMOTED
        assert news.startswith("📣 **v1** answers from now on (before: base).\nBy the canary: members like v1 better")
        assert (await kept.ask("hi")).content.endswith("-# v1")
        (move,) = [m for m in rows(AliasMoveRow) if m.alias == "champion"]
        assert (move.to_version_id, move.moved_by) == (version.id, "the canary")

    async def test_the_worse_one_is_rolled_back_at_once(
        self, make_version, start, give, env, canary, announced, channel_for
    ):
        version = make_version()
        await start()
        tried = channel_for(challenger=True)
        give(None, up=30, down=2)
        assert (await tried.ask("hi")).content.endswith("-# v1")
        give(version, up=2, down=20)
        (news,) = await announced()
        assert canary().status is CanaryStatus.ROLLED_BACK
        assert news.startswith("🐤 The canary of **v1** was rolled back: members like v1 less than base: 9%")
        assert news.endswith("base answers everywhere.")
        assert (await tried.ask("hi")).content.endswith("-# base")

    async def test_errors_speak_against_it(self, make_version, start, give, env, canary, channel_for, engine, rows):
        make_version()
        await start()
        tried = channel_for(challenger=True)
        give(None, up=50, down=5)
        engine.failure = GenerationFailed("out of memory")
        for _ in range(10):
            await tried.ask("hi")
        engine.failure = None
        await env.advance_time(SOON_S)
        assert canary().status is CanaryStatus.ROLLED_BACK
        assert canary().numbers["challenger"]["failures"] == 10
        assert {r.outcome for r in rows(ReplyRow) if r.version_id} == {Outcome.FAILED}
        assert (await tried.ask("hi")).content.endswith("-# base")

    async def test_at_the_cap_it_is_inconclusive_and_the_champion_stays(
        self, env, settings, make_version, start, give, canary, announced
    ):
        version = make_version()
        env.change_settings(with_release(env.bot.services.settings, canary_max_votes=20))
        await start()
        give(version, up=10, down=10)
        give(None, up=11, down=9)
        (news,) = await announced()
        assert canary().status is CanaryStatus.INCONCLUSIVE
        assert "ended without a result: no difference between v1 and base: 50% of 20 votes for v1" in news
        assert "To use v1 anyway: `/model promote v1`." in news

    async def test_votes_given_while_the_bot_was_away_end_it(
        self, env, make_version, start, give, canary, new_bot, channel_for
    ):
        version = make_version()
        await start()
        tried = channel_for(challenger=True)
        old = env.bot
        give(version, up=2, down=20)
        give(None, up=30, down=2)
        await env.restart_bot(new_bot())
        await env.advance_time(SOON_S)
        assert canary().status is CanaryStatus.ROLLED_BACK
        assert (await tried.ask("hi")).content.endswith("-# base")
        await old.close()

    async def test_a_promotion_by_hand_stops_it(self, place, make_version, start, canary, channel_for):
        make_version(1.0)
        make_version(2.0)
        await start()
        tried = channel_for(challenger=True)
        await place.grace.slash(place.channel, "model promote", version="v2")
        assert canary().status is CanaryStatus.STOPPED
        assert (await tried.ask("hi")).content.endswith("-# v2")

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
        assert lines[3] == "**Measured:** 30 held out · held-out accuracy 67% · divergence 0.50 nats/token"
        assert lines[4] == "`/model rollback` brings base back."
        assert not announced.channel.last_message.mention_everyone

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
