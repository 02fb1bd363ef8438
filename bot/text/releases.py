"""Texts about versions and promotions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bot.text import contests
from bot.text.rounds import describe_metrics, describe_round, describe_trainers, describe_votes, sentence
from bot.text.sanitize import sanitize_reason
from bot.text.votes import describe_counted
from storage.database.enums import CHALLENGER, SOURCE_WORDS, CanaryStatus, GateVerdict
from storage.insights import model_status
from storage.operations.token_spend import Spend, describe_spend, is_used_up
from storage.privacy.consent import describe_bases
from storage.releases.announcements import Announcement, CanaryAnnouncement, PromotionAnnouncement
from storage.releases.versions import AliasMove, Version, name_of
from storage.settings.sections import RemoteSettings, Settings
from storage.taste.gain import CandidateGain
from storage.votes.votes import Tally
from storage.wording import count, not_learned_yet

MOVES_SHOWN = 5
YOUR_VOTES = "`/myvotes` shows what became of yours."
VERDICTS = {
    GateVerdict.PASS: "✓ passed the gate",
    GateVerdict.FAIL: "✗ failed the gate",
    GateVerdict.NOT_ENOUGH_EVIDENCE: "? waits for people's choices",
}
DECIDED = {GateVerdict.PASS: "✓ is ready", GateVerdict.FAIL: "✗ was dropped"}
"""Verdicts of people's choices."""


def describe_status(
    status: model_status.ModelStatus, settings: Settings, *, base_name: str, problem: str | None, learns_from_all: bool
) -> list[str]:
    """Return what answers, what comes next and what that learns from, and the trainer, each in a few lines.

    `problem` is why the champion cannot answer; `learns_from_all` is true outside Discord, where nobody has to opt in.
    """
    answers = [
        f"**Champion:** {status.champion.target} on {base_name} (last good: {status.last_good.target})",
        describe_marked_champion(status.champion.version),
        "" if status.champion.version else f"The personality {not_learned_yet(follows_card=status.follows_card)}.",
        f"⚠️ {sentence(problem)}" if problem else "",
    ]
    learns = [
        _next_version(status),
        f"**Votes:** {describe_counted(status.outlook.votes)}",
        _gain(status.gain) if status.gain else "",
        _next_round(status, settings),
    ]
    trains = [
        _spent(status.spent, settings.remote) if settings.model.engine == "remote" else "",
        f"**Trainer:** {_trainer(status, settings.training.schedule)}",
        "Training basis: everything said here." if learns_from_all else describe_bases(settings.privacy),
        describe_round(status.latest_round) if status.latest_round else "",
    ]
    return ["\n".join(filter(None, lines)) for lines in (answers, learns, trains)]


def describe_marked_champion(champion: Version | None) -> str:
    """Return what to do about a champion that learned from data that was deleted since, or nothing."""
    if champion is None or not champion.trained_on_deleted_data:
        return ""
    return (
        f"⚠️ {champion.name} learned from data that was later deleted. The next round learns without that data; "
        f"promote its version to replace {champion.name}."
    )


def _next_version(status: model_status.ModelStatus) -> str:
    if status.contest is not None:
        return f"**Next version:** {contests.describe_contest(status.contest)} {contests.how_to_choose(status.contest)}"
    newest = status.newest
    if newest is None:
        return ""
    if newest.verdict is GateVerdict.PASS:
        return f"**Next version:** {newest.name} is ready{_because(newest)}. To use it: `/model promote {newest.name}`"
    end = "was dropped" if newest.evidence else "did not pass the gate"
    return f"**Next version:** {newest.name} {end}{_because(newest)}. Details: `/model show {newest.name}`"


def _because(version: Version) -> str:
    return f": {version.evidence['reason']}" if version.evidence.get("reason") else ""


def _gain(gain: CandidateGain) -> str:
    chance = "" if gain.is_certain else "; this could be chance"
    return (
        f"**Choosing among answers:** {gain.chosen:.0%} 👍 for the choice, {gain.random:.0%} for a random one "
        f"({count(gain.votes, 'vote')}{chance})"
    )


def _next_round(status: model_status.ModelStatus, settings: Settings) -> str:
    """Return what the next round could learn from."""
    pairs = status.outlook.pairs
    sources = {
        "answers to the same question": pairs.compared,
        "choices between answers": pairs.choices,
        "suggestions": pairs.suggestions,
    }
    parts = ", ".join(f"{number} from {source}" for source, number in sources.items() if number)
    found = f"{pairs.total} or more from people ({parts})" if parts else "none from people yet"
    return f"**Pairs:** {found}; a round needs {settings.training.min_pairs}. {_ranking(status, settings)}"


def _ranking(status: model_status.ModelStatus, settings: Settings) -> str:
    if not settings.pairs.ranked_prompts:
        return "The taste ranks no answers (pairs.ranked_prompts = 0)."
    if status.outlook.taste.may_act:
        return f"The taste ranks answers to {settings.pairs.ranked_prompts} prompts and adds what it is sure of."
    return sentence(status.outlook.taste.why_unsure)


def _spent(spent: Spend, settings: RemoteSettings) -> str:
    end = "; ⚠️ nothing is answered before midnight UTC" if is_used_up(spent, settings) else ""
    return f"**Spent:** {describe_spend(spent, settings)}{end}"


def _trainer(status: model_status.ModelStatus, schedule: str) -> str:
    if not status.trainers:
        return "not running; start it with `reactune trainer`"
    when = f"scheduled at `{schedule}` UTC" if schedule else "no schedule"
    return f"{describe_trainers(status.trainers, status.running)}; {when}"


def describe_versions(found: model_status.VersionList) -> str:
    """Return a line per version, newest first, the base model last."""
    return "\n".join(_version_line(version, found) for version in (*found.versions, None))


def _version_line(version: Version | None, found: model_status.VersionList) -> str:
    votes = found.tallies.get(version.id if version else None, Tally())
    note = f"{outcome_words(version)} · {_time(version.created_at)}" if version else "no adapter"
    sign = "👑" if name_of(version) == found.champion.target else "▫️"
    if found.challenger.version and name_of(version) == found.challenger.target:
        sign, note = "🐤", f"tried as a canary · {note}"
    if version and version.trained_on_deleted_data:
        note += " · ⚠️ learned from deleted data"
    if version and version.withdrawn_at:
        note += " · files withdrawn"
    return f"{sign} **{name_of(version)}** · 👍 {votes.up} 👎 {votes.down} · {note}"


def describe_version(details: model_status.VersionDetails) -> str:
    version, votes, round_ = details.version, details.votes, details.round
    lines = [
        f"**{version.name}** · made {_time(version.created_at)} from {name_of(details.parent)} on {version.base_name} "
        f"({version.base_revision})",
        f"Adapter `{version.digest[:16]}` · 👍 {votes.up} 👎 {votes.down} on its answers",
        _verdict(version, details.failed_checks),
    ]
    if version.metrics:
        lines.append(describe_metrics(version.metrics))
    if round_:
        manifest = (round_.manifest_digest or "")[:16]
        lines.append(f"Round {round_.id}, requested by {round_.requested_by}, manifest `{manifest}`")
        lines += describe_votes(round_.evidence)
    if version.trained_on_deleted_data:
        lines.append("⚠️ It learned from data that was later deleted. The next round learns without that data.")
    if version.withdrawn_at:
        withdrawn = f"Its files were withdrawn on {_time(version.withdrawn_at)}"
        lines.append(sentence(f"{withdrawn}: {version.withdrawn_because}"))
    lines += [f"{_time(move.moved_at)}: {_move(move, version)}" for move in details.moves[:MOVES_SHOWN]]
    return "\n".join(lines)


def _move(move: AliasMove, version: Version) -> str:
    is_canary = move.alias == CHALLENGER
    if move.to_version_id == version.id:
        did = "started a canary of it" if is_canary else "made it the champion"
    else:
        did = "ended its canary" if is_canary else "replaced it as champion"
    override = ", overriding the gate" if move.overrides_gate else ""
    return f"{move.moved_by} {did}{override}" + (f": {sanitize_reason(move.reason)}" if move.reason else "")


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def describe_announcement(announcement: Announcement, liked: str = "") -> str:
    """Return the news; `liked` is what people like, in words, and told with a new version."""
    if isinstance(announcement, Version):
        return _decision(announcement)
    if isinstance(announcement, CanaryAnnouncement):
        return _canary_end(announcement)
    return _return(announcement) if announcement.is_return else _promotion(announcement, liked)


def _decision(version: Version) -> str:
    """Return what people's choices decided, and what an admin can do about it."""
    name = version.name
    if version.verdict is GateVerdict.PASS:
        return f"✓ **{name}** is ready{_because(version)}. To use it: `/model promote {name}`."
    champion = version.evidence["champion"]
    return f"✗ **{name}** was dropped{_because(version)}. {champion} stays. Details: `/model show {name}`."


def _canary_end(ended: CanaryAnnouncement) -> str:
    challenger, canary = name_of(ended.challenger), ended.canary
    text = sentence(
        f"🐤 The canary of **{challenger}** {contests.CANARY_ENDS[canary.status]}: {sanitize_reason(canary.reason)}"
    )
    if canary.status is not CanaryStatus.STOPPED:
        text += f" {name_of(ended.champion)} stays."
    if canary.status is CanaryStatus.INCONCLUSIVE:
        passed = ended.challenger is None or ended.challenger.verdict is GateVerdict.PASS
        text += f" To use {challenger} anyway: `/model promote {challenger}`"
        text += "." if passed else " with `override` and a reason."
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


def _promotion(promotion: PromotionAnnouncement, liked: str) -> str:
    after, before = name_of(promotion.after), name_of(promotion.before)
    metrics = describe_metrics(promotion.after.metrics) if promotion.after else ""
    lines = [
        f"📣 **{after}** answers from now on (before: {before}).",
        _who_and_why(promotion),
        f"**New since {before}:** {_trained(promotion)}; {count(promotion.votes, 'vote')} while {before} answered",
        f"**To everyone who voted:** by your votes, people here like {liked}. {YOUR_VOTES}" if liked else "",
        f"**Measured:** {metrics}" if metrics else "",
        _override(promotion),
        f"`/model rollback` brings {before} back.",
    ]
    return "\n".join(filter(None, lines))


def _who_and_why(promotion: PromotionAnnouncement) -> str:
    reason = sanitize_reason(promotion.move.reason)
    return sentence(f"By {promotion.move.moved_by}{f': {reason}' if reason else ''}")


def _trained(promotion: PromotionAnnouncement) -> str:
    rounds = count(promotion.rounds, "round")
    if not promotion.pairs:
        return rounds
    sources = ", ".join(f"{number} from {SOURCE_WORDS[source]}" for source, number in promotion.pairs.items())
    return f"{rounds} with {count(sum(promotion.pairs.values()), 'pair')} trained on ({sources})"


def _override(promotion: PromotionAnnouncement) -> str:
    if not (promotion.move.overrides_gate and promotion.after):
        return ""
    verdict = f"{promotion.after.name} {_verdict(promotion.after, promotion.failed_checks)}"
    return f"⚠️ The gate was overridden. {sentence(verdict)}"


def _verdict(version: Version, failed_checks: Sequence[str]) -> str:
    reasons = [*failed_checks]
    if version.verdict is not GateVerdict.FAIL and "reason" in version.evidence:
        reasons.append(version.evidence["reason"])
    return outcome_words(version) + (f": {'; '.join(reasons)}" if reasons else "")


def outcome_words(version: Version) -> str:
    """Return the verdict of the gate, or of people, in words."""
    by_people = DECIDED if "reason" in version.evidence else VERDICTS
    return by_people.get(version.verdict, VERDICTS[version.verdict])


def describe_evidence(version: Version) -> str:
    """Return the verdict with people's reason, or with what they chose so far."""
    chosen = version.evidence
    if version.verdict is GateVerdict.NOT_ENOUGH_EVIDENCE and chosen.get("wins", 0) + chosen.get("losses", 0):
        wins, losses = chosen["wins"], chosen["losses"]
        return f"{outcome_words(version)}: {contests.lead(wins, losses)} {wins} to {losses} in blind pairs"
    return outcome_words(version) + _because(version)
