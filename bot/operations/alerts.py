"""Alerts for admins: their conditions and texts. Does no input or output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from discord.utils import format_dt

from bot.engine import EngineState
from bot.localization.sentences import gettext, sentence, translated
from bot.operations.health import HealthCheck
from storage.database.enums import RoundStatus
from storage.insights.model_status import AlertFacts
from storage.operations.alerts import Alert, AlertKind
from storage.sentences import Sentence, counted, joined
from storage.training.rounds import Round

FALLBACK = "fallback"
"""Key of the alert that transformers answers because OpenVINO failed."""
TOKEN = AlertKind(
    "token",
    Sentence("Discord did not accept the bot's token, so the bot was offline"),
    Sentence(
        "if nobody reset it on purpose, reset it again (Discord developer portal, your application, Bot, Reset Token): "
        "it may have leaked"
    ),
)
DATABASE_AWAY = AlertKind(
    "database",
    Sentence("the database is unreachable; votes wait in memory, and no questions are answered"),
    Sentence("start it again, or run `reactune doctor` to see what is wrong"),
)


def shared_alerts(facts: Iterable[AlertFacts]) -> list[AlertKind]:
    """Return the problems that concern every bot on this database."""
    return [alert for personality in facts for alert in _of(personality)]


def _of(facts: AlertFacts) -> Iterator[AlertKind]:
    if facts.failed_round:
        yield _round(facts, facts.failed_round)
    if facts.quarantined_votes:
        yield AlertKind(
            f"votes:{facts.personality_id}",
            counted(
                "{count} suspicious vote of {personality} is on hold until an admin decides",
                "{count} suspicious votes of {personality} are on hold until an admin decides",
                facts.quarantined_votes,
                personality=facts.name,
            ),
            Sentence("review them with `/review`: count them or leave them out"),
        )


def _round(facts: AlertFacts, failed: Round) -> AlertKind:
    is_interrupted = failed.status is RoundStatus.INTERRUPTED
    values = {"round": str(failed.id), "personality": facts.name, "reason": failed.reason}
    return AlertKind(
        f"round:{facts.personality_id}",
        Sentence("round {round} of {personality} was interrupted: {reason}", **values)
        if is_interrupted
        else Sentence("round {round} of {personality} failed: {reason}", **values),
        Sentence("start another round with `/version train` when you like")
        if is_interrupted
        else Sentence(
            "fix the reason, then start another round with `/version train`; the trainer's log has the details"
        ),
    )


def local_alerts(disk: HealthCheck, engine: EngineState, champions: Sequence[str]) -> list[AlertKind]:
    """Return the problems of this bot alone; `champions` describes versions whose files cannot be used."""
    found = [] if disk.ok else [_disk(disk)]
    found += _engine(engine)
    if champions:
        found.append(
            AlertKind(
                "adapters",
                Sentence("files of versions cannot be used: {problems}", problems=joined("; ", champions)),
                Sentence(
                    "restore the adapter folder, the store or a backup; an older version or the base answers until then"
                ),
            )
        )
    return found


def _disk(disk: HealthCheck) -> AlertKind:
    return AlertKind(
        "disk",
        Sentence("the disk of the data folder is almost full: {free}", free=disk.message),
        Sentence("free space, or move data.directory to another disk; votes and rounds stop when it is full"),
    )


def _engine(engine: EngineState) -> Iterator[AlertKind]:
    if engine.failure_reason:
        yield AlertKind(
            "engine",
            Sentence("the model cannot answer: {reason}", reason=engine.failure_reason),
            Sentence("run `reactune doctor`, and see the bot's log"),
        )
    if engine.fallback:
        yield AlertKind(
            FALLBACK,
            engine.who_answers(),
            Sentence('fix that and restart the bot, or set model.engine = "transformers" to accept it'),
        )
    if engine.refused_versions:
        yield AlertKind(
            "refused",
            Sentence(
                "the model refuses versions, so an older one or the base answers instead: {versions}",
                versions=engine.refused_versions,
            ),
            Sentence("follow that advice, or roll back to another version with `/version rollback`"),
        )


def describe_alert(alert: Alert) -> str:
    """Return the message for admins: the problem and its remedy, or its end."""
    problem, remedy = sentence(translated(alert.message)), sentence(translated(alert.remedy))
    advice = gettext("What to do: {remedy}", remedy=remedy)
    if alert.ended_at is None:
        return f"⚠️ {problem} {advice}"
    over = gettext("Resolved: {problem} It started {time}.", problem=problem, time=format_dt(alert.raised_at, "R"))
    return f"✅ {over}" if alert.announced else f"✅ {over} {advice}"


def describe_away(since: datetime, *, over: bool) -> str:
    """Return the message about an unreachable database, which cannot store this alert."""
    alert = DATABASE_AWAY
    return describe_alert(Alert(alert.key, alert.message, alert.remedy, since, since if over else None, announced=over))
