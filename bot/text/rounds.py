"""Texts about training rounds; the same for Discord and the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from bot.localization.sentences import gettext, listing, ngettext, number, percent, sentence
from bot.text.taste import describe_counts
from storage.database.enums import SOURCE_WORDS, PairSource, RoundStatus
from storage.models.personality_imports import ImportedPersonality
from storage.runtime.processes import Heartbeat
from storage.statistics import Z_ONE_SIDED_95
from storage.taste.likings import Change
from storage.training.rounds import Round
from storage.votes.votes import FeedbackCounts
from storage.votes.weights import RULES
from storage.wording import LEAST_SHOWN_SHARE, Duration, gettext_noop

BAR_CELLS = 12
FIRST_VERSION_MINUTES = 10
"""The bundled cards took 8, 10 and 17 on a core that other work shared; the gate judged two or three times."""
JUDGED_AFTER = (1, 2)
"""How many steps are left while a version is trained or tested: if it fails, a weaker one is tested again."""
HEADLINES = {
    RoundStatus.REQUESTED: gettext_noop("Waiting for the trainer"),
    RoundStatus.RUNNING: gettext_noop("Training a new version"),
    RoundStatus.PUBLISHED: gettext_noop("A new version is made"),
    RoundStatus.SKIPPED: gettext_noop("Nothing was trained"),
    RoundStatus.REJECTED: gettext_noop("The new version was discarded"),
    RoundStatus.FAILED: gettext_noop("The round failed"),
    RoundStatus.INTERRUPTED: gettext_noop("The round was interrupted"),
}
METRICS: dict[str, tuple[str, Callable[[float], str]]] = {
    "validation_pairs": (gettext_noop("{value} for validation"), number),
    "left_out": (gettext_noop("{value} too long"), number),
    "validation_accuracy": (gettext_noop("{value} of those right"), percent),
    "strength": (gettext_noop("strength {value}"), partial(number, decimals=3)),
    "lowered_for": (gettext_noop("(a stronger one failed “{value}”)"), str),
    "degenerate_share": (gettext_noop("broken answers {value}"), percent),
    "degenerate_share_base": (gettext_noop("(base {value})"), percent),
    "seconds": ("{value} s", number),
}
"""{measure of a round: (words, function that writes its number)}"""
SFT_METRICS = METRICS | {"validation_accuracy": (gettext_noop("{value} of them likelier than before"), percent)}
DETAILS = {
    "validation_margin": "margin {value:.2f} nats",
    "divergence": "divergence {value:.2f} nats/token",
}
"""{measure of a round that only a page's details show: its words}"""


def describe_trainers(trainers: Sequence[Heartbeat], running: Sequence[Round]) -> str:
    rounds = {round_.worker: round_.id for round_ in running}
    return ", ".join(
        gettext("`{trainer}` is training round {round}", trainer=trainer.place, round=str(rounds[trainer.worker]))
        if trainer.worker in rounds
        else gettext("`{trainer}` is idle", trainer=trainer.place)
        for trainer in trainers
    )


def describe_round(round_: Round) -> str:
    """Return a headline, then the progress or the outcome, then the use of the votes."""
    lines = [
        gettext("**{headline}** (round {round})", headline=gettext(HEADLINES[round_.status]), round=str(round_.id))
    ]
    if round_.status is RoundStatus.RUNNING:
        lines.append(f"`{bar(round_.progress.get('share', 0.0))}` {describe_progress(round_.progress)}")
        lines += describe_notes(round_.learned_from)
    if changes := describe_changes(round_.metrics):
        lines.append(changes)
    if round_.reason:
        lines.append(sentence(gettext(round_.reason)))
    if not round_.is_open:
        lines += describe_votes(round_.learned_from)
    return "\n".join(lines)


def describe_open(round_: Round, link: str) -> str:
    """Return a sentence about a round that was requested already, with a link to its progress."""
    status = gettext(round_.status.value)
    return gettext(
        "Round {round} is already {status}. Its progress: {link}", round=str(round_.id), status=status, link=link
    )


def describe_first_version(personality: str, examples: int) -> str:
    """Return the offer of a first version from the examples on the personality's card."""
    return ngettext(
        "**First version:** {name} can learn the {count} example on its card now. With the bundled base this takes "
        "about {minutes} minutes, with a larger one longer. Members get answers from it only once it is promoted, so "
        "compare before and after first.",
        "**First version:** {name} can learn the {count} examples on its card now. With the bundled base this takes "
        "about {minutes} minutes, with a larger one longer. Members get answers from it only once it is promoted, so "
        "compare before and after first.",
        examples,
        name=personality,
        minutes=FIRST_VERSION_MINUTES,
    )


def describe_votes(learned_from: Mapping[str, Any]) -> list[str]:
    """Return a round's number of votes, the votes that the rules removed, and notes for admins, one line each."""
    lines = []
    # Earlier rounds noted the number of given votes alone.
    counts = FeedbackCounts(**learned_from.get("counts", {"votes": learned_from.get("votes", 0)}))
    if counts.total:
        shares = learned_from.get("removed_shares", {}).items()
        removed = [
            f"{percent(share)} ({gettext(RULES.get(rule, rule))})"
            for rule, share in shares
            if share >= LEAST_SHOWN_SHARE
        ]
        parts = [describe_counts(counts)]
        behind = learned_from.get("voters", 0)
        parts.append(ngettext("{count} member behind its pairs", "{count} members behind its pairs", behind))
        parts += [gettext("the rules removed {shares}", shares=", ".join(removed))] if removed else []
        lines.append(gettext("**Votes when the round began:** {votes}", votes="; ".join(parts)))
    return [*lines, *describe_notes(learned_from)]


def describe_notes(learned_from: Mapping[str, Any]) -> list[str]:
    """Return the notes for admins."""
    return [sentence(gettext(note)) for note in learned_from.get("notes", ())]


def describe_progress(progress: Mapping[str, Any]) -> str:
    """Return for example "**Step 3 of 5:** Training the new version · about 4 min left"."""
    if "stage" not in progress:
        return gettext("Starting")
    said = gettext(
        "**Step {step} of {steps}:** {doing}",
        step=progress["stage"],
        steps=progress["stages"],
        doing=gettext(progress["doing"]),
    )
    left = Duration(progress["seconds_left"])
    if progress["stages"] - progress["stage"] in JUDGED_AFTER:
        return f"{said} · {gettext('about {time} left, longer if a check fails', time=left)}"
    return f"{said} · {gettext('about {time} left', time=left)}"


def describe_changes(metrics: Mapping[str, Any]) -> str:
    """Return how the version's answers differ from the base's; empty if that is unknown."""
    if "changes" not in metrics:
        return ""
    moved = [
        gettext("{number} moved towards {what}", number=change.answers, what=gettext(change.words))
        for change in _changes(metrics)
    ]
    said = (
        gettext(
            "**What changed:** of {count} answers to the same messages, compared with the base's, {changes}.",
            count=metrics["messages"],
            changes=listing(moved),
        )
        if moved
        else gettext("**What changed:** nothing that {count} answers show clearly.", count=metrics["messages"])
    )
    fit = metrics["fitness"]
    if None in fit.values():
        return said
    fits_worse = fit["probability_base"] - fit["probability"] > Z_ONE_SIDED_95 * fit["error"]
    less_well = gettext_noop("They fit their messages less well than the base's.")
    as_well = gettext_noop("They fit their messages as well as the base's.")
    return f"{said} {gettext(less_well if fits_worse else as_well)}"


def describe_style(metrics: Mapping[str, Any]) -> str:
    """Return what changed in the answers, without numbers; empty if nothing did, or if that is unknown."""
    moved = [gettext(change.words) for change in _changes(metrics)]
    return gettext("**What changed, compared with the base model:** {what}.", what=listing(moved)) if moved else ""


def _changes(metrics: Mapping[str, Any]) -> Iterator[Change]:
    return (Change(**values) for values in metrics.get("changes", ()))


def describe_metrics(metrics: Mapping[str, Any]) -> str:
    is_sft = metrics.get("objective") == "sft"
    parts = []
    if "pairs" in metrics:
        pairs = metrics["pairs"]
        parts.append(
            ngettext("{count} example answer trained on", "{count} example answers trained on", pairs)
            if is_sft
            else ngettext("{count} pair trained on", "{count} pairs trained on", pairs)
        )
    for name, (text, written) in (SFT_METRICS if is_sft else METRICS).items():
        value = metrics.get(name)
        if value is not None and (value or name != "left_out"):
            parts.append(gettext(text, value=written(value)))
    return " · ".join(parts).replace(" · (", " (")


def describe_pairs(trained: Mapping[PairSource, int], validation: int) -> str:
    """Return for example "12 pairs trained on (8 from suggestions, 4 from choices), 1 for validation"."""
    said = ngettext("{count} pair trained on", "{count} pairs trained on", sum(trained.values()))
    if trained:
        said += f" ({', '.join(from_source(source, pairs) for source, pairs in trained.items())})"
    return said + (f", {gettext('{value} for validation', value=validation)}" if validation else "")


def from_source(source: PairSource, pairs: int) -> str:
    """Return for example "3 from suggestions"."""
    return gettext("{number} from {source}", number=pairs, source=gettext(SOURCE_WORDS[source]))


def describe_details(metrics: Mapping[str, Any]) -> str:
    """Return the measures that say something to people who train models."""
    known = {name: metrics[name] for name in DETAILS if metrics.get(name) is not None}
    return " · ".join(DETAILS[name].format(value=value) for name, value in known.items())


def describe_import(imported: ImportedPersonality) -> str:
    """Return the result of an import, and the next step."""
    name, version = imported.personality.name, imported.version
    if imported.is_new:
        said = ngettext(
            "**{name}** was created with {count} example.",
            "**{name}** was created with {count} examples.",
            len(imported.personality.card.examples),
            name=name,
        )
    elif imported.card_changed:
        said = gettext(
            "The card of **{name}** was changed, from the next message on; the database keeps the old card.", name=name
        )
    else:
        said = gettext("The card of **{name}** did not change.", name=name)
    if version is None:
        return " ".join([said, *_next_steps(imported)])
    untested = gettext(
        "Its adapter is **{version}**. It has not been checked; to use it anyway, run `/version promote {version} "
        "personality:{name}` with `override` and a reason.",
        version=version.name,
        name=name,
    )
    return f"{said} {untested}"


def _next_steps(imported: ImportedPersonality) -> Iterator[str]:
    name = imported.personality.name
    if imported.notes:
        yield gettext(
            "Strangers may have written it, so read it first: {command}.", command=f"`/personality show {name}`"
        )
    if imported.is_new:
        yield gettext("To let it answer somewhere: {command}.", command=f"`/personality bind {name}`")


def bar(share: float) -> str:
    """Return a bar filled up to the share, 0 to 1."""
    full = round(BAR_CELLS * share)
    return "█" * full + "░" * (BAR_CELLS - full)
