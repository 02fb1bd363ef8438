"""Texts about releases: the state of a canary, and what members hear when a version comes or goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from bot.text.rounds import describe_metrics, sentence
from bot.text.sanitize import sanitize_reason
from bot.text.splitting import MAX_MESSAGE_CHARS
from bot.text.versions import VERDICTS
from storage.database.enums import SOURCE_WORDS, CanaryStatus
from storage.releases.announcements import CanaryAnnouncement, PromotionAnnouncement
from storage.releases.canary_votes import CanaryState, Reading, Trial
from storage.releases.versions import name_of
from storage.wording import count, tenths

CANARY_ENDS = {
    CanaryStatus.PROMOTED: "won",
    CanaryStatus.ROLLED_BACK: "was rolled back",
    CanaryStatus.INCONCLUSIVE: "ended without a result",
    CanaryStatus.STOPPED: "was stopped",
}
NO_CANARY = "No canary is running: the champion answers every conversation."


def describe_canary(state: CanaryState, now: datetime) -> str:
    """Return share, votes, approval and evidence of the running canary, or how the last one ended."""
    if state.reading is not None:
        return _running_canary(state.reading, now)
    if state.last is None:
        return NO_CANARY
    end = f"the last one, of {state.last_challenger}, {CANARY_ENDS[state.last.status]}"
    return f"{NO_CANARY}\n{sentence(f'{end}: {sanitize_reason(state.last.reason)}')}"


def _running_canary(reading: Reading, now: datetime) -> str:
    canary, comparison = reading.canary, reading.comparison
    challenger, champion = reading.challenger.name, name_of(reading.champion)
    left = max(0, canary.max_votes - reading.tried.votes)
    why = sanitize_reason(canary.start_reason)
    lines = [
        f"**Canary:** {challenger} answers {canary.share:.0%} of conversations and {champion} the rest, for "
        f"{_duration(now - canary.started_at)} now (started by {canary.started_by}{f': {why}' if why else ''})",
        _trial_line(challenger, reading.tried),
        _trial_line(champion, reading.kept),
        f"Evidence that {challenger} is better: {comparison.better:.2g} of {comparison.needed:g}; that it is worse: "
        f"{comparison.worse:.2g} of {comparison.needed:g}. Without a result, the canary ends after "
        f"{count(left, 'more vote')} on {challenger}.",
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
    return f"**{name}:** {votes} in {conversations}, {approval}{_weights(trial)}"


def _weights(trial: Trial) -> str:
    """Return how many votes these are, if some weigh less than one."""
    worth = tenths(trial.up + trial.down)
    if worth == tenths(trial.given):
        return ""
    return f"; {count(trial.given, 'vote')} worth {worth}, because new accounts and new members count less"


def canary_data(state: CanaryState) -> dict[str, Any]:
    """Return the state for scripts."""
    reading, last = state.reading, state.last
    if reading is None:
        return {"running": False, "last": asdict(last) | {"challenger": state.last_challenger} if last else None}
    canary = asdict(reading.canary) | {"champion": name_of(reading.champion), "challenger": reading.challenger.name}
    sides = {
        name: asdict(trial) | {"votes": trial.approval.votes, "interval": trial.approval.interval}
        for name, trial in (("challenger", reading.tried), ("champion", reading.kept))
    }
    return {"running": True} | canary | {"numbers": sides | asdict(reading.comparison)}


def describe_announcement(announcement: PromotionAnnouncement | CanaryAnnouncement) -> str:
    if isinstance(announcement, CanaryAnnouncement):
        text = _canary_end(announcement)
    else:
        text = _return(announcement) if announcement.is_return else _promotion(announcement)
    return text[:MAX_MESSAGE_CHARS]


def _canary_end(ended: CanaryAnnouncement) -> str:
    challenger, canary = name_of(ended.challenger), ended.canary
    text = sentence(f"🐤 The canary of **{challenger}** {CANARY_ENDS[canary.status]}: {sanitize_reason(canary.reason)}")
    if canary.status is not CanaryStatus.STOPPED:
        text += f" {name_of(ended.champion)} answers everywhere."
    if canary.status is CanaryStatus.INCONCLUSIVE:
        text += f" To use {challenger} anyway: `/model promote {challenger}`."
    return text


def _return(promotion: PromotionAnnouncement) -> str:
    after, before = name_of(promotion.after), name_of(promotion.before)
    parts = [
        f"↩️ **{after}** answers again (before: {before}).",
        _who_and_why(promotion),
        _override(promotion),
        f"`/model promote {before}` brings {before} back.",
    ]
    return " ".join(filter(None, parts))


def _promotion(promotion: PromotionAnnouncement) -> str:
    after, before = name_of(promotion.after), name_of(promotion.before)
    metrics = describe_metrics(promotion.after.metrics) if promotion.after else ""
    lines = [
        f"📣 **{after}** answers from now on (before: {before}).",
        _who_and_why(promotion),
        f"**New since {before}:** {_trained(promotion)}; {count(promotion.votes, 'vote')} while {before} answered",
        f"**Measured:** {metrics}" if metrics else "",
        _override(promotion),
        f"`/model rollback` brings {before} back.",
    ]
    return "\n".join(filter(None, lines))


def _who_and_why(promotion: PromotionAnnouncement) -> str:
    reason = sanitize_reason(promotion.move.reason)
    return sentence(f"By {promotion.move.moved_by}{f': {reason}' if reason else ''}")


def _trained(promotion: PromotionAnnouncement) -> str:
    pairs = _by_source(promotion.pairs)
    return count(promotion.rounds, "round") + (f" with {pairs}" if pairs else "")


def _by_source(pairs: Mapping[str, int]) -> str:
    sources = ", ".join(f"{number} from {SOURCE_WORDS[source]}" for source, number in pairs.items())
    return f"{count(sum(pairs.values()), 'pair')} trained on ({sources})" if sources else ""


def _override(promotion: PromotionAnnouncement) -> str:
    if not (promotion.move.overrides_gate and promotion.after):
        return ""
    verdict = ": ".join([VERDICTS[promotion.after.verdict], *filter(None, ["; ".join(promotion.failed_checks)])])
    return f"⚠️ The gate was overridden. {sentence(f'{promotion.after.name} {verdict}')}"


def _duration(time: timedelta) -> str:
    minutes = int(time.total_seconds() // 60)
    if minutes < 120:
        return count(minutes, "minute")
    return count(minutes // 60, "hour") if minutes < 48 * 60 else count(minutes // (24 * 60), "day")
