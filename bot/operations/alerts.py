"""Alerts for admins: their conditions and texts. Does no input or output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from discord.utils import format_dt

from bot.engine import EngineState
from bot.operations.health import HealthCheck
from bot.text.rounds import sentence
from storage.database.enums import RoundStatus
from storage.insights.alert_facts import AlertFacts, EndedCanary
from storage.operations.alerts import Alert, AlertKind
from storage.training.rounds import Round
from storage.wording import count

FALLBACK = "fallback"
"""Key of the alert that transformers answers because OpenVINO failed."""
CANARY_NEWS_FOR = timedelta(days=1)
TOKEN = AlertKind(
    "token",
    "Discord did not accept the bot's token, so the bot was offline",
    "if nobody reset it on purpose, reset it again (Discord developer portal, your application, Bot, Reset Token): "
    "it may have leaked",
)
DATABASE_AWAY = AlertKind(
    "database",
    "the database is unreachable; votes wait in memory, and no questions are answered",
    "start it again, or run `reactune doctor` to see what is wrong",
)


def shared_alerts(facts: Iterable[AlertFacts], now: datetime) -> list[AlertKind]:
    """Return the problems that concern every bot on this database."""
    return [alert for personality in facts for alert in _of(personality, now)]


def _of(facts: AlertFacts, now: datetime) -> Iterator[AlertKind]:
    if facts.failed_round:
        yield _round(facts, facts.failed_round)
    if facts.quarantined_votes:
        yield AlertKind(
            f"votes:{facts.personality_id}",
            f"{count(facts.quarantined_votes, 'vote')} of {facts.name} came in a burst and wait for review",
            "review them with `/votes review`: count them or leave them out",
        )
    if facts.rolled_back and now - facts.rolled_back.ended_at < CANARY_NEWS_FOR:
        yield _canary(facts, facts.rolled_back)


def _round(facts: AlertFacts, failed: Round) -> AlertKind:
    ended = "failed" if failed.status is RoundStatus.FAILED else "was interrupted"
    return AlertKind(
        f"round:{facts.personality_id}",
        f"round {failed.id} of {facts.name} {ended}: {failed.reason}",
        "fix the reason, then start another round with `/model train`; the trainer's log has the details",
    )


def _canary(facts: AlertFacts, canary: EndedCanary) -> AlertKind:
    return AlertKind(
        f"canary:{canary.canary_id}",
        f"the canary of {canary.challenger} of {facts.name} was rolled back: {canary.reason}",
        f"before the next round, see what it learned from with `/model lineage {canary.challenger}`",
        lasts=False,
    )


def local_alerts(disk: HealthCheck, engine: EngineState, champions: Iterable[str]) -> list[AlertKind]:
    """Return the problems of this bot alone; `champions` describes versions whose files cannot be used."""
    found = []
    if not disk.ok:
        found.append(
            AlertKind(
                "disk",
                f"the disk of the data folder is almost full: {disk.message}",
                "free space, or move data.directory to another disk; votes and rounds stop when it is full",
            )
        )
    if engine.failure_reason:
        words = f"the model cannot answer: {engine.failure_reason}"
        found.append(AlertKind("engine", words, "run `reactune doctor`, and see the bot's log"))
    if engine.fallback:
        remedy = 'fix that and restart the bot, or set model.engine = "transformers" to accept it'
        found.append(AlertKind(FALLBACK, engine.who_answers(), remedy))
    if engine.degraded_reason:
        words = f"some model servers cannot answer: {engine.degraded_reason}"
        remedy = "restart them, or remove them from remote.servers; the other servers answer in the meantime"
        found.append(AlertKind("servers", words, remedy))
    if engine.refused_versions:
        words = f"versions cannot answer, and neither does the base under their names: {engine.refused_versions}"
        found.append(AlertKind("refused", words, "until then, roll back to another version with `/model rollback`"))
    problems = list(champions)
    if problems:
        found.append(
            AlertKind(
                "adapters",
                f"files of versions cannot be used: {'; '.join(problems)}",
                "restore the adapter folder, the store or a backup; an older version or the base answers until then",
            )
        )
    return found


def describe_alert(alert: Alert) -> str:
    """Return the message for admins: the problem and its remedy, or its end."""
    remedy = f" What to do: {sentence(alert.remedy)}"
    if alert.ended_at is None:
        return f"⚠️ {sentence(alert.message)}{remedy}"
    over = f"✅ Resolved: {sentence(alert.message)} It started {format_dt(alert.raised_at, 'R')}."
    return over if alert.announced else over + remedy


def describe_away(since: datetime, *, over: bool) -> str:
    """Return the message about an unreachable database, which cannot store this alert."""
    alert = DATABASE_AWAY
    return describe_alert(Alert(alert.key, alert.message, alert.remedy, since, since if over else None, announced=over))
