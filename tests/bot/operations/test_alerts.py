"""Admins hear of trouble in their channel: once, with what to do, and when it is over."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import text

from bot.cogs.operations import POLL_INTERVAL_S
from bot.engine import EngineState
from bot.operations.alerts import TOKEN, describe_alert, local_alerts
from bot.operations.health import HealthCheck
from storage.database.columns import utc_now
from storage.database.enums import QuarantineStatus, RoundStatus
from storage.database.tables import AlertRow, QuarantineRow
from storage.operations.alerts import Alert, AlertKind, raise_alert
from storage.runtime.processes import worker_name
from storage.training.rounds import MEMORY_RAN_OUT
from tests.past import add_round, quarantine

SOON_S = POLL_INTERVAL_S + 1
FAILED = (
    "⚠️ Round 1 of default failed: memory ran out. What to do: Fix the reason, then start another round with "
    "`/version train`; the trainer's log has the details."
)


@pytest.fixture
def channel(place, env):
    """The admins' channel."""
    made = env.guild.create_text_channel("admins")
    env.change_section("alerts", channel=made.id, min_free_gb=0.0)
    return made


@pytest.fixture
def german_channel(env):
    """The admins' channel, in a German server."""
    made = env.create_guild("Verein", preferred_locale="de").create_text_channel("admins")
    env.change_section("alerts", channel=made.id, min_free_gb=0.0)
    return made


@pytest.fixture
def told(channel, env):
    """Let a minute pass, and return what the channel holds."""

    async def look() -> list[str]:
        await env.advance_time(SOON_S)
        return [message.content for message in channel.history()]

    return look


@pytest.fixture
def fail_a_round(query):
    return lambda: query(lambda session: add_round(session, 1, status=RoundStatus.FAILED, reason="memory ran out"))


async def test_a_failed_round_is_announced_once_with_its_remedy_and_its_end(
    told, fail_a_round, query, rows, env, new_bot
):
    fail_a_round()
    assert await told() == [FAILED]
    assert await told() == [FAILED]
    changed = env.bot.services.settings
    await env.restart_bot(new_bot())
    env.change_settings(changed)
    assert await told() == [FAILED]
    query(lambda session: add_round(session, 2))
    first, second = await told()
    assert first == FAILED
    assert second.startswith("✅ Resolved: Round 1 of default failed: memory ran out. It started <t:")
    (row,) = rows(AlertRow)
    assert (row.announced, row.end_announced, row.ended_at is None) == (True, True, False)


async def test_an_alert_that_discord_refuses_is_sent_later(told, fail_a_round, env, channel, caplog):
    route = f"/channels/{channel.id}/messages"
    env.inject_error("POST", route, status=403, code=50001, message="Missing Access", times=1)
    fail_a_round()
    await told()
    assert await told() == [FAILED]
    assert caplog.text.count("Alerts cannot be sent to channel") == 1


async def test_the_log_has_each_alert_once_while_discord_refuses_them(told, fail_a_round, env, channel, query, caplog):
    route = f"/channels/{channel.id}/messages"
    env.inject_error("POST", route, status=403, code=50001, message="Missing Access", times=9)
    fail_a_round()
    assert await told() == []
    full = AlertKind("disk", "The disk is almost full", "make room")
    query(lambda session: raise_alert(session, "elsewhere", full))
    assert await told() == []
    assert await told() == []
    assert caplog.text.count(f"Alert: {FAILED}") == caplog.text.count("Alert: ⚠️ The disk is almost full") == 1


async def test_without_a_channel_the_log_has_it(env, fail_a_round, caplog, rows):
    caplog.set_level(logging.INFO)
    fail_a_round()
    await env.advance_time(SOON_S)
    assert f"Alert: {FAILED}" in caplog.text
    assert all(row.announced for row in rows(AlertRow))


@pytest.fixture
async def answer_on_hold(place, query):
    """An answer with two votes, which are suspicious."""
    answer = await place.ask("hi")
    for member in (place.ada, place.bo):
        await member.react(answer, "👍")

    query(lambda session: quarantine(session, 0, [(1, place.ada.id), (1, place.bo.id)]))
    return answer


async def test_quarantined_votes_are_announced_until_an_admin_decides(told, query, answer_on_hold):
    (alert,) = await told()
    assert alert.startswith(
        "⚠️ 2 suspicious votes of default are on hold until an admin decides. What to do: Review them with"
    )
    query(lambda session: setattr(session.get_one(QuarantineRow, 1), "status", QuarantineStatus.EXCLUDED))
    assert (await told())[1].startswith("✅ Resolved: 2 suspicious votes of default")


async def test_quarantined_votes_that_are_taken_back_wait_for_nobody(told, place, answer_on_hold):
    await told()
    for member in (place.ada, place.bo):
        await member.unreact(answer_on_hold, "👍")
    assert (await told())[1].startswith("✅ Resolved: 2 suspicious votes of default")


async def test_a_full_disk_is_announced(told, env, channel):
    env.change_section("alerts", min_free_gb=1e9)
    (disk,) = await told()
    assert disk.startswith("⚠️ The disk of the data folder is almost full:")


async def test_a_fallback_engine_is_announced_once_and_its_end(told, env, engine):
    instead = EngineState(name="transformers", fallback="OpenVINO cannot be imported")
    engine.reported = instead
    (alert,) = await told()
    assert alert == (
        "⚠️ Transformers answers instead of OpenVINO, more slowly: OpenVINO cannot be imported. What to do: Fix that "
        'and restart the bot, or set model.engine = "transformers" to accept it.'
    )

    env.bot.services.model_loaded.clear()  # as after a restart
    engine.reported = EngineState()
    assert await told() == [alert]
    engine.reported = instead
    env.bot.services.model_loaded.set()
    assert await told() == [alert]
    assert await told() == [alert]
    engine.reported = EngineState(name="OpenVINO")
    assert (await told())[1].startswith("✅ Resolved: Transformers answers instead of OpenVINO")


def test_a_quoted_error_that_ends_with_a_full_stop_gets_no_second_one():
    (alert,) = local_alerts(HealthCheck("disk", True, ""), EngineState(failure_reason="it died."), [])
    now = utc_now()
    text = describe_alert(Alert(alert.key, alert.message, alert.remedy, now, None, announced=False))
    assert text.startswith("⚠️ The model cannot answer: it died. What to do: Run")


async def test_an_unreachable_database_is_announced(told, query, rows):
    query(lambda session: session.execute(text("ALTER TABLE alerts RENAME TO gone")))
    (away,) = await told()
    assert away.startswith("⚠️ The database is unreachable; votes wait in memory")
    query(lambda session: session.execute(text("ALTER TABLE gone RENAME TO alerts")))
    assert (await told())[1].startswith("✅ Resolved: The database is unreachable")
    assert rows(AlertRow) == []


async def test_a_refused_token_is_announced_when_the_bot_is_back(told, query, settings):
    query(lambda session: raise_alert(session, worker_name(settings.data.directory), TOKEN))
    (over,) = await told()
    assert over.startswith("✅ Resolved: Discord did not accept the bot's token")
    assert "it may have leaked" in over


async def test_alerts_are_in_the_language_of_their_channels_server_and_the_log_is_english(
    place, env, german_channel, query, rows, caplog
):
    env.change_section("alerts", min_free_gb=1e9)
    query(lambda session: add_round(session, 1, status=RoundStatus.FAILED, reason=MEMORY_RAN_OUT))
    await env.advance_time(SOON_S)
    disk, failed = sorted(message.content for message in german_channel.history())
    assert disk.startswith("⚠️ Der Datenträger des Datenordners ist fast voll: ")
    assert failed.startswith(
        "⚠️ Runde 1 von default ist gescheitert: Der Speicher reichte nicht, und nichts wurde veröffentlicht: Die "
        "nächste Runde rechnet weniger auf einmal"
    )
    assert failed.endswith(
        " Was du tun kannst: Behebe den Grund und starte dann mit `/version train` eine neue Runde; Einzelheiten "
        "stehen im Log des Trainers."
    )
    english = f"round 1 of default failed: {MEMORY_RAN_OUT}"
    assert english in [row.message for row in rows(AlertRow)]
    assert f"Alert: ⚠️ {english.capitalize()[:30]}" in caplog.text
    query(lambda session: add_round(session, 2))
    await env.advance_time(SOON_S)
    assert german_channel.last_message.content.startswith("✅ Behoben: Runde 1 von default ist gescheitert: ")


async def test_an_unreachable_database_is_announced_in_the_channels_language(env, german_channel, query):
    query(lambda session: session.execute(text("ALTER TABLE alerts RENAME TO gone")))
    await env.advance_time(SOON_S)
    assert german_channel.last_message.content.startswith("⚠️ Die Datenbank ist nicht erreichbar; Stimmen warten")
    query(lambda session: session.execute(text("ALTER TABLE gone RENAME TO alerts")))


async def test_an_alert_that_was_raised_by_an_earlier_release_is_told_in_english(env, german_channel, settings, query):
    old = AlertKind("token", "the bot was offline", "reset its token")
    query(lambda session: raise_alert(session, worker_name(settings.data.directory), old))
    await env.advance_time(SOON_S)
    assert german_channel.last_message.content.startswith("✅ Behoben: The bot was offline. Das begann <t:")
