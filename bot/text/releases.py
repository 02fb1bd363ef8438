"""Texts about versions, promotions and announcements; the same for Discord and the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

import discord

from bot.localization.sentences import gettext, in_quotes, ngettext, reasoned, sentence, translated
from bot.text.contests import count_reasons, describe_contest
from bot.text.lineage import name_actor
from bot.text.rounds import describe_metrics, describe_pairs, describe_style, describe_votes
from bot.text.sanitize import escape_inline, quote_plainly, sanitize_reason
from bot.text.taste import describe_now, name_likings, what_acts
from storage.database.enums import GateVerdict
from storage.insights.model_status import VersionDetails, VersionList
from storage.insights.taste_report import AnsweringNow
from storage.releases.announcements import Announcement, PromotionAnnouncement
from storage.releases.before_after import BeforeAfter
from storage.releases.versions import AliasMove, Version, id_of, name_of
from storage.sentences import Sentence
from storage.taste.likings import Effect
from storage.votes.votes import NotOnVersion
from storage.wording import gettext_noop

MOVES_SHOWN = 5
ANSWER_CHARS = 240
"""Longer answers are cut here; two answers fit into a Discord field, even if every character is escaped."""
BEFORE_AND_AFTER = gettext_noop("The same messages, before and after")
NOT_ON_VERSION = {
    NotOnVersion.ON_HOLD: gettext_noop("on hold or left out"),
    NotOnVersion.IN_CONSOLE: gettext_noop("on answers tried in the console"),
    NotOnVersion.OTHER_STRENGTH: gettext_noop("on answers at another strength"),
}
"""Reasons why a vote is not shown as one on a version's answers."""
HOW_CHOSEN = gettext_noop("Always the same messages, chosen by nobody. One answer each, as a member would get it.")


def promote_hint(version: str) -> str:
    return gettext("To use it: `/version promote {version}`", version=version)


def details_hint(version: str) -> str:
    return gettext("Details: `/version show {version}`", version=version)


def with_reason(said: str, version: Version) -> str:
    """Return what is said about a version, with people's reason if there is one."""
    reason = version.contest.get("reason")
    return reasoned(said, translated(reason)) if reason else said


def describe_versions(found: VersionList) -> str:
    """Return the taste's effects, and a line per version, newest first, the base model last."""
    lines = [
        describe_now(found.now),
        describe_contest(found.contest) if found.contest else "",
        *(_version_line(version, found) for version in (*found.versions, None)),
        describe_left_out(found.votes.given, found.votes.left_out),
    ]
    return "\n".join(filter(None, lines))


def describe_left_out(given: int, left_out: Mapping[NotOnVersion, int]) -> str:
    """Return the number of votes that are shown on no version, with the reasons; empty if there are none."""
    if not left_out:
        return ""
    return ngettext(
        "Of {given} votes given, {count} is not shown here: {reasons}.",
        "Of {given} votes given, {count} are not shown here: {reasons}.",
        sum(left_out.values()),
        given=given,
        reasons=count_reasons(left_out, NOT_ON_VERSION),
    )


def describe_base(name: str, revision: str) -> str:
    return gettext("**base** · {base}, without an adapter.", base=f"{name} ({revision})")


def describe_promotion(after: str, before: str) -> str:
    return gettext(
        "**{after}** answers from now on (before: {before}). To undo this: `/version rollback`.",
        after=after,
        before=before,
    )


def describe_rollback(after: str, before: str, now: AnsweringNow) -> str:
    """Return the version that answers again, and what stays: a rollback changes nothing but the version."""
    said = gettext(
        "Rolled back: **{after}** answers again. `/version promote {before}` brings {before} back.",
        after=after,
        before=before,
    )
    taught = [gettext("What people's votes taught me still applies:")] if now.taste_acts else []
    return " ".join([said, *taught, *what_acts(now)])


def _version_line(version: Version | None, found: VersionList) -> str:
    votes = found.votes.on(id_of(version))
    note = f"{outcome_words(version)} · {_time(version.created_at)}" if version else gettext("no adapter")
    sign = "👑" if version == found.now.champion else "▫️"
    if version and version.trained_on_deleted_data:
        note += f" · ⚠️ {gettext('learned from deleted data')}"
    if version and version.withdrawn_at:
        note += f" · {gettext('files withdrawn')}"
    return f"{sign} **{name_of(version)}** · 👍 {votes.up} 👎 {votes.down} · {note}"


def describe_version(details: VersionDetails) -> str:
    return "\n".join([*describe_story(details), *describe_measurements(details)])


def describe_story(details: VersionDetails) -> list[str]:
    """Return the version's origin, the decision about it and what has happened to it, one line each."""
    version = details.version
    lines = [
        gettext(
            "**{version}** · made {time} from {parent} on {base}",
            version=version.name,
            time=_time(version.created_at),
            parent=name_of(details.parent),
            base=f"{version.base_name} ({version.base_revision})",
        ),
        _verdict(version, details.failed_checks),
        describe_contest(details.contest) if details.contest else "",
    ]
    if version.trained_on_deleted_data:
        lines.append(gettext("⚠️ It learned from data that was later deleted. The next round learns without that data."))
    if version.withdrawn_at:
        withdrawn = gettext("Its files were withdrawn on {time}", time=_time(version.withdrawn_at))
        lines.append(sentence(reasoned(withdrawn, translated(version.withdrawn_because))))
    lines += [f"{_time(move.moved_at)}: {_move(move, version)}" for move in details.moves[:MOVES_SHOWN]]
    return [*filter(None, lines)]


def describe_measurements(details: VersionDetails) -> list[str]:
    """Return the version's votes, measurements and round, one line each."""
    version, votes, round_ = details.version, details.votes, details.round
    lines = [
        gettext(
            "Adapter `{digest}` · 👍 {up} 👎 {down} on its answers",
            digest=version.digest[:16],
            up=votes.up,
            down=votes.down,
        ),
        describe_metrics(version.metrics),
    ]
    if round_:
        who = name_actor(round_.requested_by)
        lines.append(gettext("Round {round}, requested by {who}", round=str(round_.id), who=who))
        lines += describe_votes(round_.learned_from)
    return [*filter(None, lines)]


def _move(move: AliasMove, version: Version) -> str:
    who, becomes = name_actor(move.moved_by), move.to_version_id == version.id
    made = gettext("{admin} promoted it", admin=who)
    said = made if becomes else gettext("{admin} replaced it", admin=who)
    if move.overrides_gate and becomes:
        said = gettext("{did}, although it was not ready", did=said)
    return _because(said, move.reason)


def _because(said: str, reason: str) -> str:
    """Return an act with its reason, if there is one: a sentence of ours, or an admin's words as they are."""
    shown = sanitize_reason(translated(reason))
    if not shown:
        return said
    return reasoned(said, shown) if isinstance(reason, Sentence) else f"{said}: {shown}"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def describe_announcement(announcement: Announcement, liked: Sequence[Effect] = ()) -> str:
    """Return the news; those about a new version include people's likings, `liked`."""
    if isinstance(announcement, Version):
        return _decision(announcement) if announcement.decided_at else _made(announcement)
    return _return(announcement) if announcement.is_return else _promotion(announcement, liked)


def _made(version: Version) -> str:
    said = gettext(
        "🌱 I made {version} from what you taught me. You compare it now: `/choose` shows ten blind comparisons, and "
        "your choices decide.",
        version=f"**{version.name}**",
    )
    return f"{said} {details_hint(version.name)}."


def _decision(version: Version) -> str:
    """Return the decision of people's choices, and an admin's next step."""
    name = version.name
    if version.verdict is GateVerdict.PASS:
        ready = with_reason(gettext("{version} is ready", version=f"**{name}**"), version)
        return f"✓ {ready}. {promote_hint(name)}."
    dropped = with_reason(gettext("{version} was dropped", version=f"**{name}**"), version)
    stays = gettext("{version} stays.", version=version.contest["champion"])
    return f"✗ {dropped}. {stays} {details_hint(name)}."


def _return(promotion: PromotionAnnouncement) -> str:
    after, before = name_of(promotion.after), name_of(promotion.before)
    parts = [
        gettext("↩️ **{after}** answers again (before: {before}).", after=after, before=before),
        _who_and_why(promotion),
        _override(promotion),
        gettext("`/version promote {version}` brings {version} back.", version=before),
    ]
    return " ".join(filter(None, parts))


def _promotion(promotion: PromotionAnnouncement, liked: Sequence[Effect]) -> str:
    after, before = name_of(promotion.after), name_of(promotion.before)
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
            "**To everyone who voted:** by your votes, members here like {liked}. `/myvotes` shows what became of "
            "yours.",
            liked=name_likings(liked),
        )
        if liked
        else "",
        describe_style(promotion.after.metrics) if promotion.after else "",
        _override(promotion),
        gettext("`/version rollback` brings {version} back.", version=before),
    ]
    return "\n".join(filter(None, lines))


def _who_and_why(promotion: PromotionAnnouncement) -> str:
    who = gettext("By {admin}", admin=name_actor(promotion.move.moved_by))
    return sentence(_because(who, promotion.move.reason))


def _trained(promotion: PromotionAnnouncement) -> str:
    rounds = ngettext("{count} round", "{count} rounds", promotion.rounds)
    if not promotion.pairs:
        return rounds
    return gettext("{rounds} with {pairs}", rounds=rounds, pairs=describe_pairs(promotion.pairs, 0))


def _override(promotion: PromotionAnnouncement) -> str:
    if not (promotion.move.overrides_gate and promotion.after):
        return ""
    verdict = f"{promotion.after.name} {_verdict(promotion.after, promotion.failed_checks)}"
    return f"⚠️ {gettext('It was not ready.')} {sentence(verdict)}"


def _verdict(version: Version, failed_checks: Sequence[str]) -> str:
    reasons = [*map(gettext, failed_checks)]
    if version.verdict is not GateVerdict.FAIL and "reason" in version.contest:
        reasons.append(translated(version.contest["reason"]))
    return reasoned(outcome_words(version), "; ".join(reasons)) if reasons else outcome_words(version)


def outcome_words(version: Version) -> str:
    """Return the verdict of the gate, or of people, in words."""
    by_people = {GateVerdict.PASS: gettext("✓ is ready"), GateVerdict.FAIL: gettext("✗ was dropped")}
    by_gate = {
        GateVerdict.PASS: gettext("✓ passed the checks"),
        GateVerdict.FAIL: gettext("✗ failed the checks"),
        GateVerdict.NOT_ENOUGH_EVIDENCE: gettext("✓ passed the checks; members' choices decide")
        if version.round_id
        else gettext("not checked, because it was imported; members' choices decide"),
    }
    decided = by_people if "reason" in version.contest else {}
    return decided.get(version.verdict, by_gate[version.verdict])


def describe_verdict(version: Version) -> str:
    """Return the decision about the version with people's reason; their choices so far are in `describe_contest`."""
    return with_reason(outcome_words(version), version)


def before_after_embeds(found: BeforeAfter | None) -> list[discord.Embed]:
    """Return one embed, or none if there is nothing to show."""
    if found is None:
        return []
    embed = discord.Embed(title=gettext(BEFORE_AND_AFTER))
    for message, answers in _compared_rows(found, escape_inline):
        embed.add_field(name=message, value="\n".join(answers), inline=False)
    return [embed.set_footer(text=gettext(HOW_CHOSEN))]


def before_after_text(found: BeforeAfter | None) -> str:
    """Return the same as paragraphs to add to a text for a terminal; empty if there is nothing to show."""
    if found is None:
        return ""
    parts = ["", f"**{gettext(BEFORE_AND_AFTER)}**"]
    for message, answers in _compared_rows(found, str):
        parts.append("\n".join([in_quotes(message), *(f"- {answer}" for answer in answers)]))
    return "\n\n".join([*parts, gettext(HOW_CHOSEN)])


def _compared_rows(found: BeforeAfter, escaped: Callable[[str], str]) -> Iterator[tuple[str, list[str]]]:
    for one in found.answers:
        sides = ((found.before, one.before), (found.after, one.after))
        yield one.message, [f"**{name}:** {escaped(_cut(answer))}" for name, answer in sides]


def _cut(answer: str) -> str:
    """Return the answer on one line, cut after a word if it is long."""
    line = quote_plainly(answer) or gettext("empty answer")
    if len(line) <= ANSWER_CHARS:
        return line
    whole_words, _space, _rest = line[:ANSWER_CHARS].rpartition(" ")
    return f"{whole_words or line[:ANSWER_CHARS]} …"
