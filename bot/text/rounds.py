"""Versions and rounds in words; the same for Discord and for the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bot.text.sanitize import sanitize_reason
from storage.database.enums import CHALLENGER, GateVerdict, RoundStatus
from storage.models.personality_import import ImportedPersonality
from storage.releases.canaries import Reading, share_of_votes
from storage.releases.versions import Alias, AliasMove, Continuation, Version, name_of
from storage.runtime.processes import Heartbeat
from storage.training.evidence import Evidence
from storage.training.rounds import Round
from storage.votes.votes import Tally
from storage.wording import count, duration

BAR_CELLS = 12
LEAST_TOLD_SHARE = 0.005
"""Share of votes from which it is told that a rule took them."""
HEADLINES = {
    RoundStatus.REQUESTED: "Waiting for the trainer",
    RoundStatus.RUNNING: "Training a new version",
    RoundStatus.PUBLISHED: "A new version is ready",
    RoundStatus.SKIPPED: "Nothing was trained",
    RoundStatus.REJECTED: "The new version was not kept",
    RoundStatus.FAILED: "The round failed",
    RoundStatus.INTERRUPTED: "The round was interrupted",
}
VERDICTS = {
    GateVerdict.PASS: "✓ passed the gate",
    GateVerdict.FAIL: "✗ failed the gate",
    GateVerdict.NOT_ENOUGH_EVIDENCE: "? not enough evidence for the gate",
}


@dataclass(frozen=True)
class Status:
    champion: Alias
    last_good: Alias
    canary: Reading | None
    base_name: str
    problem: str | None
    evidence: Evidence
    pairs_needed: int
    bases: str
    continuation: Continuation
    latest_round: Round | None
    trainers: Sequence[Heartbeat]
    """Those that live."""
    running: Sequence[Round]
    """The rounds of all personalities that train now."""
    schedule: str
    spend: str = ""
    """What remote servers have cost today; empty without them."""


def describe_status(status: Status) -> str:
    evidence = status.evidence
    lines = [
        f"**Champion:** {status.champion.target} on {status.base_name} (last good: {status.last_good.target})",
        f"**To learn from:** {count(evidence.votes, 'vote')} on {count(evidence.replies, 'answer')}, "
        f"{count(evidence.corrections, 'suggested answer')}; a round needs {count(status.pairs_needed, 'pair')}",
        f"**Trainer:** {_trainer(status)}",
        status.bases,
    ]
    if status.spend:
        lines.insert(2, f"**Spent:** {status.spend}")
    if status.canary:
        lines.insert(1, _canary(status.canary))
    if status.problem:
        lines.insert(1, f"⚠️ {status.problem}")
    if status.continuation.unlearned:
        lines.insert(1, f"⚠️ {_marked_champion(status.continuation)}")
    if status.latest_round:
        lines.append(describe_round(status.latest_round))
    return "\n".join(lines)


def _marked_champion(continuation: Continuation) -> str:
    champion, parent = continuation.unlearned[0].name, name_of(continuation.parent)
    return (
        f"{champion}, which answers, learned from data that was deleted since. The next round goes on from {parent} "
        "and learns anew what may still be used; promote what it makes."
    )


def _canary(reading: Reading) -> str:
    return (
        f"**Canary:** {reading.challenger.name} answers {reading.canary.share:.0%} of conversations and has "
        f"{share_of_votes(reading.tried)}, {name_of(reading.champion)} has {share_of_votes(reading.kept)}; "
        "`/model canary status` tells more"
    )


def _trainer(status: Status) -> str:
    if not status.trainers:
        return "not running; start it with `reactune trainer`"
    schedule = f"scheduled at `{status.schedule}` UTC" if status.schedule else "no schedule"
    return f"{describe_trainers(status.trainers, status.running)}; {schedule}"


def describe_trainers(trainers: Sequence[Heartbeat], running: Sequence[Round]) -> str:
    """Return which trainers live, and what each of them does."""
    rounds = {round_.worker: f" trains round {round_.id}" for round_ in running}
    return ", ".join(f"`{sign.place}`{rounds.get(sign.worker, ' waits')}" for sign in trainers)


def describe_round(round_: Round) -> str:
    """Return the headline, what is known of progress or outcome, and what the votes gave."""
    lines = [f"**{HEADLINES[round_.status]}** (round {round_.id})"]
    if round_.status is RoundStatus.RUNNING:
        lines.append(_progress(round_.progress))
        lines += map(sentence, round_.evidence.get("notes", ()))
    if round_.reason:
        lines.append(sentence(round_.reason))
    if round_.status is RoundStatus.PUBLISHED:
        lines.append(describe_metrics(round_.metrics))
    if not round_.is_open:
        lines += describe_votes(round_.evidence)
    return "\n".join(lines)


def describe_import(imported: ImportedPersonality) -> str:
    """Return what an import did, and the next step."""
    name, version = imported.personality.name, imported.version
    if imported.is_new:
        said = f"**{name}** is made, with {count(len(imported.personality.card.examples), 'example')}."
    elif imported.card_changed:
        said = f"The card of **{name}** is changed, from the next message on; the one before is kept in the database."
    else:
        said = f"The card of **{name}** stays as it is."
    if version is None:
        return said + (f" `/personality bind {name}` lets it speak somewhere." if imported.is_new else "")
    return (
        f"{said} Its adapter is **{version.name}**, which no gate has judged: "
        f"`/model promote {version.name} personality:{name}` with override and a reason lets it answer."
    )


def describe_votes(evidence: Mapping[str, Any]) -> list[str]:
    """Return what a round's votes gave, what the rules took of them, and what the admins should know, a line each."""
    lines = []
    if evidence.get("votes"):
        shares = evidence.get("removed_shares", {}).items()
        taken = [f"{share:.0%} ({rule})" for rule, share in shares if share >= LEAST_TOLD_SHARE]
        voters = count(evidence.get("voters", 0), "voter")
        told = [f"**Votes:** {evidence['votes']:,}, {voters} behind what was learned"]
        told += [f"the rules took {', '.join(taken)}"] if taken else []
        if evidence.get("preference_auc") is not None:
            told.append(f"a model of all votes predicts them with an AUC of {evidence['preference_auc']:.2f}")
        lines.append("; ".join(told))
    return [*lines, *map(sentence, evidence.get("notes", ()))]


def _progress(progress: Mapping[str, Any]) -> str:
    phase, step, steps = progress.get("phase", "starting"), progress.get("step", 0), progress.get("steps", 0)
    words = [f"**{phase}**"]
    if steps:
        words = [f"`{bar(step / steps)}`", *words, f"step {step} of {steps}"]
    if progress.get("loss") is not None:
        words.append(f"loss {progress['loss']:.3f}")
    if progress.get("seconds_left") is not None:
        words.append(f"about {duration(progress['seconds_left'])} left")
    return " · ".join(words).replace("` · **", "` **", 1)


METRIC_WORDS: Mapping[str, str] = {
    "pairs": "{:.0f} pairs",
    "holdout_pairs": "{:.0f} held out",
    "holdout_accuracy": "held-out accuracy {:.0%}",
    "holdout_margin": "margin {:.2f} nats",
    "divergence": "divergence {:.2f} nats/token",
    "degenerate_share": "broken answers {:.0%}",
    "degenerate_share_base": "(base {:.0%})",
    "seconds": "{:.0f} s",
}


SFT_WORDS: Mapping[str, str] = {
    "pairs": "{:.0f} example answers",
    "holdout_accuracy": "{:.0%} of them likelier",
    "holdout_margin": "by {:.2f} nats/token",
}


def describe_metrics(metrics: Mapping[str, Any]) -> str:
    told = {**METRIC_WORDS, **SFT_WORDS} if metrics.get("objective") == "sft" else METRIC_WORDS
    words = [words.format(metrics[key]) for key, words in told.items() if metrics.get(key) is not None]
    return " · ".join(words).replace(" · (base", " (base")


def describe_versions(
    versions: Sequence[Version], champion: Alias, challenger: Alias, tallies: Mapping[int | None, Tally]
) -> str:
    """Return a line per version, newest first, the base model last."""
    return "\n".join(_version_line(v, champion, challenger, tallies) for v in (*versions, None))


def _version_line(
    version: Version | None, champion: Alias, challenger: Alias, tallies: Mapping[int | None, Tally]
) -> str:
    votes = tallies.get(version.id if version else None, Tally())
    note = f"{VERDICTS[version.verdict]} · {_day(version.created_at)}" if version else "no adapter"
    sign = "👑" if name_of(version) == champion.target else "▫️"
    if challenger.version and name_of(version) == challenger.target:
        sign, note = "🐤", f"answers as a canary · {note}"
    if version and version.trained_on_deleted_data:
        note += " · ⚠️ learned from deleted data"
    if version and version.withdrawn_at:
        note += " · files withdrawn"
    return f"{sign} **{name_of(version)}** · 👍 {votes.up} 👎 {votes.down} · {note}"


def describe_version(
    version: Version,
    parent: Version | None,
    round_: Round | None,
    votes: Tally,
    moves: Sequence[AliasMove],
    *,
    failed_checks: Sequence[str],
) -> str:
    lines = [
        f"**{version.name}** · made {_day(version.created_at)} from {name_of(parent)} on {version.base_name} "
        f"({version.base_revision})",
        f"Adapter `{version.digest[:16]}` · 👍 {votes.up} 👎 {votes.down}",
        ": ".join([VERDICTS[version.verdict], *filter(None, ["; ".join(failed_checks)])]),
    ]
    if version.metrics:
        lines.append(describe_metrics(version.metrics))
    if round_:
        manifest = (round_.manifest_digest or "")[:16]
        lines.append(f"Round {round_.id}, asked for by {round_.requested_by}, manifest `{manifest}`")
        lines += describe_votes(round_.evidence)
    if version.trained_on_deleted_data:
        lines.append(
            "⚠️ It learned from data that was deleted since. While it answers, the next round goes on from an older "
            "version and learns anew what may still be used."
        )
    if version.withdrawn_at:
        lines.append(f"Its files were withdrawn on {_day(version.withdrawn_at)}: {version.withdrawn_because}.")
    lines += [
        f"{_day(m.moved_at)}: {describe_move(m, version)} by {m.moved_by}: {sanitize_reason(m.reason)}"
        for m in moves[:5]
    ]
    return "\n".join(lines)


def describe_move(move: AliasMove, version: Version) -> str:
    what = "a canary" if move.alias == CHALLENGER else "champion"
    overriding = ", overriding the gate," if move.overrides_gate else ""
    return f"became {what}{overriding}" if move.to_version_id == version.id else f"stopped being {what}"


def bar(share: float) -> str:
    """Return a bar that is filled up to the share, 0 to 1."""
    full = round(BAR_CELLS * share)
    return "█" * full + "░" * (BAR_CELLS - full)


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def sentence(text: str) -> str:
    """Return an error's or a round's words as a sentence; a first word that is a name, such as v1, stays as it is."""
    start = text[0].upper() if text.split(maxsplit=1)[0].rstrip(",:").isalpha() else text[0]
    return start + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
