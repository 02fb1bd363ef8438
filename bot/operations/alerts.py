"""What admins are told of, and in which words; pure but for its types."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from bot.engine import EngineState
from bot.operations.health import HealthCheck
from bot.text.rounds import sentence
from storage.insights.alert_facts import AlertFacts, EndedCanary, FailedRound
from storage.operations.alerts import Alert, AlertKind
from storage.wording import count

FALLBACK = "fallback"
"""Key of the alert that another engine answers than was to."""
CANARY_NEWS_FOR = timedelta(days=1)
TOKEN = AlertKind(
    "token",
    "Discord did not accept the bot's token, so the bot was away",
    "if nobody reset it on purpose, reset it again (Discord developer portal, your application, Bot, Reset Token): "
    "it may have leaked",
)
DATABASE_AWAY = AlertKind(
    "database",
    "the database is away; votes wait in memory, and nothing is answered",
    "start it again, or see `reactune doctor` for what is wrong with it",
)


def shared_alerts(facts: Iterable[AlertFacts], now: datetime) -> list[AlertKind]:
    """Return what the database tells, the same for every bot on it."""
    return [trouble for personality in facts for trouble in _of(personality, now)]


def _of(facts: AlertFacts, now: datetime) -> Iterator[AlertKind]:
    if facts.failed_round:
        yield _round(facts, facts.failed_round)
    if facts.held_votes:
        yield AlertKind(
            f"votes:{facts.personality_id}",
            f"{count(facts.held_votes, 'vote')} of {facts.name} came in a burst and are held back",
            "look at them with `/votes review`, and count them or leave them out",
        )
    if facts.rolled_back and now - facts.rolled_back.ended_at < CANARY_NEWS_FOR:
        yield _canary(facts, facts.rolled_back)


def _round(facts: AlertFacts, failed: FailedRound) -> AlertKind:
    return AlertKind(
        f"round:{facts.personality_id}",
        f"round {failed.round_id} of {facts.name} is {failed.status}: {failed.reason}",
        "mend what it names, then ask for another one with `/model train`; the trainer's log has the details",
    )


def _canary(facts: AlertFacts, canary: EndedCanary) -> AlertKind:
    return AlertKind(
        f"canary:{canary.canary_id}",
        f"the canary of {canary.challenger} of {facts.name} was rolled back: {canary.reason}",
        f"see what members disliked with `/model lineage {canary.challenger}` before the next round",
        lasts=False,
    )


def local_alerts(disk: HealthCheck, engine: EngineState, champions: Iterable[str]) -> list[AlertKind]:
    """Return what troubles this bot alone; `champions` are sentences on versions whose files cannot be used."""
    found = []
    if not disk.is_well:
        found.append(
            AlertKind(
                "disk",
                f"the disk of the data folder is almost full: {disk.says}",
                "make room, or set data.directory to another disk; votes and rounds stop when it is full",
            )
        )
    if engine.trouble:
        words = f"the model cannot answer: {engine.trouble}"
        found.append(AlertKind("engine", words, "see `reactune doctor` and the bot's log"))
    if engine.fallback:
        remedy = 'mend what it names and start the bot again, or set model.engine = "transformers" if this is meant'
        found.append(AlertKind(FALLBACK, engine.who_answers(), remedy))
    if engine.lacks:
        words = f"servers that answer members are away: {engine.lacks}"
        found.append(
            AlertKind(
                "servers", words, "start them again, or take them out of remote.servers; the others answer meanwhile"
            )
        )
    problems = list(champions)
    if problems:
        found.append(
            AlertKind(
                "adapters",
                f"files of versions cannot be used: {'; '.join(problems)}",
                "bring back the folder or store of adapters, or restore a backup; an older version or the base answers",
            )
        )
    return found


def describe_alert(alert: Alert) -> str:
    """Return what the channel is told: the trouble with its remedy, or its end."""
    remedy = f" What to do: {sentence(alert.remedy)}"
    if alert.ended_at is None:
        return f"⚠️ {sentence(alert.says)}{remedy}"
    over = f"✅ Resolved: {sentence(alert.says)} It began <t:{int(alert.raised_at.timestamp())}:R>."
    return over if alert.told else over + remedy


def describe_away(since: datetime, *, over: bool) -> str:
    """Return the same of the database, whose trouble cannot be written down."""
    trouble = DATABASE_AWAY
    return describe_alert(Alert(trouble.key, trouble.says, trouble.remedy, since, since if over else None, told=over))
