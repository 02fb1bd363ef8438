"""Texts about versions and promotions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bot.engine import EngineState
from bot.localization.sentences import gettext, ngettext, translated
from bot.text import contests
from bot.text import rounds as round_texts
from bot.text.actors import name_actor
from bot.text.answering_now import describe_now, what_acts
from bot.text.lineage import from_source
from bot.text.sanitize import sanitize_reason
from bot.text.spending import describe_today
from bot.text.taste import describe_choosing, name_likings
from bot.text.votes import describe_counted
from storage.database.enums import GateVerdict, PairSource
from storage.insights import model_status
from storage.insights.answering_now import AnsweringNow
from storage.privacy.consent import describe_bases
from storage.releases.announcements import Announcement, PromotionAnnouncement
from storage.releases.versions import AliasMove, Version, name_of
from storage.settings.sections import Settings
from storage.taste.words import Effect
from storage.votes.votes import Tally

MOVES_SHOWN = 5


def describe_status(
    status: model_status.ModelStatus,
    settings: Settings,
    *,
    base_name: str,
    engine: EngineState,
    problem: str | None,
    learns_from_all: bool,
    viewer_id: int | None = None,
) -> list[str]:
    """Return what would decide and what answers, what comes next and what that learns from, and the trainer.

    `problem` is why the champion cannot answer; `learns_from_all` is true outside Discord, where nobody has to opt in.
    """
    answers = [
        _what_decides(status),
        gettext(
            "**Champion:** {version} on {base} (last good: {last_good})",
            version=status.champion.target,
            base=base_name,
            last_good=status.last_good.target,
        ),
        describe_marked_champion(status.champion.version),
        describe_now(status.now),
        f"⚠️ {round_texts.sentence(translated(problem))}" if problem else "",
        f"🐢 {round_texts.sentence(translated(engine.who_answers()))}" if engine.is_slow else "",
    ]
    learns = [
        _next_version(status, viewer_id),
        gettext("**Votes:** {votes}", votes=describe_counted(status.outlook.votes)),
        describe_choosing(status.gain) if status.gain else "",
        _next_round(status, settings),
    ]
    trains = [
        describe_today(status.spent, settings.remote) if settings.model.engine == "remote" else "",
        gettext("**Trainer:** {state}", state=_trainer(status, settings.training.schedule)),
        gettext("Training basis: everything said here.")
        if learns_from_all
        else gettext(describe_bases(settings.privacy)),
        round_texts.describe_round(status.latest_round) if status.latest_round else "",
    ]
    return ["\n".join(filter(None, lines)) for lines in (answers, learns, trains)]


def describe_marked_champion(champion: Version | None) -> str:
    """Return what to do about a champion that learned from data that was deleted since, or nothing."""
    if champion is None or not champion.trained_on_deleted_data:
        return ""
    return gettext(
        "⚠️ {version} learned from data that was later deleted. The next round learns without that data; promote its "
        "version to replace {version}.",
        version=champion.name,
    )


def _what_decides(status: model_status.ModelStatus) -> str:
    if status.contest is not None:
        return contests.what_decides(status.contest, status.said_weekly)
    if status.newest is not None and status.newest.verdict is GateVerdict.PASS:
        return gettext("An admin decides about {version} now: `/model promote {version}`.", version=status.newest.name)
    if status.first_choices_left:
        return ngettext(
            "{count} more choice makes a good first round: `/choose` shows ten pairs.",
            "{count} more choices make a good first round: `/choose` shows ten pairs.",
            status.first_choices_left,
        )
    return ""


def _next_version(status: model_status.ModelStatus, viewer_id: int | None) -> str:
    if status.contest is not None:
        said = contests.describe_contest(status.contest, viewer_id)
        luck = contests.describe_luck(status.contest.champion, status.compared)
        news = " ".join(filter(None, [said, contests.how_to_choose(), luck]))
        return gettext("**Next version:** {news}", news=news)
    newest = status.newest
    if newest is None:
        return ""
    if newest.verdict is GateVerdict.PASS:
        said, then = gettext("{version} is ready", version=newest.name), _to_use(newest.name)
    else:
        dropped = gettext("{version} was dropped", version=newest.name)
        failed = gettext("{version} did not pass the gate", version=newest.name)
        said, then = dropped if newest.evidence else failed, _details(newest.name)
    return gettext("**Next version:** {news}", news=f"{said}{_because(newest)}. {then}")


def _to_use(version: str) -> str:
    return gettext("To use it: `/model promote {version}`", version=version)


def _details(version: str) -> str:
    return gettext("Details: `/model show {version}`", version=version)


def _because(version: Version) -> str:
    return f": {translated(version.evidence['reason'])}" if version.evidence.get("reason") else ""


def _next_round(status: model_status.ModelStatus, settings: Settings) -> str:
    """Return what the next round could learn from."""
    pairs = status.outlook.pairs
    sources = {
        PairSource.SIBLINGS: pairs.compared,
        PairSource.CHOICE: pairs.choices,
        PairSource.CORRECTION: pairs.suggestions,
    }
    parts = ", ".join(from_source(source, number) for source, number in sources.items() if number)
    found = (
        gettext("{pairs} or more from people ({sources})", pairs=pairs.total, sources=parts)
        if parts
        else gettext("none from people yet")
    )
    needed = gettext("**Pairs:** {found}; a round needs {needed}.", found=found, needed=settings.training.min_pairs)
    return f"{needed} {_ranking(status, settings)}"


def _ranking(status: model_status.ModelStatus, settings: Settings) -> str:
    if not settings.pairs.ranked_prompts:
        return gettext("The taste ranks no answers (pairs.ranked_prompts = 0).")
    if status.outlook.taste.may_rank:
        return gettext(
            "The taste ranks answers to {prompts} prompts and adds what it is sure of.",
            prompts=settings.pairs.ranked_prompts,
        )
    return round_texts.sentence(translated(status.outlook.taste.why_unsure))


def _trainer(status: model_status.ModelStatus, schedule: str) -> str:
    if not status.trainers:
        return gettext("not running; start it with `reactune trainer`")
    when = gettext("scheduled at `{schedule}` UTC", schedule=schedule) if schedule else gettext("no schedule")
    return f"{round_texts.describe_trainers(status.trainers, status.running)}; {when}"


def describe_versions(found: model_status.VersionList) -> str:
    """Return what acts besides the version, and a line per version, newest first, the base model last."""
    lines = [describe_now(found.now), *(_version_line(version, found) for version in (*found.versions, None))]
    return "\n".join(filter(None, lines))


def older_versions() -> str:
    """Return the last line of a list that is cut, with the number left out as `{left}`."""
    return gettext("… {left} older ones: `reactune model list`")


def describe_base(name: str, revision: str) -> str:
    return gettext("**base** · {base}, without an adapter.", base=f"{name} ({revision})")


def describe_promotion(after: str, before: str) -> str:
    return gettext(
        "**{after}** answers from now on (before: {before}). To undo this: `/model rollback`.",
        after=after,
        before=before,
    )


def describe_rollback(after: str, before: str, now: AnsweringNow) -> str:
    """Return who answers again, and what stays as it was: a rollback changes nothing but the version."""
    said = gettext(
        "Rolled back: **{after}** answers again. `/model promote {before}` brings {before} back.",
        after=after,
        before=before,
    )
    taught = [gettext("What people's votes taught still acts:")] if now.taste_acts else []
    return " ".join([said, *taught, *what_acts(now)])


def _version_line(version: Version | None, found: model_status.VersionList) -> str:
    votes = found.tallies.get(version.id if version else None, Tally())
    note = f"{outcome_words(version)} · {_time(version.created_at)}" if version else gettext("no adapter")
    sign = "👑" if name_of(version) == found.champion.target else "▫️"
    if version and version.trained_on_deleted_data:
        note += f" · ⚠️ {gettext('learned from deleted data')}"
    if version and version.withdrawn_at:
        note += f" · {gettext('files withdrawn')}"
    return f"{sign} **{name_of(version)}** · 👍 {votes.up} 👎 {votes.down} · {note}"


def describe_version(details: model_status.VersionDetails) -> str:
    version, votes, round_ = details.version, details.votes, details.round
    lines = [
        gettext(
            "**{version}** · made {time} from {parent} on {base}",
            version=version.name,
            time=_time(version.created_at),
            parent=name_of(details.parent),
            base=f"{version.base_name} ({version.base_revision})",
        ),
        gettext(
            "Adapter `{digest}` · 👍 {up} 👎 {down} on its answers",
            digest=version.digest[:16],
            up=votes.up,
            down=votes.down,
        ),
        _verdict(version, details.failed_checks),
    ]
    if version.metrics:
        lines.append(round_texts.describe_metrics(version.metrics))
    if round_:
        manifest = (round_.manifest_digest or "")[:16]
        lines.append(
            gettext(
                "Round {round}, requested by {who}, manifest `{manifest}`",
                round=str(round_.id),
                who=name_actor(round_.requested_by),
                manifest=manifest,
            )
        )
        lines += round_texts.describe_votes(round_.evidence)
    if version.trained_on_deleted_data:
        lines.append(gettext("⚠️ It learned from data that was later deleted. The next round learns without that data."))
    if version.withdrawn_at:
        withdrawn = gettext("Its files were withdrawn on {time}", time=_time(version.withdrawn_at))
        lines.append(round_texts.sentence(f"{withdrawn}: {translated(version.withdrawn_because)}"))
    lines += [f"{_time(move.moved_at)}: {_move(move, version)}" for move in details.moves[:MOVES_SHOWN]]
    return "\n".join(lines)


def _move(move: AliasMove, version: Version) -> str:
    who, becomes = name_actor(move.moved_by), move.to_version_id == version.id
    made = gettext("{admin} made it the champion", admin=who)
    said = made if becomes else gettext("{admin} replaced it as champion", admin=who)
    if move.overrides_gate:
        said = gettext("{did}, overriding the gate", did=said)
    return said + (f": {_reason(move.reason)}" if move.reason else "")


def _reason(reason: str) -> str:
    """Return why something was done: our own words, or those of an admin."""
    return sanitize_reason(translated(reason))


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def describe_announcement(announcement: Announcement, liked: Sequence[Effect] = ()) -> str:
    """Return the news; `liked` is what people like, and told with a new version."""
    if isinstance(announcement, Version):
        return _decision(announcement)
    return _return(announcement) if announcement.is_return else _promotion(announcement, liked)


def _decision(version: Version) -> str:
    """Return what people's choices decided, and what an admin can do about it."""
    name = version.name
    if version.verdict is GateVerdict.PASS:
        return f"✓ {gettext('{version} is ready', version=f'**{name}**')}{_because(version)}. {_to_use(name)}."
    said = f"✗ {gettext('{version} was dropped', version=f'**{name}**')}{_because(version)}."
    return f"{said} {_stays(version.evidence['champion'])} {_details(name)}."


def _stays(version: str) -> str:
    return gettext("{version} stays.", version=version)


def _return(promotion: PromotionAnnouncement) -> str:
    after, before = name_of(promotion.after), name_of(promotion.before)
    parts = [
        gettext("↩️ **{after}** answers again (before: {before}).", after=after, before=before),
        _who_and_why(promotion),
        _override(promotion),
        gettext("`/model promote {version}` brings {version} back.", version=before),
    ]
    return " ".join(filter(None, parts))


def _promotion(promotion: PromotionAnnouncement, liked: Sequence[Effect]) -> str:
    after, before = name_of(promotion.after), name_of(promotion.before)
    metrics = round_texts.describe_metrics(promotion.after.metrics) if promotion.after else ""
    lines = [
        gettext("📣 **{after}** answers from now on (before: {before}).", after=after, before=before),
        _who_and_why(promotion),
        ngettext(
            "**New since {before}:** {trained}; {count} vote while {before} answered",
            "**New since {before}:** {trained}; {count} votes while {before} answered",
            promotion.votes,
            before=before,
            trained=_trained(promotion),
        ),
        gettext(
            "**To everyone who voted:** by your votes, people here like {liked}. `/myvotes` shows what became of "
            "yours.",
            liked=name_likings(liked),
        )
        if liked
        else "",
        gettext("**Measured:** {metrics}", metrics=metrics) if metrics else "",
        _override(promotion),
        gettext("`/model rollback` brings {version} back.", version=before),
    ]
    return "\n".join(filter(None, lines))


def _who_and_why(promotion: PromotionAnnouncement) -> str:
    reason = _reason(promotion.move.reason)
    who = gettext("By {admin}", admin=name_actor(promotion.move.moved_by))
    return round_texts.sentence(f"{who}: {reason}" if reason else who)


def _trained(promotion: PromotionAnnouncement) -> str:
    rounds = ngettext("{count} round", "{count} rounds", promotion.rounds)
    if not promotion.pairs:
        return rounds
    return ngettext(
        "{rounds} with {count} pair trained on ({sources})",
        "{rounds} with {count} pairs trained on ({sources})",
        sum(promotion.pairs.values()),
        rounds=rounds,
        sources=", ".join(from_source(source, number) for source, number in promotion.pairs.items()),
    )


def _override(promotion: PromotionAnnouncement) -> str:
    if not (promotion.move.overrides_gate and promotion.after):
        return ""
    verdict = f"{promotion.after.name} {_verdict(promotion.after, promotion.failed_checks)}"
    return f"⚠️ {gettext('The gate was overridden.')} {round_texts.sentence(verdict)}"


def _verdict(version: Version, failed_checks: Sequence[str]) -> str:
    reasons = [*map(gettext, failed_checks)]
    if version.verdict is not GateVerdict.FAIL and "reason" in version.evidence:
        reasons.append(translated(version.evidence["reason"]))
    return outcome_words(version) + (f": {'; '.join(reasons)}" if reasons else "")


def outcome_words(version: Version) -> str:
    """Return the verdict of the gate, or of people, in words."""
    by_people = {GateVerdict.PASS: gettext("✓ is ready"), GateVerdict.FAIL: gettext("✗ was dropped")}
    by_gate = {
        GateVerdict.PASS: gettext("✓ passed the gate"),
        GateVerdict.FAIL: gettext("✗ failed the gate"),
        GateVerdict.NOT_ENOUGH_EVIDENCE: gettext("? waits for people's choices"),
    }
    decided = by_people if "reason" in version.evidence else {}
    return decided.get(version.verdict, by_gate[version.verdict])


def describe_evidence(version: Version) -> str:
    """Return the verdict with people's reason, or with what they chose so far."""
    chosen = version.evidence
    if version.verdict is GateVerdict.NOT_ENOUGH_EVIDENCE and chosen.get("wins", 0) + chosen.get("losses", 0):
        return f"{outcome_words(version)}: {contests.lead(version.name, chosen['wins'], chosen['losses'])}"
    return outcome_words(version) + _because(version)
