"""Texts about training rounds; the same for Discord and the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from storage.database.enums import RoundStatus
from storage.models.personality_imports import ImportedPersonality
from storage.runtime.processes import Heartbeat
from storage.training.rounds import Round
from storage.wording import LEAST_SHOWN_SHARE, count, duration

BAR_CELLS = 12
HEADLINES = {
    RoundStatus.REQUESTED: "Waiting for the trainer",
    RoundStatus.RUNNING: "Training a new version",
    RoundStatus.PUBLISHED: "A new version is ready",
    RoundStatus.SKIPPED: "Nothing was trained",
    RoundStatus.REJECTED: "The new version was discarded",
    RoundStatus.FAILED: "The round failed",
    RoundStatus.INTERRUPTED: "The round was interrupted",
}
METRICS = {
    "validation_pairs": "{:.0f} for validation",
    "left_out": "{:.0f} too long",
    "validation_accuracy": "{:.0%} of those right",
    "validation_margin": "margin {:.2f} nats",
    "strength": "strength {:g}",
    "lowered_for": "(lowered because of “{}”)",
    "divergence": "divergence {:.2f} nats/token",
    "degenerate_share": "broken answers {:.0%}",
    "degenerate_share_base": "(base {:.0%})",
    "seconds": "{:.0f} s",
}
SFT_METRICS = METRICS | {
    "validation_accuracy": "{:.0%} of them likelier than before",
    "validation_margin": "by {:.2f} nats/token",
}


def describe_trainers(trainers: Sequence[Heartbeat], running: Sequence[Round]) -> str:
    """Return what each running trainer does."""
    rounds = {round_.worker: f"is training round {round_.id}" for round_ in running}
    return ", ".join(f"`{trainer.place}` {rounds.get(trainer.worker, 'is idle')}" for trainer in trainers)


def describe_round(round_: Round) -> str:
    """Return a headline, then the progress or the outcome, then how the votes were used."""
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


def describe_votes(evidence: Mapping[str, Any]) -> list[str]:
    """Return how many votes a round found, what the rules removed, and notes for the admins, one line each."""
    lines = []
    if evidence.get("votes"):
        shares = evidence.get("removed_shares", {}).items()
        removed = [f"{share:.0%} ({rule})" for rule, share in shares if share >= LEAST_SHOWN_SHARE]
        voters = evidence.get("voters", 0)
        parts = [f"{evidence['votes']:,}", f"{count(voters, 'voter')} behind its pairs"]
        parts += [f"the rules removed {', '.join(removed)}"] if removed else []
        weak = [f"{number:,} {kind}" for kind, number in evidence.get("weak_votes", {}).items()]
        parts += [f"weak votes: {', '.join(weak)}"] if weak else []
        lines.append(f"**Votes when the round began:** {'; '.join(parts)}")
    return [*lines, *map(sentence, evidence.get("notes", ()))]


def _progress(progress: Mapping[str, Any]) -> str:
    phase, step, steps = progress.get("phase", "starting"), progress.get("step", 0), progress.get("steps", 0)
    parts = [f"**{phase}**"]
    if steps:
        parts = [f"`{bar(step / steps)}` **{phase}**", f"step {step} of {steps}"]
    if progress.get("loss") is not None:
        parts.append(f"loss {progress['loss']:.3f}")
    if progress.get("seconds_left") is not None:
        parts.append(f"about {duration(progress['seconds_left'])} left")
    return " · ".join(parts)


def describe_metrics(metrics: Mapping[str, Any]) -> str:
    is_sft = metrics.get("objective") == "sft"
    parts = []
    if "pairs" in metrics:
        parts.append(f"{count(metrics['pairs'], 'example answer' if is_sft else 'pair')} trained on")
    for name, text in (SFT_METRICS if is_sft else METRICS).items():
        value = metrics.get(name)
        if value is not None and (value or name != "left_out"):
            parts.append(text.format(value))
    return " · ".join(parts).replace(" · (", " (")


def describe_import(imported: ImportedPersonality) -> str:
    """Return what an import did, and the next step."""
    name, version = imported.personality.name, imported.version
    if imported.is_new:
        said = f"**{name}** was created with {count(len(imported.personality.card.examples), 'example')}."
    elif imported.card_changed:
        said = f"The card of **{name}** was changed, from the next message on; the database keeps the old card."
    else:
        said = f"The card of **{name}** did not change."
    if version is None:
        return " ".join([said, *_next_steps(imported)])
    return (
        f"{said} Its adapter is **{version.name}**. No gate has tested it; to use it anyway, run "
        f"`/model promote {version.name} personality:{name}` with `override` and a reason."
    )


def _next_steps(imported: ImportedPersonality) -> Iterator[str]:
    name = imported.personality.name
    if imported.notes:
        yield f"Strangers may have written it, so read it first: `/personality show {name}`."
    if imported.is_new:
        yield f"To let it answer somewhere: `/personality bind {name}`."


def bar(share: float) -> str:
    """Return a bar filled up to the share, 0 to 1."""
    full = round(BAR_CELLS * share)
    return "█" * full + "░" * (BAR_CELLS - full)


def sentence(text: str) -> str:
    """Return the text with a capital letter and one full stop; a first word that is a name, such as v1, stays."""
    start = text[0].upper() if text.split(maxsplit=1)[0].rstrip(",:").isalpha() else text[0]
    return start + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
