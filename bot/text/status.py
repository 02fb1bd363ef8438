"""The words of `/version status`: the version that answers, the next one, its data, and the tokens spent."""

from __future__ import annotations

from bot.engine import EngineState
from bot.localization.sentences import day, decimal, gettext, listing, ngettext, sentence, translated
from bot.text.contests import count_reasons, describe_contest, describe_luck, how_to_choose, what_decides
from bot.text.releases import details_hint, promote_hint, with_reason
from bot.text.rounds import describe_round, describe_trainers
from bot.text.taste import describe_choosing, describe_counts, describe_now
from storage.database.enums import GateVerdict
from storage.insights.model_status import ModelStatus, NextDecision
from storage.operations.token_spend import Spend, is_used_up
from storage.privacy.consent import describe_bases
from storage.releases.versions import Version, name_of
from storage.settings.sections import RemoteSettings, Settings
from storage.training.feedback import Outlook
from storage.votes.weights import ACCOUNT_AGE, MEMBERSHIP, OPT_OUT, QUARANTINE, WRONG_FACT
from storage.wording import gettext_noop

UNCOUNTED = {
    ACCOUNT_AGE: gettext_noop("by new accounts"),
    MEMBERSHIP: gettext_noop("by new members"),
    QUARANTINE: gettext_noop("on hold or left out"),
    WRONG_FACT: gettext_noop("about a wrong fact"),
    OPT_OUT: gettext_noop("by people who forbade learning"),
}


def describe_status(
    status: ModelStatus,
    settings: Settings,
    *,
    base_name: str,
    engine: EngineState,
    problem: str | None,
    learns_from_all: bool,
    viewer_id: int | None = None,
) -> list[str]:
    """Return lines on the version that answers and the next decision, on the next version and its data, on the trainer.

    `problem` is why the champion cannot answer; `learns_from_all` is true outside Discord, where nobody has to opt in.
    """
    answers = [
        what_decides_next(status),
        gettext(
            "**Version in use:** {version} on {base} (previous version: {previous})",
            version=name_of(status.now.champion),
            base=base_name,
            previous=status.last_good.target,
        ),
        gettext("It has answered since {date}.", date=day(status.now.since)) if status.now.since else "",
        describe_marked_champion(status.now.champion),
        describe_now(status.now),
        f"⚠️ {sentence(translated(problem))}" if problem else "",
        f"🐢 {sentence(translated(engine.who_answers()))}" if engine.is_slow else "",
    ]
    learns = [
        _next_version(status, viewer_id),
        gettext("**Votes:** {votes}", votes=describe_counted(status.outlook)),
        describe_choosing(status.gain) if status.gain else "",
        _next_round(status, settings),
    ]
    trains = [
        describe_today(status.spent, settings.remote) if settings.model.engine == "remote" else "",
        gettext("**Trainer:** {state}", state=_trainer(status, settings.training.schedule)),
        gettext("Everything said here may be used for training.")
        if learns_from_all
        else gettext(describe_bases(settings.privacy)),
        describe_round(status.latest_round) if status.latest_round else "",
    ]
    return ["\n".join(filter(None, lines)) for lines in (answers, learns, trains)]


def describe_marked_champion(champion: Version | None) -> str:
    """Return the next step for a champion that learned from since-deleted data; empty otherwise."""
    if champion is None or not champion.trained_on_deleted_data:
        return ""
    return gettext(
        "⚠️ {version} learned from data that was later deleted. The next round learns without that data; promote its "
        "version to replace {version}.",
        version=champion.name,
    )


def what_decides_next(status: NextDecision) -> str:
    """Return what decides about the next version; empty if that waits for nothing that people do."""
    if status.contest is not None:
        return what_decides(status.contest, status.said_weekly)
    if status.newest is not None and status.newest.verdict is GateVerdict.PASS:
        ready = status.newest.name
        return gettext("An admin decides about {version} now: `/version promote {version}`.", version=ready)
    if status.first_choices_left:
        return ngettext(
            "{count} more choice makes a good first round: `/choose` shows ten comparisons.",
            "{count} more choices make a good first round: `/choose` shows ten comparisons.",
            status.first_choices_left,
        )
    return ""


def _next_version(status: ModelStatus, viewer_id: int | None) -> str:
    if status.contest is not None:
        said = describe_contest(status.contest, viewer_id)
        luck = describe_luck(status.contest.champion, status.compared)
        news = " ".join(filter(None, [said, how_to_choose(), luck]))
        return gettext("**Next version:** {news}", news=news)
    newest = status.newest
    if newest is None:
        return ""
    if newest.verdict is GateVerdict.PASS:
        said, then = gettext("{version} is ready", version=newest.name), promote_hint(newest.name)
    else:
        dropped = gettext("{version} was dropped", version=newest.name)
        failed = gettext("{version} failed the checks", version=newest.name)
        said, then = dropped if newest.contest else failed, details_hint(newest.name)
    return gettext("**Next version:** {news}", news=f"{with_reason(said, newest)}. {then}")


def _next_round(status: ModelStatus, settings: Settings) -> str:
    feedback = status.outlook.pairs
    parts = [
        ngettext(
            "{count} question with liked and disliked answers",
            "{count} questions with liked and disliked answers",
            feedback.compared,
        )
        if feedback.compared
        else "",
        ngettext("{count} question with choices", "{count} questions with choices", feedback.choices)
        if feedback.choices
        else "",
        ngettext("{count} suggested answer", "{count} suggested answers", feedback.suggestions)
        if feedback.suggestions
        else "",
    ]
    needed = ngettext(
        "**For the next round:** {found}; a round needs {count} pair.",
        "**For the next round:** {found}; a round needs {count} pairs.",
        settings.training.min_pairs,
        found=listing([*filter(None, parts)]) or gettext("nothing from members yet"),
    )
    return f"{needed} {_ranking(status, settings)}"


def _ranking(status: ModelStatus, settings: Settings) -> str:
    if not settings.pairs.ranked_prompts:
        return gettext("Training uses only members' own comparisons (pairs.ranked_prompts = 0).")
    if status.outlook.taste.may_rank:
        return gettext(
            "I add pairs of my own answers to up to {prompts} prompts, where I am sure what members like.",
            prompts=settings.pairs.ranked_prompts,
        )
    return sentence(translated(status.outlook.taste.why_unsure))


def _trainer(status: ModelStatus, schedule: str) -> str:
    if not status.trainers:
        return gettext("not running; start it with `reactune trainer`")
    when = gettext("scheduled at `{schedule}` UTC", schedule=schedule) if schedule else gettext("no schedule")
    return f"{describe_trainers(status.trainers, status.running)}; {when}"


def describe_counted(outlook: Outlook) -> str:
    """Return the numbers of what counts, and of the votes that do not, with the reasons."""
    votes = outlook.votes
    said = [f"{describe_counts(outlook.counts)}."]
    if votes.uncounted:
        said.append(
            ngettext(
                "Of {given} votes given, {count} does not count: {reasons}.",
                "Of {given} votes given, {count} do not count: {reasons}.",
                votes.given - votes.counted,
                given=votes.given,
                reasons=count_reasons(votes.uncounted, UNCOUNTED),
            )
        )
    if votes.in_part:
        said.append(
            ngettext(
                "{count} vote counts in part, because the account or the membership was new.",
                "{count} votes count in part, because the account or the membership was new.",
                votes.in_part,
            )
        )
    return " ".join(said)


def describe_spend(spent: Spend, settings: RemoteSettings) -> str:
    """Return the day's tokens with the limit and the price, if these are set."""
    tokens, limit = spent.tokens, settings.tokens_per_day
    said = (
        gettext("{tokens} of {limit} tokens today (UTC)", tokens=tokens, limit=limit)
        if limit
        else gettext("{tokens} tokens today (UTC)", tokens=tokens)
    )
    cost = spent.cost(settings)
    return gettext("{spent}, {cost} at your prices", spent=said, cost=decimal(cost, 2)) if cost else said


def describe_today(spent: Spend, settings: RemoteSettings) -> str:
    """Return the line of the status."""
    said = gettext("**Spent:** {spent}", spent=describe_spend(spent, settings))
    return f"{said}; ⚠️ {gettext('nothing is answered before midnight UTC')}" if is_used_up(spent, settings) else said
