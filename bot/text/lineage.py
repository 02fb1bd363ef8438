"""Texts about lineage: which votes made a version, and what became of a member's votes."""

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
from storage.insights.tracing import TracedReply
from storage.insights.vote_outcomes import PairRole, TasteUse, VoteOutcome, VoteStatus, VoteUse
from storage.insights.weak_votes import WeakUse, WeakVoteOutcome
from storage.personalities.personalities import DEFAULT_PERSONALITY
from storage.training.trainable import Obstacle
from storage.votes.votes import Vote
from storage.wording import count, shorten

VOTERS_SHOWN = 10
EXCERPT_CHARS = 50
SPLITS = {Split.TRAIN: "trained on", Split.VALIDATION: "for validation"}
SIGNS = {Vote.UP: "👍", Vote.DOWN: "👎", None: "▫️"}
NO_LINEAGE = "is the base model without an adapter: no votes made it."

OUTCOMES = {
    VoteStatus.WITHDRAWN: "withdrawn",
    VoteStatus.WEIGHTLESS: "doesn't count: the account was too new, or had joined the server too recently",
    VoteStatus.QUARANTINED: "on hold: it is part of a burst of similar votes that an admin has to review",
    VoteStatus.EXCLUDED: "doesn't count: it is part of a burst of similar votes that an admin excluded",
    VoteStatus.ABOUT_FACTS: "reports a wrong fact: admins see it, but nothing is trained on it",
    VoteStatus.WAITING: "waiting for a training round that can use it",
    VoteStatus.NOT_TRAINABLE: "counted in statistics, but not used for training",
}
OBSTACLES = {
    Obstacle.OUTSIDE_TEXT: "answers about a picture, web page, forwarded message or note are never trained on",
    Obstacle.LIVE_CHAT_CLOSED: "Discord does not permit training on live chat here",
    Obstacle.NO_CONSENT: "not everyone quoted in that conversation allows training",
    Obstacle.OTHER_BASE: "its prompt was imported as finished text for another base model",
    Obstacle.UNFINISHED: "that answer was not finished",
}
TASTE = {
    TasteUse.COUNTS: "counts in what people here like",
    TasteUse.WRONG_FACT: "says nothing about what people here like: it is about a fact, not about the style",
    TasteUse.NO_PICK: "says nothing about what people here like: of an arena, only the pick does",
    TasteUse.OPTED_OUT: "doesn't count in what people here like, because of `/privacy opt-out`",
    TasteUse.SWITCHED_OFF: "doesn't count in what people here like: learning from reactions is switched off",
}
WEAK = {
    WeakUse.COUNTS: "counts a little in what people here like",
    WeakUse.REPLACED: "doesn't count: the vote on the same answer replaces it",
    WeakUse.OPTED_OUT: "doesn't count, because of `/privacy opt-out`",
    WeakUse.SWITCHED_OFF: "doesn't count: that is switched off here",
}
VERDICTS = {
    GateVerdict.PASS: "passed the gate",
    GateVerdict.FAIL: "failed the gate",
    GateVerdict.NOT_ENOUGH_EVIDENCE: "not enough evidence yet",
}
WITHOUT_VERSION = {
    RoundStatus.RUNNING: "that round is still running",
    RoundStatus.REJECTED: "its version was broken and discarded",
    RoundStatus.FAILED: "that round failed, so a later one can use the vote",
    RoundStatus.INTERRUPTED: "that round was interrupted, so a later one can use the vote",
}

NOTHING_FOUND = "No reply has this request or message id. If the request got no answer, only the log has it."


@dataclass(frozen=True)
class _Style:
    """How to write links, quotations and users."""

    link: Callable[[str, str | None], str]
    quote: Callable[[str], str]
    user: Callable[[int], str]

    def name(self, user_id: int) -> str:
        return self.user(user_id) if user_id != NOBODY else "somebody outside Discord"


# Discord shows a mention as a name, and here it does not ping. The angle brackets suppress previews.
_MARKDOWN = _Style(lambda text, url: f"[{text}](<{url}>)" if url else text, escape_inline, lambda id_: f"<@{id_}>")
_PLAIN = _Style(lambda text, url: f"{text} {url}" if url else text, str, lambda id_: f"user {id_}")


def lineage_lines(lineage: Lineage | None) -> list[str]:
    """Return a summary, then every round with its voters and pairs, newest first; None is the base model."""
    return _lineage_lines(lineage, _MARKDOWN) if lineage else [f"**base** {NO_LINEAGE}"]


def lineage_text(lineage: Lineage | None) -> str:
    """Return the same for a file or a terminal."""
    return _without_bold(_lineage_lines(lineage, _PLAIN) if lineage else [f"base {NO_LINEAGE}"])


def outcome_lines(outcomes: Sequence[VoteOutcome]) -> list[str]:
    """Return a summary in numbers, then a line for each vote."""
    return _outcome_lines(outcomes, _MARKDOWN, "You")


def outcome_text(outcomes: Sequence[VoteOutcome], user_id: int | None = None) -> str:
    """Return the same for a file, or for the operator's terminal about a member."""
    return _without_bold(_outcome_lines(outcomes, _PLAIN, "You" if user_id is None else f"User {user_id}"))


def weak_lines(outcomes: Sequence[WeakVoteOutcome]) -> list[str]:
    """Return what a member did after answers that counts as a weak vote, one line each, under a headline."""
    return _weak_lines(outcomes, _MARKDOWN)


def weak_text(outcomes: Sequence[WeakVoteOutcome]) -> str:
    """Return the same for a file or a terminal, below other text; nothing if there are none."""
    return "".join(f"\n{line}" for line in _weak_lines(outcomes, _PLAIN))


def _weak_lines(outcomes: Sequence[WeakVoteOutcome], style: _Style) -> list[str]:
    headline = [f"{count(len(outcomes), 'weak vote')}, read from what was done after an answer:"] if outcomes else []
    return [*headline, *(_weak_line(outcome, style) for outcome in outcomes)]


def _weak_line(outcome: WeakVoteOutcome, style: _Style) -> str:
    excerpt = shorten(" ".join(outcome.answer.split()), EXCERPT_CHARS)
    where = style.link(f"{outcome.given_at:%Y-%m-%d}", outcome.link)
    whose = "" if outcome.personality == DEFAULT_PERSONALITY else f"{outcome.personality}: "
    return f"{outcome.kind} {where} {whose}“{style.quote(excerpt)}”: {WEAK[outcome.use]}"


def describe_outcome(outcome: VoteOutcome) -> str:
    return _outcome_line(outcome, _MARKDOWN)


def _without_bold(lines: Iterable[str]) -> str:
    return "\n".join(lines).replace("**", "")


def _lineage_lines(lineage: Lineage, style: _Style) -> list[str]:
    lines = [
        f"**{lineage.version}** ({' ← '.join(lineage.chain)}) was made in {count(len(lineage.rounds), 'round')}. "
        f"Behind the pairs: {count(lineage.votes.up + lineage.votes.down, 'vote')} (👍 {lineage.votes.up} "
        f"👎 {lineage.votes.down}) and {count(lineage.corrections, 'suggested answer')} by "
        f"{count(lineage.people, 'person', 'people')}.{_ranked(lineage)}"
    ]
    if lineage.trained_on_deleted_data:
        lines.append("⚠️ Part of what it learned from was later deleted, and is missing here.")
    made = {round_.version for round_ in lineage.rounds}
    without = [name for name in lineage.chain[:-1] if name not in made]
    if without:
        lines.append(f"No round is known for {', '.join(without)}; imported versions have none.")
    for round_ in lineage.rounds:
        lines += _round_lines(round_, style)
    return lines


def _ranked(lineage: Lineage) -> str:
    """Return how many pairs are the taste's, behind which everybody's votes stand."""
    ranked = sum(pair.source is PairSource.TASTE for round_ in lineage.rounds for pair in round_.pairs)
    if not ranked:
        return ""
    return f" What people like ranked {count(ranked, 'pair')}: every vote that counted then had a part in it."


def _round_lines(round_: SourceRound, style: _Style) -> Iterable[str]:
    yield (
        f"**Round {round_.round_id}** made {round_.version} from {round_.parent} on {round_.began_at:%Y-%m-%d}, "
        f"requested by {style.quote(round_.requested_by)}: {_count_pairs(round_.pairs)}"
    )
    voters = [_voter(voter, style) for voter in round_.voters]
    if len(voters) > VOTERS_SHOWN:
        voters[VOTERS_SHOWN:] = [f"and {len(voters) - VOTERS_SHOWN} more"]
    yield "Voters: " + (" · ".join(voters) or "none left")
    if any(pair.source is PairSource.TASTE for pair in round_.pairs) and round_.weak_votes:
        told = ", ".join(f"{number:,} {kind}" for kind, number in round_.weak_votes.items())
        yield f"Weak votes in what people like: {told}"
    for position, pair in enumerate(round_.pairs, start=1):
        yield f"{position}. {_pair(pair, style)}"


def _count_pairs(pairs: Sequence[SourcePair]) -> str:
    """Return "12 pairs trained on (8 from …, 4 from …), 1 for validation"."""
    splits = Counter(pair.split for pair in pairs)
    sources = Counter(pair.source for pair in pairs if pair.split is Split.TRAIN)
    parts = ", ".join(f"{number} from {SOURCE_WORDS[source]}" for source, number in sources.most_common())
    counted = [f"{count(splits[Split.TRAIN], 'pair')} trained on" + (f" ({parts})" if parts else "")]
    counted += [f"{splits[Split.VALIDATION]} for validation"] if splits[Split.VALIDATION] else []
    deleted = sum(pair.was_deleted for pair in pairs)
    return ", ".join([*counted, *([f"{deleted} of them deleted since"] if deleted else [])])


def _voter(voter: SourceVoter, style: _Style) -> str:
    parts = [f"{style.name(voter.user_id)} 👍 {voter.votes.up} 👎 {voter.votes.down}"]
    if voter.corrections:
        parts.append(count(voter.corrections, "suggestion"))
    if voter.share is not None and voter.influence is not None:
        parts.append(f"{voter.share:.1%} of the weight (without them, {voter.influence:.1%} of the pairs would change)")
    return ", ".join(parts)


def _pair(pair: SourcePair, style: _Style) -> str:
    chosen = pair.correction or pair.chosen
    notes = [f"from {SOURCE_WORDS[pair.source]}", f"weight {pair.weight:.2f}", SPLITS[pair.split]]
    return f"{_side(chosen, style)} over {_side(pair.rejected, style)} · {', '.join(notes)}"


def _side(side: SourceAnswer | SourceCorrection | None, style: _Style) -> str:
    if side is None:
        return "(deleted)"
    if isinstance(side, SourceCorrection):
        return f"a suggestion by {style.name(side.author_id)}"
    votes = [
        f"{SIGNS[said]} {', '.join(_voted(vote, style) for vote in of_kind)}"
        for said in Vote
        if (of_kind := [vote for vote in side.votes if vote.vote is said])
    ]
    return style.link(f"answer {side.reply_id}", side.link) + (f" ({' '.join(votes)})" if votes else "")


def _voted(vote: SourceVote, style: _Style) -> str:
    note = " (quarantined)" if vote.quarantined else "" if vote.unchanged else " (changed since)"
    return style.name(vote.user_id) + note


def _outcome_lines(outcomes: Sequence[VoteOutcome], style: _Style, who: str) -> list[str]:
    if not outcomes:
        return ["You haven't voted yet." if who == "You" else f"{who} hasn't voted yet."]
    counts = Counter(outcome.status for outcome in outcomes)
    summary = ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in VoteStatus if counts[outcome])
    return [
        f"{who} voted on {count(len(outcomes), 'answer')}: {summary}.",
        *(_outcome_line(outcome, style) for outcome in outcomes),
    ]


def _outcome_line(outcome: VoteOutcome, style: _Style) -> str:
    excerpt = shorten(" ".join(outcome.answer.split()), EXCERPT_CHARS)
    where = style.link(f"{outcome.voted_at:%Y-%m-%d}", outcome.link)
    whose = "" if outcome.personality == DEFAULT_PERSONALITY else f"{outcome.personality}: "
    sign = outcome.emoji or SIGNS[outcome.vote]
    return f"{sign} {where} {whose}“{style.quote(excerpt)}”: {'; '.join(_parts(outcome))}"


def _parts(outcome: VoteOutcome) -> list[str]:
    parts = [OUTCOMES[outcome.status]] if outcome.status in OUTCOMES else []
    if outcome.obstacle is not None and outcome.status is VoteStatus.NOT_TRAINABLE:
        parts = [f"{parts[0]}: {OBSTACLES[outcome.obstacle]}"]
    elif outcome.obstacle is not None and outcome.status in (VoteStatus.WAITING, VoteStatus.RANKED):
        parts.append(f"the answer itself is not trained on: {OBSTACLES[outcome.obstacle]}")
    if 0 < outcome.weight < 1 and outcome.vote is not None:
        parts.append(f"counts as {outcome.weight:.0%} of a vote, because the account or the membership here was new")
    if outcome.taste in TASTE:
        parts.append(TASTE[outcome.taste])
    return parts + [_use(use) for use in outcome.uses]


def _use(use: VoteUse) -> str:
    """Return how the round used the vote, and what it led to."""
    how = _role(use)
    if use.split is not Split.TRAIN:
        how += " (to decide when training stops, not to train on)"
    if use.version is None or use.verdict is None:
        return f"{how}; {WITHOUT_VERSION.get(use.status, 'that round made no version')}"
    result = f"{how} → **{use.version}** ({VERDICTS[use.verdict]})"
    if use.champion == use.version:
        return f"{result}, which answers now"
    return f"{result}; {use.champion}, which answers now, builds on it" if use.champion else result


def _role(use: VoteUse) -> str:
    if use.role is PairRole.REJECTED and use.source in (PairSource.CORRECTION, PairSource.CORRECTED_SAMPLE):
        return f"a suggested answer was preferred to it in round {use.round_id}"
    if use.role is PairRole.RANKING:
        return f"helped to rank the answers of round {use.round_id}"
    liked = use.vote is Vote.UP
    against = "" if liked is (use.role is PairRole.CHOSEN) else ", against your vote"
    side = "better" if use.role is PairRole.CHOSEN else "worse"
    return f"used as the {side} answer in round {use.round_id}{against}"


def trace_lines(replies: Sequence[TracedReply]) -> list[str]:
    """Return the path from the message to replies, votes, rounds and versions, one step a line."""
    return [line for reply in replies for line in _lines(reply)] or [NOTHING_FOUND]


def _lines(reply: TracedReply) -> list[str]:
    took = f" in {reply.total_s:.1f} s" if reply.total_s is not None else ""
    asked = f"message {reply.source_message_id}" if reply.source_message_id else "no message"
    return [
        f"request {reply.request_id or 'unknown'}: {asked} in channel {reply.channel_id}",
        f"  reply {reply.id} by {reply.version}, {reply.created_at:%Y-%m-%d %H:%M:%S} UTC: {reply.outcome}{took}",
        f"  shown in {', '.join(f'message {id_}' for id_ in reply.message_ids) or 'no message'}",
        f"  votes: {', '.join(f'{number} {kind}' for kind, number in reply.votes.items()) or 'none'}",
        *([f"  weak votes: {', '.join(reply.weak_votes)}"] if reply.weak_votes else []),
        *(f"  round {r.id} learned from it: {r.status}{f', {r.version}' if r.version else ''}" for r in reply.rounds),
    ]
