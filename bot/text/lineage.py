"""Lineage in words, both ways; the same for Discord and for the command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bot.text.sanitize import escape_inline
from storage.database.enums import NOBODY, SOURCE_WORDS, GateVerdict, PairSource, RoundStatus, Split
from storage.insights.lineage import (
    Lineage,
    SourceAnswer,
    SourceCorrection,
    SourcePair,
    SourceRound,
    SourceVote,
    SourceVoter,
)
from storage.insights.vote_outcomes import PairRole, VoteOutcome, VoteStatus, VoteUse
from storage.personalities.personalities import DEFAULT_PERSONALITY
from storage.training.trainable import Obstacle
from storage.votes.votes import Tally, Vote
from storage.wording import count

VOTERS_SHOWN = 10
EXCERPT_CHARS = 50
HELD_OUT = {Split.VALIDATION: "for validation", Split.HOLDOUT: "held out"}
SIGNS = {Vote.UP: "👍", Vote.DOWN: "👎", None: "▫️"}
NO_LINEAGE = "**base** is the base model without an adapter: no votes made it."

FATES = {
    VoteStatus.WITHDRAWN: "withdrawn",
    VoteStatus.WEIGHTLESS: "does not count, as the account or the membership here was too new",
    VoteStatus.QUARANTINED: "held back with a burst of similar votes, until an admin looks at them",
    VoteStatus.EXCLUDED: "does not count: it was part of a burst of similar votes that an admin excluded",
    VoteStatus.ABOUT_FACTS: "a wrong fact, which goes to the admins as a gap in knowledge and is not trained on",
    VoteStatus.WAITING: "waits for a round that has a pair for it",
    VoteStatus.NOT_TRAINABLE: "counted in statistics, but not trained on",
}
OBSTACLES = {
    Obstacle.LIVE_CHAT_CLOSED: "live chat is not trained on here, as Discord forbids it without permission",
    Obstacle.NO_CONSENT: "not everybody quoted in that conversation allows training",
    Obstacle.OTHER_BASE: "another base model gave that answer",
    Obstacle.UNFINISHED: "that answer was not finished",
}
VERDICTS = {
    GateVerdict.PASS: "passed the gate",
    GateVerdict.FAIL: "did not pass the gate",
    GateVerdict.NOT_ENOUGH_EVIDENCE: "has not enough evidence for the gate",
}
WITHOUT_VERSION = {
    RoundStatus.RUNNING: "which is training now",
    RoundStatus.REJECTED: "whose version was broken and not kept",
    RoundStatus.FAILED: "which failed, so a later one may use it",
    RoundStatus.INTERRUPTED: "which was interrupted, so a later one may use it",
}


Names = Callable[[int], str]
"""What to call a user, by id."""


@dataclass(frozen=True)
class Style:
    """How a place shows links, and words that may hold Markdown of their own."""

    link: Callable[[str, str | None], str]
    quote: Callable[[str], str]


MARKDOWN = Style(lambda text, url: f"[{text}](<{url}>)" if url else text, escape_inline)
"""For messages on Discord; the brackets keep it from showing previews."""
PLAIN = Style(lambda text, url: f"{text} {url}" if url else text, str)
"""For files and terminals."""


def user_by_id(user_id: int) -> str:
    return f"user {user_id}" if user_id != NOBODY else "somebody outside Discord"


def user_by_mention(user_id: int) -> str:
    """Return what Discord shows as a name: without the members intent the bot knows no names. It pings nobody."""
    return f"<@{user_id}>" if user_id != NOBODY else user_by_id(user_id)


def plain_text(lines: Iterable[str]) -> str:
    """Return the lines for a file or a terminal, where stars mean nothing."""
    return "\n".join(lines).replace("**", "")


def lineage_lines(lineage: Lineage, named: Names, style: Style) -> list[str]:
    """Return the summary, then every round with its voters and its pairs, newest round first."""
    lines = [
        f"**{lineage.version}** comes from {count(len(lineage.rounds), 'round')} ({' ← '.join(lineage.chain)}): "
        f"{_votes(lineage.votes)} and {count(lineage.corrections, 'suggested answer')} by "
        f"{count(lineage.people, 'person', 'people')}."
    ]
    if lineage.trained_on_deleted_data:
        lines.append("⚠️ Part of what it learned from was deleted since, and is missing here.")
    made = {round_.version for round_ in lineage.rounds}
    without = [name for name in lineage.chain[:-1] if name not in made]
    if without:
        lines.append(f"No round is known for {', '.join(without)}.")
    for round_ in lineage.rounds:
        lines += _round_lines(round_, named, style)
    return lines


def _round_lines(round_: SourceRound, named: Names, style: Style) -> Iterable[str]:
    splits = Counter(pair.split for pair in round_.pairs)
    sources = Counter(pair.source for pair in round_.pairs)
    notes = [f"{number} from {SOURCE_WORDS[source]}" for source, number in sources.most_common()]
    notes += [f"{splits[split]} {words}" for split, words in HELD_OUT.items() if splits[split]]
    for number, words in (
        (sum(pair.replayed for pair in round_.pairs), "repeated from earlier rounds"),
        (sum(pair.was_deleted for pair in round_.pairs), "deleted since"),
    ):
        notes += [f"{number} {words}"] if number else []
    yield (
        f"**Round {round_.round_id}** made {round_.version} from {round_.parent} on {round_.began_at:%Y-%m-%d} "
        f"for {style.quote(round_.requested_by)}: {count(len(round_.pairs), 'pair')} ({', '.join(notes) or 'none'})"
    )
    voters = [_voter(voter, named) for voter in round_.voters]
    shown = voters[:VOTERS_SHOWN]
    yield "By " + (" · ".join(shown) or "nobody who is still known") + _and_more(len(voters) - len(shown))
    for position, pair in enumerate(round_.pairs, start=1):
        yield f"{position}. {_pair(pair, named, style)}"


def _voter(voter: SourceVoter, named: Names) -> str:
    words = [named(voter.user_id), f"👍 {voter.votes.up} 👎 {voter.votes.down}"]
    if voter.corrections:
        words.append(count(voter.corrections, "suggestion"))
    if voter.share is not None and voter.influence is not None:
        words.append(f"carried {voter.share:.1%} (without them {voter.influence:.1%} would change)")
    return " ".join(words[:2]) + "".join(f", {word}" for word in words[2:])


def _pair(pair: SourcePair, named: Names, style: Style) -> str:
    chosen = pair.correction or pair.chosen
    notes = [f"from {SOURCE_WORDS[pair.source]}", f"weight {pair.weight:.2f}", pair.split.value]
    if pair.replayed:
        notes.append("repeated")
    return f"{_side(chosen, named, style)} over {_side(pair.rejected, named, style)} · {', '.join(notes)}"


def _side(side: SourceAnswer | SourceCorrection | None, named: Names, style: Style) -> str:
    if side is None:
        return "(deleted)"
    if isinstance(side, SourceCorrection):
        return f"a suggestion of {named(side.author_id)}"
    votes = [
        f"{SIGNS[said]} {', '.join(_voted(vote, named) for vote in of_kind)}"
        for said in Vote
        if (of_kind := [vote for vote in side.votes if vote.vote is said])
    ]
    return style.link(f"answer {side.reply_id}", side.link) + (f" ({' '.join(votes)})" if votes else "")


def _voted(vote: SourceVote, named: Names) -> str:
    note = " (held back)" if vote.held_back else "" if vote.stands else " (changed since)"
    return named(vote.user_id) + note


def outcome_lines(outcomes: Sequence[VoteOutcome], style: Style, who: str = "You") -> list[str]:
    """Return a summary in numbers, then a line for each vote."""
    if not outcomes:
        return [f"{who} voted on no answer so far."]
    counts = Counter(outcome.outcome for outcome in outcomes)
    summary = ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in VoteStatus if counts[outcome])
    return [
        f"{who} voted on {count(len(outcomes), 'answer')}: {summary}.",
        *(describe_outcome(outcome, style) for outcome in outcomes),
    ]


def describe_outcome(outcome: VoteOutcome, style: Style) -> str:
    excerpt = " ".join(outcome.answer.split())
    excerpt = excerpt[:EXCERPT_CHARS].rstrip() + ("…" if len(excerpt) > EXCERPT_CHARS else "")
    where = style.link(f"{outcome.voted_at:%Y-%m-%d}", outcome.link)
    whose = "" if outcome.personality == DEFAULT_PERSONALITY else f"{outcome.personality}: "
    return f"{SIGNS[outcome.vote]} {where} {whose}“{style.quote(excerpt)}”: {'; '.join(_parts(outcome))}"


def _parts(outcome: VoteOutcome) -> list[str]:
    parts = [FATES[outcome.outcome]] if outcome.outcome in FATES else []
    if outcome.outcome is VoteStatus.NOT_TRAINABLE and outcome.obstacle is not None:
        parts = [f"{parts[0]}: {OBSTACLES[outcome.obstacle]}"]
    if 0 < outcome.weight < 1 and outcome.vote is not None:
        parts.append(f"counts as {outcome.weight:.0%} of a vote, as the account or the membership here was new")
    return parts + [_use(use) for use in outcome.uses]


def _use(use: VoteUse) -> str:
    """Say how the round used the vote, and what came of it."""
    how = _role(use)
    if use.split is not Split.TRAIN:
        how = f"{how}, kept out of training to judge it"
    if use.version is None or use.verdict is None:
        return f"{how}, {WITHOUT_VERSION.get(use.status, 'which made no version')}"
    result = f"{how} → **{use.version}**, which {VERDICTS[use.verdict]}"
    if use.champion == use.version:
        return f"{result} and answers now"
    return f"{result}; {use.champion}, which answers now, goes on from it" if use.champion else result


def _role(use: VoteUse) -> str:
    if use.role is PairRole.REJECTED and use.source in (PairSource.CORRECTION, PairSource.CORRECTED_SAMPLE):
        return f"a suggested answer was preferred to it in round {use.round_id}"
    liked = use.vote is Vote.UP
    against = "" if liked is (use.role is PairRole.CHOSEN) else ", against your vote"
    return f"{use.role.value} in round {use.round_id}{against}"


def _votes(votes: Tally) -> str:
    return f"{count(votes.up + votes.down, 'vote')} (👍 {votes.up} 👎 {votes.down})"


def _and_more(number: int) -> str:
    return f" · and {number} more" if number > 0 else ""
