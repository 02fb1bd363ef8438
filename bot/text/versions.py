"""Texts about versions: status, list and details; the same for Discord and the command line."""

from __future__ import annotations

from datetime import datetime

from bot.text.rounds import describe_metrics, describe_round, describe_trainers, describe_votes, sentence
from bot.text.sanitize import sanitize_reason
from storage.database.enums import CHALLENGER, GateVerdict
from storage.insights.model_status import ModelStatus
from storage.insights.next_round import NewPairs
from storage.insights.versions import VersionDetails, VersionList
from storage.operations.token_spend import Spend, describe_spend, is_used_up
from storage.privacy.consent import describe_bases
from storage.releases.canary_votes import Reading, share_of_votes
from storage.releases.versions import AliasMove, Continuation, Version, name_of
from storage.settings.sections import RemoteSettings, Settings
from storage.votes.votes import Tally
from storage.wording import count

MOVES_SHOWN = 5
VERDICTS = {
    GateVerdict.PASS: "✓ passed the gate",
    GateVerdict.FAIL: "✗ failed the gate",
    GateVerdict.NOT_ENOUGH_EVIDENCE: "? not enough evidence for the gate yet",
}
NO_TRAINER = "not running; start it with `reactune trainer`"
LEARNS_FROM_ALL = "Training basis: everything said here."


def describe_status(
    status: ModelStatus, settings: Settings, *, base_name: str, problem: str | None, learns_from_all: bool
) -> str:
    """Return a line for each part of the status.

    `problem` is why the champion cannot answer; `learns_from_all` is true outside Discord, where nobody has to opt in.
    """
    evidence = status.evidence
    lines = [
        f"**Champion:** {status.champion.target} on {base_name} (last good: {status.last_good.target})",
        _marked_champion(status.continuation),
        f"⚠️ {sentence(problem)}" if problem else "",
        _canary(status.canary) if status.canary else "",
        f"**Votes:** {evidence.votes:,} on {count(evidence.replies, 'answer')}",
        _new_pairs(status.new_pairs, settings.training.min_pairs),
        _spent(status.spent, settings.remote) if settings.model.engine == "remote" else "",
        f"**Trainer:** {_trainer(status, settings.training.schedule)}",
        LEARNS_FROM_ALL if learns_from_all else describe_bases(settings.privacy),
        describe_round(status.latest_round) if status.latest_round else "",
    ]
    return "\n".join(filter(None, lines))


def _marked_champion(continuation: Continuation) -> str:
    if not continuation.unlearned:
        return ""
    champion, parent = continuation.unlearned[0].name, name_of(continuation.parent)
    return (
        f"⚠️ {champion} learned from data that was later deleted. The next round starts from {parent} and trains again "
        f"without that data; promote its version to replace {champion}."
    )


def _canary(reading: Reading) -> str:
    return (
        f"**Canary:** {reading.challenger.name} answers {reading.canary.share:.0%} of conversations. "
        f"{reading.challenger.name} has {share_of_votes(reading.tried)}, "
        f"{name_of(reading.champion)} has {share_of_votes(reading.kept)}. Details: `/model canary status`"
    )


def _new_pairs(new: NewPairs, needed: int) -> str:
    sources = {"answers to the same question": new.compared, "suggestions": new.suggestions}
    parts = ", ".join(f"{number} from {source}" for source, number in sources.items() if number)
    lone = f" Votes on {count(new.lone, 'other question')} may add more." if new.lone else ""
    return f"**New pairs:** about {new.total}{f' ({parts})' if parts else ''}; a round needs {needed}.{lone}"


def _spent(spent: Spend, settings: RemoteSettings) -> str:
    end = "; ⚠️ nothing is answered before midnight UTC" if is_used_up(spent, settings) else ""
    return f"**Spent:** {describe_spend(spent, settings)}{end}"


def _trainer(status: ModelStatus, schedule: str) -> str:
    if not status.trainers:
        return NO_TRAINER
    when = f"scheduled at `{schedule}` UTC" if schedule else "no schedule"
    return f"{describe_trainers(status.trainers, status.running)}; {when}"


def describe_versions(found: VersionList) -> str:
    """Return a line per version, newest first, the base model last."""
    return "\n".join(_version_line(version, found) for version in (*found.versions, None))


def _version_line(version: Version | None, found: VersionList) -> str:
    votes = found.tallies.get(version.id if version else None, Tally())
    note = f"{VERDICTS[version.verdict]} · {_time(version.created_at)}" if version else "no adapter"
    sign = "👑" if name_of(version) == found.champion.target else "▫️"
    if found.challenger.version and name_of(version) == found.challenger.target:
        sign, note = "🐤", f"answers as a canary · {note}"
    if version and version.trained_on_deleted_data:
        note += " · ⚠️ learned from deleted data"
    if version and version.withdrawn_at:
        note += " · files withdrawn"
    return f"{sign} **{name_of(version)}** · 👍 {votes.up} 👎 {votes.down} · {note}"


def describe_version(details: VersionDetails) -> str:
    version, votes, round_ = details.version, details.votes, details.round
    lines = [
        f"**{version.name}** · made {_time(version.created_at)} from {name_of(details.parent)} on {version.base_name} "
        f"({version.base_revision})",
        f"Adapter `{version.digest[:16]}` · 👍 {votes.up} 👎 {votes.down} on its answers",
        ": ".join([VERDICTS[version.verdict], *filter(None, ["; ".join(details.failed_checks)])]),
    ]
    if version.metrics:
        lines.append(describe_metrics(version.metrics))
    if round_:
        manifest = (round_.manifest_digest or "")[:16]
        lines.append(f"Round {round_.id}, requested by {round_.requested_by}, manifest `{manifest}`")
        lines += describe_votes(round_.evidence)
    if version.trained_on_deleted_data:
        lines.append(
            "⚠️ It learned from data that was later deleted. While it is the champion, the next round starts from an "
            "older version and trains again without that data."
        )
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
