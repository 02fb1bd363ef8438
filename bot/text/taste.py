"""The words of `/taste`: people's likings, their strength, examples, and open questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bot.localization.sentences import day, gettext, in_quotes, listing, ngettext, percent, reasoned, sentence
from bot.text.sanitize import escape_inline, quote_plainly
from storage.insights.taste_report import AnsweringNow, ShownEffect, TasteReport
from storage.statistics import DECISIVE
from storage.taste.acting import TasteRole
from storage.taste.gain import CandidateGain
from storage.taste.learning import FEWEST, REFUTED, UNJUDGED, LearnedTaste
from storage.taste.likings import Effect, likings
from storage.votes.votes import FeedbackCounts
from storage.wording import gettext_noop, shorten

QUOTE_CHARS = 110
MOST_E_VALUE = 1_000
"""E-value from which its size says nothing more."""
MOST_IN_NEWS = 3
STYLE_ONLY = gettext_noop("I see style only, not whether an answer is right, funny or helpful.")
SWITCHED_OFF = gettext_noop(
    "I don't learn from reactions here: the operator has turned that off (privacy.learn_from_reactions)."
)


def describe_now(now: AnsweringNow) -> str:
    """Return the effects of the taste on answers, besides the version or without one."""
    if now.champion is None and now.taste_acts:
        learned = gettext("No version answers yet, but people's votes already shape the answers.")
        return " ".join([learned, *what_acts(now)])
    if now.champion is not None or now.is_switched_off:
        return " ".join(what_acts(now))
    if now.follows_card:
        return gettext("The personality has not learned yet and follows the examples on its card.")
    return gettext("The personality has not learned yet.")


def what_acts(now: AnsweringNow) -> list[str]:
    """Return sentences about the taste's effects without a version, or besides it."""
    said = []
    if now.is_switched_off:
        said.append(
            gettext(
                "An admin has decided that answers, examples and rounds don't follow what members like. `/taste "
                "switch:on` changes that."
            )
        )
    if now.chooses:
        said.append(gettext("I begin several answers and finish the one that members would like best."))
    if now.order:
        said.append(gettext("I follow one order, because it brings what members like: “{order}”", order=now.order))
    if now.follows_card:
        said.append(gettext("I follow the examples on the card."))
    if now.liked:
        said.append(
            ngettext(
                "I follow {count} example that I wrote myself, in the style that members like.",
                "I follow {count} examples that I wrote myself, in the style that members like.",
                len(now.liked),
            )
        )
    return said


def describe_picture(report: TasteReport) -> str:
    """Return the picture's content in words, for people who cannot see it."""
    said = describe_finding(report)
    return said if report.is_empty else f"{said} {describe_use(report)} {describe_unknown(report)}"


def taste_text(report: TasteReport) -> str:
    """Return the same for a terminal."""
    return "\n".join(taste_lines(report, str))


def taste_lines(report: TasteReport, escaped: Callable[[str], str] = escape_inline) -> list[str]:
    lines = [describe_finding(report)]
    if not report.is_learning:
        return lines
    if report.is_empty:
        return [*lines, describe_now(report.now)] if report.now.is_switched_off else lines
    since = gettext("First vote: {date}.", date=day(report.since)) if report.since else ""
    lines.append(" ".join(filter(None, (describe_use(report), since))))
    lines += [f"- {describe_effect(effect, report)}" for effect in report.effects]
    for sign, answers in (("👍", report.liked), ("👎", report.disliked)):
        lines += [f"{sign} {_quoted(answer, escaped)}" for answer in answers]
    lines.append(describe_now(report.now))
    lines += [f"✏️ {_quoted(answer, escaped)}" for answer in report.now.liked]
    return [*filter(None, lines), describe_unknown(report)]


def _quoted(answer: str, escaped: Callable[[str], str]) -> str:
    return in_quotes(escaped(shorten(quote_plainly(answer), QUOTE_CHARS)))


def describe_finding(report: TasteReport) -> str:
    if not report.is_learning:
        return gettext(SWITCHED_OFF)
    return describe_liked(report.counts, report.effects)


def describe_liked(counts: FeedbackCounts, told: Sequence[ShownEffect]) -> str:
    """Return a sentence such as "After 9 votes by 4 members, members like: shorter answers (sure)."."""
    if not counts.total:
        return gettext("Nobody has voted yet, so I can't say what members like. Every 👍 and 👎 helps.")
    counted = describe_counts(counts)
    if not told:
        return gettext(
            "After {votes}, I can't tell yet what members like. Every 👍 and 👎 helps; a 👎 helps most.",
            votes=counted,
        )
    return gettext("After {votes}, members like: {liked}.", votes=counted, liked=name_likings(told))


def describe_liked_so_far(told: Sequence[Effect | ShownEffect]) -> str:
    """Return what members like, without a number of votes: the page shows one, and the taste may lag behind it."""
    if told:
        return gettext("Going by everything so far, members like: {liked}.", liked=name_likings(told))
    return gettext("I can't tell yet what members like.")


def describe_beginning(role: TasteRole, taste: LearnedTaste, *, by_examples: bool, by_rounds: bool) -> str:
    """Return the news that the taste acts from now on; `by_examples` and `by_rounds` tell on what."""
    votes = count_kinds(taste.counts)
    liked = name_likings(likings(taste, MOST_IN_NEWS))
    if role is TasteRole.CHOOSING:
        sees = gettext("After {votes}, I begin to see what members like: {liked}.", votes=votes, liked=liked)
        learns = gettext("After {votes}, I begin to learn what members like.", votes=votes)
        acts = [gettext("From now on, I begin several answers and finish the one that members would like best.")]
    else:
        sees = gettext(
            "After {votes}, I've seen enough to train on what members like: {liked}.", votes=votes, liked=liked
        )
        learns = gettext("After {votes}, I've seen enough to train on what members like.", votes=votes)
        acts = [
            *([gettext("From now on, new versions of me learn it.")] if by_rounds else []),
            *([gettext("Until one answers, I follow answers of my own in that style.")] if by_examples else []),
        ]
    return " ".join([sees if liked else learns, *acts, gettext("`/taste` says more.")])


def describe_switch(*, on: bool) -> str:
    """Return the effects of switching a personality's taste on or off."""
    if on:
        return gettext(
            "Switched on: once I know enough of what members like, my answers, examples and training follow it."
        )
    return gettext(
        "Switched off: from the next answer on, neither answers nor examples nor training follow what members like. I "
        "still learn it from votes; `/taste switch:on` lets it act again."
    )


def name_likings(told: Sequence[Effect | ShownEffect]) -> str:
    """Return for example "shorter answers (sure), emoji (a guess)"."""
    return ", ".join(f"{gettext(effect.words)} ({gettext(effect.sureness or '')})" for effect in told)


def describe_counts(counts: FeedbackCounts) -> str:
    """Return for example "12 votes and 1 choice by 3 members"."""
    if not counts.people:
        return count_kinds(counts)
    by = ngettext("{count} member", "{count} members", counts.people)
    return gettext("{votes} by {members}", votes=count_kinds(counts), members=by)


def count_kinds(counts: FeedbackCounts) -> str:
    """Return the number of each kind, such as "12 votes and 1 choice"."""
    parts = [
        ngettext("{count} vote", "{count} votes", counts.votes) if counts.votes or not counts.total else "",
        ngettext("{count} choice", "{count} choices", counts.choices) if counts.choices else "",
        ngettext("{count} suggested or replaced answer", "{count} suggested or replaced answers", counts.others)
        if counts.others
        else "",
    ]
    return listing(list(filter(None, parts)))


def describe_use(report: TasteReport) -> str:
    """Return whether the taste is used, the reason, and its uses."""
    used, why = use_and_reason(report)
    if not report.now.chooses:
        return sentence(reasoned(used, why))
    both = gettext("New versions learn it too, and I follow examples in that style.")
    versions = gettext("New versions learn it too.")
    follows = versions if report.now.champion else both  # a version is shown no examples
    waits = (
        gettext(
            "New versions learn it too. I don't follow such examples yet: the votes do not show clearly enough what "
            "members like."
        )
        if report.ranks
        else gettext(
            "New versions don't learn it yet, nor do I follow such examples: the votes do not show clearly enough "
            "what members like."
        )
    )
    return f"{sentence(reasoned(used, why))} {follows if report.teaches else waits}"


def use_and_reason(report: TasteReport) -> tuple[str, str]:
    """Return whether the taste is used, and why, as two halves of a sentence."""
    votes = report.learned
    if why := _why_it_may_not(report):
        return gettext("I don't use it"), why
    if votes < FEWEST:
        left = FEWEST - votes
        needs = ngettext("it needs {count} more vote or choice", "it needs {count} more votes or choices", left)
        return gettext("I don't use it yet"), needs
    if votes <= UNJUDGED:
        return gettext("I use it to choose answers, but have not tested it yet"), ngettext(
            "I start testing it after {count} more vote or choice",
            "I start testing it after {count} more votes or choices",
            UNJUDGED + 1 - votes,
        )
    if not report.now.chooses:
        return gettext("I don't use it now"), gettext("it guesses votes worse than always guessing the average")
    if report.e_value < 1:
        return gettext("I use it to choose answers"), gettext(
            "so far it guesses votes no better than always guessing the average"
        )
    clearly = gettext_noop("it guesses votes clearly better than always guessing the average")
    as_well = gettext_noop("it guesses votes at least as well as always guessing the average")
    return gettext("I use it to choose answers"), gettext(clearly if report.e_value >= DECISIVE else as_well)


def _why_it_may_not(report: TasteReport) -> str:
    """Return the decision of people by which the taste chooses nothing, or an empty text."""
    if report.now.is_switched_off:
        return gettext("an admin has switched it off")
    if not report.chooses:
        return gettext("the bot begins one answer only (generation.candidates is 1), so there is nothing to choose")
    return ""


def describe_e_value(e_value: float) -> str:
    """Return the e-value of the taste's predictions, for the details of a page."""
    value = f"over {MOST_E_VALUE:,}" if e_value >= MOST_E_VALUE else f"{e_value:.3g}"
    return f"E-value of its predictions against the share of 👍: {value}. Below {REFUTED:g} they are not used."


def describe_effect(effect: ShownEffect, report: TasteReport) -> str:
    """Return for example "shorter answers: 61 → 72% 👍 (sure)"."""
    outcome = "👍" if report.counts.votes else gettext("chosen")
    return f"{gettext(effect.words)}: {describe_gain(effect)} {outcome} ({gettext(effect.sureness)})"


def describe_gain(effect: ShownEffect) -> str:
    return f"{100 * effect.share_before:.0f} → {percent(effect.share_after)}"


def describe_unknown(report: TasteReport) -> str:
    """Return the likings that votes leave open so far, and those that no vote can show."""
    if not report.open_questions:
        return gettext(STYLE_ONLY)
    asked = listing([gettext(question) for question in report.open_questions], "or")
    unknown = gettext("I can't tell yet whether members like {asked}.", asked=asked)
    return f"{unknown} {gettext(STYLE_ONLY)}"


def describe_choosing(gain: CandidateGain) -> str:
    """Return the taste's advantage over chance in choosing among answers."""
    votes = ngettext("{count} vote", "{count} votes", gain.votes)
    return gettext(
        "**Choosing among answers:** {chosen} 👍 for the choice, {random} for a random one ({votes})",
        chosen=percent(gain.chosen),
        random=percent(gain.random),
        votes=votes if gain.is_certain else gettext("{votes}; this could be chance", votes=votes),
    )
