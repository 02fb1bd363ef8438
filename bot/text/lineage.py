"""Texts about lineage: the votes behind a version, and the fate of a member's votes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from bot.localization.sentences import gettext, in_quotes, listing, ngettext, number, percent, reasoned
from bot.text.rounds import describe_pairs
from bot.text.sanitize import escape_inline
from storage.database.enums import NOBODY, SOURCE_WORDS, GateVerdict, PairSource, RoundStatus, Split
from storage.insights.answers import TracedReply
from storage.insights.lineage import (
    Lineage,
    SourceAnswer,
    SourceCorrection,
    SourcePair,
    SourceRound,
    SourceVote,
    SourceVoter,
)
from storage.insights.vote_outcomes import PairRole, TasteUse, VoteOutcome, VoteStatus, VoteUse
from storage.personalities.personalities import DEFAULT_PERSONALITY
from storage.releases.promotion import CHOICES, GATE
from storage.training.rounds import SCHEDULE
from storage.training.trainable import Obstacle
from storage.votes.votes import Vote
from storage.wording import gettext_noop, shorten

VOTERS_SHOWN = 10
EXCERPT_CHARS = 50
SPLITS = {Split.TRAIN: gettext_noop("trained on"), Split.VALIDATION: gettext_noop("for validation")}
SIGNS = {Vote.UP: "👍", Vote.DOWN: "👎", None: "▫️"}
NO_LINEAGE = gettext_noop("**base** is the base model without an adapter: it was not made from votes.")

OUTCOMES = {
    VoteStatus.WITHDRAWN: gettext_noop("taken back"),
    VoteStatus.WEIGHTLESS: gettext_noop(
        "doesn't count: the account was too new, or had joined the server too recently"
    ),
    VoteStatus.QUARANTINED: gettext_noop("on hold: it is one of several suspicious votes that an admin has to review"),
    VoteStatus.EXCLUDED: gettext_noop("doesn't count: it is one of several suspicious votes that an admin left out"),
    VoteStatus.ABOUT_FACTS: gettext_noop("reports a wrong fact: admins see it, but nothing is trained on it"),
    VoteStatus.WAITING: gettext_noop("waiting for a training round that can use it"),
    VoteStatus.NOT_TRAINABLE: gettext_noop("counted in statistics, but not used for training"),
}
OBSTACLES = {
    Obstacle.OUTSIDE_TEXT: gettext_noop(
        "answers about a picture, web page, forwarded message or note are never trained on"
    ),
    Obstacle.LIVE_CHAT_CLOSED: gettext_noop("Discord does not permit training on members' messages here"),
    Obstacle.NO_CONSENT: gettext_noop("not everyone quoted in that conversation allows training"),
    Obstacle.OTHER_BASE: gettext_noop("its prompt was imported as finished text for another base model"),
    Obstacle.UNFINISHED: gettext_noop("that answer was not finished"),
}
TASTE = {
    TasteUse.COUNTS: gettext_noop("counts towards what members here like"),
    TasteUse.WRONG_FACT: gettext_noop(
        "says nothing about what members here like: it is about a fact, not about the style"
    ),
    TasteUse.NO_PICK: gettext_noop("says nothing about what members here like: in an arena, only the choice does"),
    TasteUse.OPTED_OUT: gettext_noop(
        "doesn't count towards what members here like, because learning is forbidden in `/privacy`"
    ),
    TasteUse.SWITCHED_OFF: gettext_noop(
        "doesn't count towards what members here like: learning from reactions is switched off"
    ),
}
VERDICTS = {
    GateVerdict.PASS: gettext_noop("passed the checks"),
    GateVerdict.FAIL: gettext_noop("failed the checks"),
    GateVerdict.NOT_ENOUGH_EVIDENCE: gettext_noop("being compared"),
}
WITHOUT_VERSION = {
    RoundStatus.RUNNING: gettext_noop("that round is still running"),
    RoundStatus.REJECTED: gettext_noop("its version was broken and discarded"),
    RoundStatus.FAILED: gettext_noop("that round failed, so a later one can use the vote"),
    RoundStatus.INTERRUPTED: gettext_noop("that round was interrupted, so a later one can use the vote"),
}

NO_VERSION = gettext_noop("that round made no version")
NOTHING_FOUND = "No reply has this request or message id. If the request got no answer, only the log has it."
PARTS = frozenset({CHOICES, GATE, SCHEDULE})
"""Parts of the program that act; no admin has such a name, because admins' IDs follow their names."""


_MARKDOWN = re.compile(r"\\(?P<escaped>[^\w\s]|_)|\[(?P<text>[^]]*)\]\(<(?P<url>[^>]*)>\)|<@(?P<user>\d+)>|\*\*")


def as_plain_text(lines: Iterable[str]) -> str:
    """Return the lines for a file or a terminal, without Discord's Markdown."""

    def plain(found: re.Match[str]) -> str:
        if found["url"]:
            return f"{found['text']} {found['url']}"
        return gettext("user {id}", id=found["user"]) if found["user"] else found["escaped"] or ""

    return _MARKDOWN.sub(plain, "\n".join(lines))


def lineage_lines(lineage: Lineage | None) -> list[str]:
    """Return a summary, then every round with its voters and pairs, newest first; None is the base model."""
    if lineage is None:
        return [gettext(NO_LINEAGE)]
    lines = [
        ngettext(
            "**{version}** ({chain}) was made in {count} round. Behind the pairs: {said}.",
            "**{version}** ({chain}) was made in {count} rounds. Behind the pairs: {said}.",
            len(lineage.rounds),
            version=lineage.version,
            chain=" ← ".join(lineage.chain),
            said=_behind_pairs(lineage),
        )
        + _ranked(lineage)
    ]
    if lineage.trained_on_deleted_data:
        lines.append(gettext("⚠️ Part of what it learned from was later deleted, and is missing here."))
    made = {round_.version for round_ in lineage.rounds}
    without = [name for name in lineage.chain[:-1] if name not in made]
    if without:
        lines.append(
            gettext("No round is known for {versions}; imported versions have none.", versions=", ".join(without))
        )
    for round_ in lineage.rounds:
        lines += _round_lines(round_)
    return lines


def _behind_pairs(lineage: Lineage) -> str:
    """Return for example "3 votes (👍 2 👎 1), 2 choices and 1 suggested answer by 4 members"."""
    votes, choices, written = lineage.votes, lineage.choices, lineage.corrections
    parts = [ngettext("{count} vote", "{count} votes", votes.total)]
    if votes.total:
        parts[0] += f" (👍 {number(votes.up)} 👎 {number(votes.down)})"
    if choices:
        parts.append(ngettext("{count} choice", "{count} choices", choices))
    if written:
        parts.append(ngettext("{count} suggested answer", "{count} suggested answers", written))
    if not lineage.people:
        return listing(parts)
    members = ngettext("{count} member", "{count} members", lineage.people)
    return gettext("{votes} by {members}", votes=listing(parts), members=members)


def _ranked(lineage: Lineage) -> str:
    """Return the number of pairs that the taste ranked; everybody's votes contributed to those."""
    ranked = sum(pair.source is PairSource.TASTE for round_ in lineage.rounds for pair in round_.pairs)
    if not ranked:
        return ""
    return " " + ngettext(
        "What members like ranked {count} pair: every vote that counted then had a part in it.",
        "What members like ranked {count} pairs: every vote that counted then had a part in it.",
        ranked,
    )


def _round_lines(round_: SourceRound) -> Iterable[str]:
    yield gettext(
        "**Round {round}** made {version} from {parent} on {date}, requested by {who}: {pairs}",
        round=str(round_.round_id),
        version=round_.version,
        parent=round_.parent,
        date=f"{round_.began_at:%Y-%m-%d}",
        who=escape_inline(name_actor(round_.requested_by)),
        pairs=_count_pairs(round_.pairs),
    )
    voters = [_voter(voter) for voter in round_.voters]
    if len(voters) > VOTERS_SHOWN:
        voters[VOTERS_SHOWN:] = [gettext("and {number} more", number=len(voters) - VOTERS_SHOWN)]
    yield f"{gettext('Members:')} {' · '.join(voters) or gettext('none left')}"
    for position, pair in enumerate(round_.pairs, start=1):
        yield f"{position}. {_pair(pair)}"


def _count_pairs(pairs: Sequence[SourcePair]) -> str:
    trained = Counter(pair.source for pair in pairs if pair.split is Split.TRAIN)
    counted = describe_pairs(dict(trained.most_common()), len(pairs) - trained.total())
    if deleted := sum(pair.was_deleted for pair in pairs):
        counted += ", " + gettext("{number} of them deleted since", number=deleted)
    return counted


def _voter(voter: SourceVoter) -> str:
    parts = [f"{_name(voter.user_id)} 👍 {voter.votes.up} 👎 {voter.votes.down}"]
    if voter.choices:
        parts.append(ngettext("{count} choice", "{count} choices", voter.choices))
    if voter.corrections:
        parts.append(ngettext("{count} suggestion", "{count} suggestions", voter.corrections))
    if voter.share is not None and voter.influence is not None:
        parts.append(
            gettext(
                "{share} of the weight (without them, {influence} of the pairs would change)",
                share=percent(voter.share, 1),
                influence=percent(voter.influence, 1),
            )
        )
    return ", ".join(parts)


def _pair(pair: SourcePair) -> str:
    chosen = pair.correction or pair.chosen
    weight = gettext("weight {weight}", weight=number(pair.weight, 2))
    notes = [gettext("from {source}", source=gettext(SOURCE_WORDS[pair.source])), weight, gettext(SPLITS[pair.split])]
    sides = gettext("{chosen} over {rejected}", chosen=_side(chosen), rejected=_side(pair.rejected))
    if pair.choosers:
        sides += " " + gettext("(chosen by {members})", members=", ".join(map(_name, pair.choosers)))
    return f"{sides} · {', '.join(notes)}"


def _side(side: SourceAnswer | SourceCorrection | None) -> str:
    if side is None:
        return gettext("(deleted)")
    if isinstance(side, SourceCorrection):
        return gettext("a suggestion by {member}", member=_name(side.author_id))
    votes = [
        f"{SIGNS[said]} {', '.join(_voted(vote) for vote in of_kind)}"
        for said in Vote
        if (of_kind := [vote for vote in side.votes if vote.vote is said])
    ]
    name = gettext("answer {id}", id=str(side.reply_id))
    return _link(name, side.link) + (f" ({' '.join(votes)})" if votes else "")


def _voted(vote: SourceVote) -> str:
    if vote.quarantined:
        return gettext("{member} (did not count)", member=_name(vote.user_id))
    if vote.unchanged:
        return _name(vote.user_id)
    return gettext("{member} (changed since)", member=_name(vote.user_id))


def _name(user_id: int) -> str:
    # Discord shows a mention as a name, and here it does not ping.
    return f"<@{user_id}>" if user_id != NOBODY else gettext("somebody outside Discord")


def _link(text: str, url: str | None) -> str:
    return f"[{text}](<{url}>)" if url else text  # the angle brackets suppress previews


def outcome_lines(outcomes: Sequence[VoteOutcome], user_id: int | None = None) -> list[str]:
    """Return a summary in numbers, then a line for each vote; without a `user_id` the member themselves reads it."""
    if not outcomes:
        return [gettext("You haven't voted yet.") if user_id is None else f"User {user_id} hasn't voted yet."]
    counts = Counter(outcome.status for outcome in outcomes)
    summary = ", ".join(f"{counts[status]} {gettext(status.value)}" for status in VoteStatus if counts[status])
    if user_id is None:
        voted = ngettext("You voted on {count} answer:", "You voted on {count} answers:", len(outcomes))
    else:
        user = str(user_id)
        voted = ngettext(
            "User {user} voted on {count} answer:", "User {user} voted on {count} answers:", len(outcomes), user=user
        )
    return [f"{voted} {summary}.", *map(describe_outcome, outcomes)]


def describe_outcome(outcome: VoteOutcome) -> str:
    excerpt = shorten(" ".join(outcome.answer.split()), EXCERPT_CHARS)
    where = _link(f"{outcome.voted_at:%Y-%m-%d}", outcome.link)
    whose = "" if outcome.personality == DEFAULT_PERSONALITY else f"{outcome.personality}: "
    sign = outcome.emoji or SIGNS[outcome.vote]
    return f"{sign} {where} {whose}{in_quotes(escape_inline(excerpt))}: {'; '.join(_parts(outcome))}"


def _parts(outcome: VoteOutcome) -> list[str]:
    parts = [gettext(OUTCOMES[outcome.status])] if outcome.status in OUTCOMES else []
    if outcome.obstacle is not None and outcome.status is VoteStatus.NOT_TRAINABLE:
        parts = [reasoned(parts[0], gettext(OBSTACLES[outcome.obstacle]))]
    elif outcome.obstacle is not None and outcome.status in (VoteStatus.WAITING, VoteStatus.RANKED):
        parts.append(
            gettext("the answer itself is not trained on: {reason}", reason=gettext(OBSTACLES[outcome.obstacle]))
        )
    if 0 < outcome.weight < 1 and outcome.vote is not None:
        parts.append(
            gettext(
                "counts as {share} of a vote, because the account or the membership here was new",
                share=percent(outcome.weight),
            )
        )
    if outcome.taste in TASTE:
        parts.append(gettext(TASTE[outcome.taste]))
    return parts + [_use(use) for use in outcome.uses]


def _use(use: VoteUse) -> str:
    """Return the round's use of the vote, and the resulting version."""
    how = _role(use)
    if use.split is not Split.TRAIN:
        how += f" {gettext('(to decide when training stops, not to train on)')}"
    if use.version is None or use.verdict is None:
        return f"{how}; {gettext(WITHOUT_VERSION.get(use.status, NO_VERSION))}"
    result = f"{how} → **{use.version}** ({gettext(VERDICTS[use.verdict])})"
    if use.champion == use.version:
        return gettext("{result}, which answers now", result=result)
    if not use.champion:
        return result
    return gettext("{result}; {champion}, which answers now, builds on it", result=result, champion=use.champion)


def _role(use: VoteUse) -> str:
    if use.role is PairRole.REJECTED and use.source in (PairSource.CORRECTION, PairSource.CORRECTED_SAMPLE):
        how = gettext_noop("a suggested answer was preferred to it in round {round}")
    elif use.role is PairRole.RANKING:
        how = gettext_noop("helped to rank the answers of round {round}")
    elif use.role is PairRole.CHOSEN:
        how = (
            gettext_noop("used as the better answer in round {round}")
            if use.vote is Vote.UP
            else gettext_noop("used as the better answer in round {round}, against your vote")
        )
    else:
        how = (
            gettext_noop("used as the worse answer in round {round}, against your vote")
            if use.vote is Vote.UP
            else gettext_noop("used as the worse answer in round {round}")
        )
    return gettext(how, round=str(use.round_id))


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
        *(f"  round {r.id} learned from it: {r.status}{f', {r.version}' if r.version else ''}" for r in reply.rounds),
    ]


def name_actor(recorded: str) -> str:
    """Return the recorded actor; a part of the program is named in the present language."""
    return gettext(recorded) if recorded in PARTS else recorded
