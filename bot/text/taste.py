"""The words of `/taste`: what people like, how much more, examples, and what is not known yet."""

from __future__ import annotations

from collections.abc import Callable

from bot.localization.sentences import gettext, ngettext, percent
from bot.text.sanitize import escape_inline, quote_plainly
from storage.insights.taste_report import ShownEffect, ShownEmoji, ShownWeakVote, TasteReport
from storage.taste.gain import CandidateGain
from storage.wording import count, shorten

QUOTE_CHARS = 110
SAME = 0.1
"""Weights as close to a thumb's are told as the same."""
EXAMPLES = "Until a new version answers, I follow these examples, which I wrote for the prompt bank:"
STYLE_ONLY = "I see style only, not whether an answer is right, funny or helpful."


def taste_lines(report: TasteReport) -> list[str]:
    return _taste_lines(report, escape_inline)


def describe_picture(report: TasteReport) -> str:
    """Return what the picture says, for people who cannot see it."""
    return report.finding if report.is_empty else f"{report.finding} {report.use} {describe_unknown(report)}"


def taste_text(report: TasteReport) -> str:
    """Return the same for a terminal."""
    return "\n".join(_taste_lines(report, str))


def _taste_lines(report: TasteReport, escaped: Callable[[str], str]) -> list[str]:
    lines = [report.finding]
    if not report.is_learning or report.is_empty:
        return lines
    lines.append(f"{report.use} First vote: {report.since:%-d %B %Y}." if report.since else report.use)
    lines += [f"- {describe_effect(effect, report)}" for effect in report.effects]
    for sign, answers in (("👍", report.liked), ("👎", report.disliked)):
        lines += [f"{sign} {_quoted(answer, escaped)}" for answer in answers]
    lines += [describe_emoji(one) for one in report.emoji if one.is_learned]
    lines += describe_weak(report)
    if report.examples:
        lines += [EXAMPLES, *(f"✏️ {_quoted(answer, escaped)}" for answer in report.examples)]
    return [*lines, describe_unknown(report)]


def _quoted(answer: str, escaped: Callable[[str], str]) -> str:
    return f"“{escaped(shorten(quote_plainly(answer), QUOTE_CHARS))}”"


def describe_effect(effect: ShownEffect, report: TasteReport) -> str:
    """Return for example "shorter answers: 61 → 72% 👍 (sure)"."""
    outcome = "👍" if report.votes else "chosen"
    return f"{effect.words}: {describe_gain(effect)} {outcome} ({effect.sureness})"


def describe_gain(effect: ShownEffect) -> str:
    return f"{100 * effect.share_before:.0f} → {100 * effect.share_after:.0f}%"


def describe_emoji(one: ShownEmoji) -> str:
    """Return for example "Here a ❤️ counts 1.9 times as much as a 👍 (95% interval 1.4 to 2.5, 63 votes)."."""
    how = "about as much" if abs(one.weight - 1) < SAME else f"{one.weight:.1f} times as much"
    interval = f"95% interval {one.low:.1f} to {one.high:.1f}"
    return f"Here a {one.emoji} counts {how} as a {one.thumb} ({interval}, {count(one.votes, 'vote')})."


def describe_weak(report: TasteReport) -> list[str]:
    """Return what each kind of weak vote says, or that this cannot be told yet; nothing if there are none."""
    if report.weak_votes and not report.weak:
        return [f"{count(report.weak_votes, 'weak vote')}: too few votes tell me yet what they say."]
    return [_describe_kind(one) for one in report.weak]


def _describe_kind(one: ShownWeakVote) -> str:
    """Return for example "Here “thanked” counts as 0.3 of a 👍 (95% interval 0.1 to 0.5, after 40 of 120 answers)."."""
    says = "says nothing clear" if one.low <= 0 else f"counts as {one.weight:.1f} of a {one.thumb}"
    interval = f"95% interval {one.low:.1f} to {one.high:.1f}"
    return f"Here “{one.kind}” {says} ({interval}, after {one.times} of {count(one.watched, 'answer')})."


def describe_unknown(report: TasteReport) -> str:
    """Return what the votes do not say yet, and what no vote will."""
    if not report.open_questions:
        return STYLE_ONLY
    *others, last = report.open_questions
    asked = f"{', '.join(others)} or {last}" if others else last
    return f"I can't tell yet whether people like {asked}. {STYLE_ONLY}"


def describe_choosing(gain: CandidateGain) -> str:
    """Return how much better the taste chooses among answers than chance does."""
    votes = ngettext("{count} vote", "{count} votes", gain.votes)
    return gettext(
        "**Choosing among answers:** {chosen} 👍 for the choice, {random} for a random one ({votes})",
        chosen=percent(gain.chosen),
        random=percent(gain.random),
        votes=votes if gain.is_certain else gettext("{votes}; this could be chance", votes=votes),
    )
