"""The words of `/taste`: what people like, how much more, examples, and what is not known yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bot.localization.sentences import day, decimal, gettext, listing, ngettext, number, percent
from bot.text.rounds import sentence
from bot.text.sanitize import escape_inline, quote_plainly
from storage.insights.taste_report import ShownEffect, ShownEmoji, ShownWeakVote, TasteReport
from storage.taste.gain import CandidateGain
from storage.taste.learning import FEWEST, UNJUDGED
from storage.taste.words import Effect
from storage.wording import gettext_noop, shorten

QUOTE_CHARS = 110
SAME = 0.1
"""Weights as close to a thumb's are told as the same."""
CLEAR_EVIDENCE = 20.0
"""E-value from which chance is a poor explanation: it reaches this at most once in twenty times."""
MOST_EVIDENCE = 1_000
"""E-value from which its size says nothing more."""
EXAMPLES = gettext_noop("Until a new version answers, I follow these examples, which I wrote for the prompt bank:")
STYLE_ONLY = gettext_noop("I see style only, not whether an answer is right, funny or helpful.")
SWITCHED_OFF = gettext_noop(
    "I don't learn from reactions here: the operator has turned that off (privacy.learn_from_reactions)."
)


def taste_lines(report: TasteReport) -> list[str]:
    return _taste_lines(report, escape_inline)


def describe_picture(report: TasteReport) -> str:
    """Return what the picture says, for people who cannot see it."""
    said = describe_finding(report)
    return said if report.is_empty else f"{said} {describe_use(report)} {describe_unknown(report)}"


def taste_text(report: TasteReport) -> str:
    """Return the same for a terminal."""
    return "\n".join(_taste_lines(report, str))


def _taste_lines(report: TasteReport, escaped: Callable[[str], str]) -> list[str]:
    lines = [describe_finding(report)]
    if not report.is_learning or report.is_empty:
        return lines
    since = gettext("First vote: {date}.", date=day(report.since)) if report.since else ""
    lines.append(" ".join(filter(None, (describe_use(report), since))))
    lines += [f"- {describe_effect(effect, report)}" for effect in report.effects]
    for sign, answers in (("👍", report.liked), ("👎", report.disliked)):
        lines += [f"{sign} {_quoted(answer, escaped)}" for answer in answers]
    lines += [describe_emoji(one) for one in report.emoji if one.is_learned]
    lines += describe_weak(report)
    if report.examples:
        lines += [gettext(EXAMPLES), *(f"✏️ {_quoted(answer, escaped)}" for answer in report.examples)]
    if report.order:
        lines.append(describe_order(report.order))
    if report.follows_card:
        lines.append(gettext("No version answers now, so I follow the examples on the card too."))
    return [*lines, describe_unknown(report)]


def _quoted(answer: str, escaped: Callable[[str], str]) -> str:
    return f"“{escaped(shorten(quote_plainly(answer), QUOTE_CHARS))}”"


def describe_finding(report: TasteReport) -> str:
    if not report.is_learning:
        return gettext(SWITCHED_OFF)
    return describe_liked(report.votes, report.choices, report.voters, report.effects)


def describe_liked(votes: int, choices: int, voters: int, told: Sequence[ShownEffect]) -> str:
    """Return a sentence such as "After 9 votes by 4 members, people like: shorter answers (sure), emoji (a guess)."."""
    if votes + choices == 0:
        return gettext("Nobody has voted yet, so I can't say what people like. Every 👍 and 👎 helps.")
    counted = count_votes(votes, choices, voters)
    if not told:
        return gettext(
            "After {votes}, I can't tell yet what people like. More 👍 and 👎 help, and 👎 says the most.",
            votes=counted,
        )
    return gettext("After {votes}, people like: {liked}.", votes=counted, liked=name_likings(told))


def name_likings(told: Sequence[Effect | ShownEffect]) -> str:
    """Return for example "shorter answers (sure), emoji (a guess)"."""
    return ", ".join(f"{gettext(effect.words)} ({gettext(effect.sureness or '')})" for effect in told)


def count_votes(votes: int, choices: int, voters: int) -> str:
    """Return for example "12 votes and 1 choice by 3 members"."""
    counted = count_kinds(votes, choices) or ngettext("{count} vote", "{count} votes", 0)
    if not voters:
        return counted
    by = ngettext("{count} member", "{count} members", voters)
    return gettext("{votes} by {members}", votes=counted, members=by)


def count_kinds(votes: int, choices: int, weak_votes: int = 0) -> str:
    """Return what there is of each kind, such as "12 votes and 1 choice"."""
    parts = [
        ngettext("{count} vote", "{count} votes", votes) if votes else "",
        ngettext("{count} choice", "{count} choices", choices) if choices else "",
        ngettext("{count} weak vote", "{count} weak votes", weak_votes) if weak_votes else "",
    ]
    return listing(list(filter(None, parts)))


def describe_use(report: TasteReport) -> str:
    """Return in one sentence whether the taste is used, and why."""
    used, why = use_and_reason(report)
    return sentence(f"{used}: {why}")


def use_and_reason(report: TasteReport) -> tuple[str, str]:
    """Return whether the taste is used, and why, as two halves of a sentence."""
    votes = report.votes + report.choices
    if not report.chooses:
        return gettext("It is not used"), gettext(
            "the bot begins one answer only (generation.candidates is 1), so there is nothing to choose"
        )
    if votes < FEWEST:
        return gettext("It is not used yet"), gettext("it needs {votes} votes", votes=FEWEST)
    if votes <= UNJUDGED:
        return gettext("It is used, but not judged yet"), gettext(
            "from vote {vote} on, votes are predicted before they are learned", vote=UNJUDGED + 1
        )
    value = _e_value(report.evidence)
    if not report.is_used:
        why = gettext("the share of 👍 alone predicts votes better (e-value {value})", value=value)
        return gettext("It is not used now"), why
    clearly = gettext_noop("it predicts votes clearly better than the share of 👍 alone does (e-value {value})")
    as_well = gettext_noop("it predicts votes at least as well as the share of 👍 alone does (e-value {value})")
    return gettext("It is used"), gettext(clearly if report.evidence >= CLEAR_EVIDENCE else as_well, value=value)


def _e_value(evidence: float) -> str:
    if evidence >= MOST_EVIDENCE:
        return gettext("over {number}", number=MOST_EVIDENCE)
    return number(evidence, 0 if evidence >= 10 else 1 if evidence >= 1 else 3)


def describe_effect(effect: ShownEffect, report: TasteReport) -> str:
    """Return for example "shorter answers: 61 → 72% 👍 (sure)"."""
    outcome = "👍" if report.votes else gettext("chosen")
    return f"{gettext(effect.words)}: {describe_gain(effect)} {outcome} ({gettext(effect.sureness)})"


def describe_gain(effect: ShownEffect) -> str:
    return f"{100 * effect.share_before:.0f} → {percent(effect.share_after)}"


def describe_emoji(one: ShownEmoji) -> str:
    """Return for example "Here a ❤️ counts 1.9 times as much as a 👍 (95% interval 1.4 to 2.5, 63 votes)."."""
    same = gettext_noop("Here a {emoji} counts about as much as a {thumb} ({interval}, {votes}).")
    more = gettext_noop("Here a {emoji} counts {times} times as much as a {thumb} ({interval}, {votes}).")
    values = {
        "emoji": one.emoji,
        "thumb": one.thumb,
        "interval": _interval(one),
        "votes": ngettext("{count} vote", "{count} votes", one.votes),
    }
    if abs(one.weight - 1) < SAME:
        return gettext(same, **values)
    return gettext(more, times=decimal(one.weight, 1), **values)


def _interval(one: ShownEmoji | ShownWeakVote) -> str:
    return gettext("95% interval {low} to {high}", low=decimal(one.low, 1), high=decimal(one.high, 1))


def describe_weak(report: TasteReport) -> list[str]:
    """Return what each kind of weak vote says, or that this cannot be told yet; nothing if there are none."""
    if report.weak_votes and not report.weak:
        return [
            ngettext(
                "{count} weak vote: too few votes tell me yet what they say.",
                "{count} weak votes: too few votes tell me yet what they say.",
                report.weak_votes,
            )
        ]
    return [_describe_kind(one) for one in report.weak]


def _describe_kind(one: ShownWeakVote) -> str:
    """Return for example "Here “thanked” counts as 0.3 of a 👍 (95% interval 0.1 to 0.5, after 40 of 120 answers)."."""
    after = ngettext(
        "after {times} of {count} answer", "after {times} of {count} answers", one.watched, times=one.times
    )
    values = {"kind": gettext(one.kind), "interval": _interval(one), "after": after}
    if one.low <= 0:
        return gettext("Here “{kind}” says nothing clear ({interval}, {after}).", **values)
    return gettext(
        "Here “{kind}” counts as {weight} of a {thumb} ({interval}, {after}).",
        weight=decimal(one.weight, 1),
        thumb=one.thumb,
        **values,
    )


def describe_order(order: str) -> str:
    """Return the order that the base is told, in its own words."""
    return gettext(
        "Until a new version answers, I follow one order, because it brings what people like: “{order}”", order=order
    )


def describe_unknown(report: TasteReport) -> str:
    """Return what the votes do not say yet, and what no vote will."""
    if not report.open_questions:
        return gettext(STYLE_ONLY)
    asked = listing([gettext(question) for question in report.open_questions], "or")
    unknown = gettext("I can't tell yet whether people like {asked}.", asked=asked)
    return f"{unknown} {gettext(STYLE_ONLY)}"


def describe_choosing(gain: CandidateGain) -> str:
    """Return how much better the taste chooses among answers than chance does."""
    votes = ngettext("{count} vote", "{count} votes", gain.votes)
    return gettext(
        "**Choosing among answers:** {chosen} 👍 for the choice, {random} for a random one ({votes})",
        chosen=percent(gain.chosen),
        random=percent(gain.random),
        votes=votes if gain.is_certain else gettext("{votes}; this could be chance", votes=votes),
    )
