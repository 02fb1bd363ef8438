"""Admins watch, train, promote and roll back; nobody else does."""

from __future__ import annotations

import asyncio
import shutil

import pytest
from sqlalchemy import update

from storage.adapters.folder_store import WEIGHTS_FILE
from storage.database.columns import utc_now
from storage.database.enums import AuditOutcome, Cause, RoundStatus
from storage.database.tables import AliasMoveRow, AuditRow, PersonalityRow, ReplyRow, RoundRow, VersionRow
from storage.privacy.consent import withdraw_consent
from storage.releases.promotion import promote
from storage.releases.versions import version_named
from storage.runtime.processes import TRAINER, record_heartbeat
from storage.training.rounds import claim_round, finish_round, report_progress, request_round, set_manifest
from storage.votes.corrections import give_cause
from tests.bot.environment import changed
from tests.bot.panels import labels, offered, said
from tests.past import add_version as past_version
from tests.seeding import add_taste

METRICS = {"pairs": 12, "validation_pairs": 3, "validation_accuracy": 2 / 3, "divergence": 0.5, "seconds": 41.0}


async def test_a_configured_role_may_do_what_admins_may(place, env, settings, new_bot):
    helpers = place.ada.guild.create_role("helpers")
    helper = env.guild.add_member(env.create_user("hel"), roles=[helpers])
    await env.restart_bot(new_bot(changed(settings, "discord", admin_roles=(helpers.id,))))
    env.show_all_commands()
    assert "Version in use" in said((await helper.slash(place.channel, "version status")).response)


class TestStatus:
    async def test_it_says_what_answers_what_there_is_to_learn_and_what_is_open(self, place):
        answer = await place.ask("hi")
        await place.ada.react(answer, "👍")
        text = said((await place.grace.slash(place.channel, "version status")).response)
        assert "**Version in use:** base on tiny" in text
        assert "**Votes:** 1 vote by 1 member.\n" in text
        assert "**For the next round:** nothing from members yet; a round needs 8 pairs. Training uses only" in text
        assert "Trainer:** not running; start it with `reactune trainer`" in text
        assert "Everything said here may be used for training." in text

    async def test_it_says_why_votes_do_not_count(self, place, query):
        first, second, third = [await place.ask(f"question {i}") for i in range(3)]
        await place.ada.react(first, "👍")
        await place.ada.react(second, "👎")
        await place.bo.react(third, "👍")
        query(lambda session: give_cause(session, 2, place.ada.id, Cause.WRONG_FACT))
        query(lambda session: withdraw_consent(session, place.bo.id))
        text = said((await place.grace.slash(place.channel, "version status")).response)
        reasons = "1 about a wrong fact, 1 by people who forbade learning"
        assert f"**Votes:** 1 vote by 1 member. Of 3 votes given, 2 do not count: {reasons}.\n" in text

    async def test_it_names_the_trainers_and_the_latest_round(self, place, query):
        query(lambda session: [record_heartbeat(session, TRAINER, name) for name in ("gpu1:/data#01ab", "here")])
        query(lambda session: request_round(session, 1, "somebody"))
        text = said((await place.grace.slash(place.channel, "version status")).response)
        assert "**Trainer:** `gpu1:/data` is idle, `here` is idle; scheduled at `0 4 * * *` UTC" in text
        assert "Waiting for the trainer** (round 1)" in text
        query(lambda session: claim_round(session, "gpu1:/data#01ab"))
        text = said((await place.grace.slash(place.channel, "version status")).response)
        assert "**Trainer:** `gpu1:/data` is training round 1, `here` is idle" in text

    async def test_it_says_that_each_of_several_versions_has_its_own_luck(self, place, waiting):
        waiting(1.0)
        assert "luck" not in said((await place.grace.slash(place.channel, "version status")).response)
        waiting(2.0)
        luck = "People have compared 2 versions with base so far: each may be ready by luck in 1 of 20 cases."
        assert luck in said((await place.grace.slash(place.channel, "version status")).response)


class TestStatusOnDiscord:
    @pytest.fixture
    def fixed_basis(self):
        return None

    async def test_it_says_that_live_chat_is_not_trained_on(self, place):
        text = said((await place.grace.slash(place.channel, "version status")).response)
        assert "privacy.discord_training_permission = false" in text


class TestDeletedData:
    """A champion that learned from what a member has deleted is marked wherever versions are shown."""

    @pytest.fixture
    async def marked(self, place, add_version, query):
        version = add_version()
        await place.grace.slash(place.channel, "version promote", version="v1")
        query(lambda session: session.execute(update(VersionRow).values(trained_on_deleted_data=True)))
        return version

    async def say(self, place, command, **options):
        result = await place.grace.slash(place.channel, f"version {command}", **options)
        return said(result.response or result.followups[-1])

    async def test_status_says_what_the_next_round_does(self, place, marked):
        assert (
            "⚠️ v1 learned from data that was later deleted. The next round learns without that data; promote its "
            "version to replace v1."
        ) in await self.say(place, "status")

    async def test_list_and_show_mark_it(self, place, marked, query):
        assert "⚠️ learned from deleted data" in await self.say(place, "show")
        withdrawn = {"withdrawn_at": utc_now(), "withdrawn_because": "it learned from data that was deleted since"}
        query(lambda session: session.execute(update(VersionRow).values(**withdrawn)))
        assert "⚠️ learned from deleted data · files withdrawn" in await self.say(place, "show")
        shown = await self.say(place, "show", version="v1")
        assert "The next round learns without that data." in shown
        assert "UTC: it learned from data that was deleted since." in shown

    async def test_a_withdrawn_version_is_refused_in_a_sentence(self, place, add_version, query, rows):
        add_version()
        withdrawn = {"withdrawn_at": utc_now(), "withdrawn_because": "it is older than the newest 2"}
        query(lambda session: session.execute(update(VersionRow).values(**withdrawn)))
        for command, options in (("promote", {"version": "v1"}), ("compare", {"a": "v1", "b": "base", "prompt": "hi"})):
            said = await self.say(place, command, **options)
            assert said.startswith("The files of v1 were withdrawn on ")
            assert said.endswith("(it is older than the newest 2): choose another version.")
        assert rows(AliasMoveRow) == []


class TestTrain:
    async def test_it_asks_for_a_round_which_a_second_request_joins_and_warns_without_a_trainer(self, place, rows):
        first = await place.grace.slash(place.channel, "version train")
        assert "No trainer is running" in first.response.content
        second = await place.grace.slash(place.channel, "version train")
        (row,) = rows(RoundRow)
        assert row.status is RoundStatus.REQUESTED
        assert "grace" in row.requested_by
        assert row.progress_message_id == first.response.id
        assert second.response.content.startswith("Round 1 is already requested. Its progress: https://discord.com/")
        assert second.response.content.endswith(f"/{first.response.id}")

    async def test_progress_shows_the_step_of_the_round_and_the_time_left_then_the_outcome(
        self, place, env, query, add_version
    ):
        query(lambda session: record_heartbeat(session, TRAINER, "here"))
        shown = (await place.grace.slash(place.channel, "version train")).response

        async def text() -> str:
            await env.advance_time(1.5)
            return (await env.bot.get_channel(place.channel.id).fetch_message(shown.id)).content

        query(lambda session: claim_round(session, "here"))
        doing = {"stage": 3, "stages": 5, "doing": "Training the new version", "share": 0.25, "seconds_left": 42.4}
        query(lambda session: report_progress(session, 1, doing))
        assert await text() == (
            "**Training a new version** (round 1)\n"
            "`███░░░░░░░░░` **Step 3 of 5:** Training the new version · about 43 s left, longer if a check fails"
        )
        add_version(metrics=METRICS, round_id=1)
        assert place.last.embeds == []
        query(lambda session: finish_round(session, 1, RoundStatus.PUBLISHED, "v1 learned from 12 pairs", METRICS))
        final = await text()
        assert "A new version is made" in final
        assert "To use v1, run `/version promote v1`." in final

    async def test_the_outcome_shows_used_and_unused_votes(self, place, env, query):
        await place.grace.slash(place.channel, "version train")
        learned_from = {
            "votes": 1200,
            "voters": 1,
            "removed_shares": {"quarantine": 0.25, "account age": 0.001},
            "notes": ["training uses only members' own comparisons until there are 6 more votes or choices"],
        }
        round_ = query(lambda session: claim_round(session, "host"))
        query(lambda s: set_manifest(s, round_.id, [], parent_version_id=None, settings={}, learned_from=learned_from))
        query(lambda s: finish_round(s, round_.id, RoundStatus.PUBLISHED, "v1 learned", METRICS))
        await env.advance_time(1.5)
        assert (
            "**Votes when the round began:** 1,200 votes; 1 member behind its pairs; the rules removed 25% "
            "(suspicious votes)\n"
            "Training uses only members' own comparisons until there are 6 more votes or choices."
        ) in place.last.content

    async def test_progress_continues_after_a_restart(self, place, env, query, new_bot):
        query(lambda session: record_heartbeat(session, TRAINER, "here"))
        shown = (await place.grace.slash(place.channel, "version train")).response
        await env.restart_bot(new_bot())
        query(lambda session: claim_round(session, "here"))
        query(lambda session: finish_round(session, 1, RoundStatus.SKIPPED, "2 pairs, 8 needed"))
        await env.advance_time(2)
        message = await env.bot.get_channel(place.channel.id).fetch_message(shown.id)
        assert "2 pairs, 8 needed" in message.content

    async def test_an_outcome_that_discord_refuses_for_now_is_shown_later(self, place, env, query, rows):
        shown = (await place.grace.slash(place.channel, "version train")).response
        query(lambda session: claim_round(session, "here"))
        await env.advance_time(1.5)
        env.inject_error("PATCH", "/channels/*/messages/*", status=429, times=1)
        query(lambda session: finish_round(session, 1, RoundStatus.SKIPPED, "2 pairs, 8 needed"))
        await env.advance_time(5)
        message = await env.bot.get_channel(place.channel.id).fetch_message(shown.id)
        assert "2 pairs, 8 needed" in message.content
        assert rows(RoundRow)[0].progress_message_id is None

    async def test_unchanged_progress_is_not_sent_again(self, place, env):
        await place.grace.slash(place.channel, "version train")
        await env.advance_time(2)
        before = len(env.http_requests)
        await env.advance_time(5)
        assert len(env.http_requests) == before

    async def test_a_deleted_progress_message_is_let_go(self, place, env, rows):
        shown = (await place.grace.slash(place.channel, "version train")).response
        env.backend.delete_message(place.channel.id, shown.id)
        await env.advance_time(2)
        assert rows(RoundRow)[0].progress_message_id is None


class TestReleases:
    async def test_promote_and_roll_back_take_effect_with_the_next_answer(self, place, add_version, engine, rows):
        version = add_version()
        promoted = await place.grace.slash(place.channel, "version promote", version="v1", reason="it is kinder")
        assert promoted.response.content.startswith("**v1** answers from now on (before: base)")
        assert (await place.ask("hi")).content.endswith("-# v1")
        assert engine.requests[-1].adapter.digest == version.digest
        assert rows(ReplyRow)[-1].version_id == version.id
        back = await place.grace.slash(place.channel, "version rollback")
        assert back.response.content.startswith("Rolled back: **base** answers again")
        assert (await place.ask("hi")).content.endswith("-# base")
        assert engine.requests[-1].adapter is None
        moves = [m for m in rows(AliasMoveRow) if m.alias == "champion"]
        assert [(m.to_version_id, m.reason) for m in moves] == [
            (version.id, "it is kinder"),
            (None, ""),
        ]
        assert all("grace" in m.moved_by for m in moves)

    async def test_a_rollback_says_what_still_acts_and_offers_to_switch_it_off(
        self, env, place, add_version, query, rows
    ):
        add_version()
        await place.grace.slash(place.channel, "version promote", version="v1")
        query(lambda session: add_taste(session, 60))
        chooses = "I begin several answers and finish the one that members would like best."
        status = said((await place.grace.slash(place.channel, "version status")).response)
        assert chooses in status
        back = (await place.grace.slash(place.channel, "version rollback")).response
        assert back.content == (
            "Rolled back: **base** answers again. `/version promote v1` brings v1 back. What people's votes "
            f"taught me still applies: {chooses}"
        )
        status = said((await place.grace.slash(place.channel, "version status")).response)
        acts = f"No version answers yet, but people's votes already shape the answers. {chooses}"
        assert acts in status
        assert "not learned" not in status
        assert (await place.grace.slash(place.channel, "version show")).response.content.startswith(acts)
        refused = await place.ada.click(back, label="Switch that off too")
        assert "Only admins can do this" in refused.followups[-1].content
        assert [row.follows_taste for row in rows(PersonalityRow)] == [True]
        env.locales[place.grace.id] = "de"  # and the server's is English
        await place.grace.click(back, label="Switch that off too")
        del env.locales[place.grace.id]
        assert place.last.content.startswith("Switched off: from the next answer on")
        assert place.last.components == []
        assert [row.follows_taste for row in rows(PersonalityRow)] == [False]
        assert [(row.action, row.outcome) for row in rows(AuditRow)][-2:] == [
            ("taste switch", AuditOutcome.REFUSED),
            ("taste switch", AuditOutcome.DONE),
        ]
        status = said((await place.grace.slash(place.channel, "version status")).response)
        assert "An admin has decided that answers" in status
        assert (
            "An admin decided against following what members like, so training uses only their own comparisons."
            in status
        )

    async def test_a_rollback_to_a_base_that_nothing_acts_on_says_only_that(self, place, add_version):
        add_version()
        await place.grace.slash(place.channel, "version promote", version="v1")
        back = (await place.grace.slash(place.channel, "version rollback")).response.content
        assert back == "Rolled back: **base** answers again. `/version promote v1` brings v1 back."

    async def test_list_and_show(self, place, add_version):
        add_version(metrics=METRICS)
        await place.grace.slash(place.channel, "version promote", version="1")
        answer = await place.ask("hi")
        await place.ada.react(answer, "👎")
        listed = (await place.grace.slash(place.channel, "version show")).response.content
        assert "👑 **v1** · 👍 0 👎 1" in listed
        assert "▫️ **base** · 👍 0 👎 0" in listed
        shown = (await place.grace.slash(place.channel, "version show", version="v1")).response.content
        assert "from base on tiny" in shown
        assert "12 pairs trained on · 3 for validation" in shown
        assert ") promoted it" in shown

    async def test_only_versions_that_can_answer_are_offered_for_promotion(self, place, add_version, query):
        add_version()
        query(lambda session: past_version(session, base_revision="f" * 16))
        for command, offered_there in (("promote", ["v1", "base"]), ("show", ["v2", "v1", "base"])):
            choices = await place.grace.autocomplete(place.channel, f"version {command}", "version", "")
            assert [choice["value"] for choice in choices] == offered_there

    async def test_a_version_is_opened_from_the_list_and_the_list_from_it(self, place, add_version, env, new_bot):
        add_version()
        choices = await place.grace.autocomplete(place.channel, "version promote", "version", "")
        assert [choice["value"] for choice in choices] == ["v1", "base"]
        assert await place.grace.autocomplete(place.channel, "version promote", "version", "v1") == []
        listed = await place.grace.slash(place.channel, "version show")
        assert listed.ephemeral
        assert offered(listed.response) == ["v1", "base"]
        await env.restart_bot(new_bot())
        opened = await place.grace.select(listed.response, ["v1"])
        assert opened.response.id == listed.response.id
        assert "from base on tiny" in opened.response.content
        again = await place.grace.click(opened.response, label="All versions")
        assert again.response.content.splitlines()[-1].startswith("👑 **base**")
        base = await place.grace.select(again.response, ["base"])
        assert base.response.content == "**base** · tiny (0123456789abcdef), without an adapter."
        assert labels(base.response) == ["All versions"]
        again = await place.grace.click(base.response, label="All versions")
        await place.take_roles(place.grace)
        refused = await place.grace.select(again.response, ["v1"])
        assert "Only admins can do this" in refused.response.content

    async def test_a_long_list_has_pages(self, place, waiting):
        for number in range(12):
            waiting(float(number))
        newest = (await place.grace.slash(place.channel, "version show")).response
        assert offered(newest) == [*(f"v{number}" for number in range(12, 2, -1)), "base"]
        assert labels(newest) == ["Older", "Post a report here"]
        older = (await place.grace.click(newest, label="Older")).response
        assert offered(older) == ["v2", "v1", "base"]
        assert "**v2**" in older.content
        assert "**v3**" not in older.content
        assert offered((await place.grace.click(older, label="Newer")).response)[0] == "v12"

    async def test_what_changes_nothing_is_a_sentence(self, place, add_version, rows):
        for name in ("v9", "nonsense", "v", "-1", "v" + "9" * 30):
            result = await place.grace.slash(place.channel, "version promote", version=name)
            assert f"There is no version {name}" in result.followups[-1].content
        result = await place.grace.slash(place.channel, "version rollback")
        assert "no earlier version to roll back to" in result.followups[-1].content
        add_version()
        await place.grace.slash(place.channel, "version promote", version="v1")
        again = await place.grace.slash(place.channel, "version promote", version="v1")
        assert "v1 is already in use" in again.followups[-1].content
        assert len([m for m in rows(AliasMoveRow) if m.alias == "champion"]) == 1

    async def test_one_of_two_simultaneous_admins_wins_and_the_other_gets_a_message(
        self, place, add_version, env, rows, query
    ):
        add_version(1.0)
        add_version(2.0)
        real = env.bot.services.releases.open

        def slow_open(target):
            query(lambda s: promote(s, 1, version_named(s, 1, "v2"), expected_generation=0, by="other", reason=""))
            return real(target)

        env.bot.services.releases.open = slow_open
        result = await place.grace.slash(place.channel, "version promote", version="v1")
        assert "omeone else just changed the version in use" in result.followups[-1].content
        assert len([m for m in rows(AliasMoveRow) if m.alias == "champion"]) == 1

    async def test_a_damaged_version_is_not_promoted(self, place, add_version, settings, rows):
        version = add_version()
        (settings.data.directory / "adapters" / version.digest / WEIGHTS_FILE).unlink()
        result = await place.grace.slash(place.channel, "version promote", version="v1")
        assert "is missing" in result.followups[-1].content
        assert rows(AliasMoveRow) == []

    async def test_a_champion_whose_files_vanish_gives_way_and_status_says_so(self, place, add_version, settings):
        first, second = add_version(1.0), None
        await place.grace.slash(place.channel, "version promote", version="v1")
        second = add_version(2.0)
        await place.grace.slash(place.channel, "version promote", version="v2")
        store = settings.data.directory / "adapters"
        (store / second.digest / WEIGHTS_FILE).write_bytes(b"altered")
        assert (await place.ask("hi")).content.endswith("-# v1")
        shutil.rmtree(store / first.digest)
        assert (await place.ask("hi")).content.endswith("-# base")
        status = said((await place.grace.slash(place.channel, "version status")).response)
        assert "⚠️ v2 cannot answer" in status

    async def test_an_answer_keeps_the_version_it_began_with(self, place, add_version, engine, env, query, rows):
        add_version()

        async def promote_meanwhile() -> None:
            engine.interlude = None
            await asyncio.to_thread(query, move)

        def move(session):
            promote(session, 1, version_named(session, 1, "v1"), expected_generation=0, by="test", reason="")

        engine.answers = ["one two three"]
        engine.interlude = promote_meanwhile
        assert (await place.ask("hi")).content.endswith("-# base")
        assert rows(ReplyRow)[0].version_id is None
        assert (await place.ask("again")).content.endswith("-# v1")
