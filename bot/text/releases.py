"""Releases in words: how a canary stands, and what members are told when a version comes or goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from bot.text.rounds import VERDICTS, describe_metrics, sentence
from bot.text.sanitize import sanitize_reason
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.database.enums import SOURCE_WORDS, CanaryStatus
from storage.releases.announcements import CanaryAnnouncement, PromotionAnnouncement
from storage.releases.canaries import Canary, Reading, Trial
from storage.releases.versions import name_of
from storage.wording import count, tenths

CANARY_ENDS = {
    CanaryStatus.PROMOTED: "won",
    CanaryStatus.ROLLED_BACK: "was rolled back at once",
    CanaryStatus.INCONCLUSIVE: "ended without a result",
    CanaryStatus.STOPPED: "was stopped",
}
NO_CANARY = "No canary is running: every conversation is answered by the champion."


def describe_canary(reading: Reading, now: datetime) -> str:
    """Return share, votes, approval and evidence of a running canary, a line each."""
    canary, comparison = reading.canary, reading.comparison
    challenger, champion = reading.challenger.name, name_of(reading.champion)
    left = max(0, canary.max_votes - reading.tried.votes)
    why = sanitize_reason(canary.start_reason)
    lines = [
        f"**Canary:** {challenger} answers {canary.share:.0%} of conversations, {champion} the others, "
        f"for {_duration(now - canary.started_at)} (started by {canary.started_by}: {why})",
        _trial_line(challenger, reading.tried),
        _trial_line(champion, reading.kept),
        f"Evidence that {challenger} is better: {comparison.better:.2g} of {comparison.needed:g}, that it is worse: "
        f"{comparison.worse:.2g} of {comparison.needed:g}; without a result it ends after {count(left, 'more vote')} "
        f"on {challenger}",
    ]
    if canary.overrides_gate:
        lines.append(f"⚠️ {canary.started_by} overrode the gate ({reading.challenger.verdict}): {why}")
    return "\n".join(lines)


def _trial_line(name: str, trial: Trial) -> str:
    low, high = trial.approval.interval
    failures = f", {count(trial.failures, 'failure')} counted as 👎" if trial.failures else ""
    conversations = count(trial.conversations, "conversation")
    approval = f"approval {trial.approval.share:.0%} ({low:.0%} to {high:.0%})" if trial.approval.votes else "no votes"
    votes = f"👍 {tenths(trial.up)} 👎 {tenths(trial.down)}{failures}"
    return f"**{name}:** {votes} in {conversations}, {approval}{_lighter(trial)}"


def _lighter(trial: Trial) -> str:
    """Say how many votes these were, where some weigh less than one."""
    worth = tenths(trial.up + trial.down)
    if worth == tenths(trial.given):
        return ""
    return f"; {count(trial.given, 'vote')} worth {worth}, new accounts and new members count less"


def canary_data(reading: Reading) -> dict[str, Any]:
    """Return the same for scripts."""
    canary = asdict(reading.canary) | {"champion": name_of(reading.champion), "challenger": reading.challenger.name}
    sides = {
        name: asdict(trial) | {"votes": trial.approval.votes, "interval": trial.approval.interval}
        for name, trial in (("challenger", reading.tried), ("champion", reading.kept))
    }
    return {"running": True} | canary | {"numbers": sides | asdict(reading.comparison)}


def describe_last_canary(canary: Canary | None, challenger: str) -> str:
    """Return that none is running, and how the last one ended."""
    if canary is None:
        return NO_CANARY
    return (
        f"{NO_CANARY}\nThe last one, of {challenger}, {CANARY_ENDS[canary.status]}: {sanitize_reason(canary.reason)}."
    )


def describe_announcement(story: PromotionAnnouncement | CanaryAnnouncement) -> str:
    """Return what members are told."""
    text = _canary_news(story) if isinstance(story, CanaryAnnouncement) else _move_news(story)
    return text[:MAX_MESSAGE_CHARS]


def _canary_news(story: CanaryAnnouncement) -> str:
    challenger, canary = name_of(story.challenger), story.canary
    text = f"🐤 The canary of **{challenger}** {CANARY_ENDS[canary.status]}: {sanitize_reason(canary.reason)}."
    if canary.status is not CanaryStatus.STOPPED:
        text += f" {name_of(story.champion)} answers everywhere."
    if canary.status is CanaryStatus.INCONCLUSIVE:
        text += f" `/model promote {challenger}` makes {challenger} the champion all the same."
    return text


def _move_news(story: PromotionAnnouncement) -> str:
    after, before = name_of(story.after), name_of(story.before)
    if story.is_return:
        undo = f"`/model promote {before}` brings {before} back."
        return f"↩️ **{after}** answers again (before: {before}). {_why(story)} {_override(story)}{undo}"
    lines = [f"📣 **{after}** answers from now on (before: {before}).", _why(story), _learned(story)]
    if story.after and (measured := describe_metrics(story.after.metrics)):
        lines.append(f"**Measured:** {measured}")
    if override := _override(story):
        lines.append(override.strip())
    lines.append(f"`/model rollback` brings {before} back.")
    return "\n".join(lines)


def _why(story: PromotionAnnouncement) -> str:
    return sentence(f"By {story.move.moved_by}: {sanitize_reason(story.move.reason)}")


def _learned(story: PromotionAnnouncement) -> str:
    pairs = _by_source(story.pairs)
    learned = f"{count(story.rounds, 'round')}" + (f" with {pairs}" if pairs else "")
    return f"**Since then:** {learned}, {count(story.votes, 'vote')}"


def _by_source(pairs: Mapping[str, int]) -> str:
    sources = ", ".join(f"{number} from {SOURCE_WORDS[source]}" for source, number in pairs.items() if number)
    return f"{count(sum(pairs.values()), 'pair')} ({sources})" if sources else ""


def _override(story: PromotionAnnouncement) -> str:
    if not (story.move.overrides_gate and story.after):
        return ""
    checks = "; ".join(story.failed_checks)
    said = f"{VERDICTS[story.after.verdict]}{f': {checks}' if checks else ''}"
    return f"⚠️ The gate was overridden. {sentence(f'{story.after.name} {said}')} "


def _duration(time: timedelta) -> str:
    minutes = int(time.total_seconds() // 60)
    if minutes < 120:
        return count(minutes, "minute")
    return count(minutes // 60, "hour") if minutes < 48 * 60 else count(minutes // (24 * 60), "day")
