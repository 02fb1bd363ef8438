"""The weekly message: what people taught, what came of it, and what to do next."""

from __future__ import annotations

from bot.localization.sentences import day_of_year, gettext, listing, ngettext
from bot.text.taste import count_votes, name_likings
from storage.database.enums import GateVerdict
from storage.insights.week import Week


def describe_week(week: Week) -> str:
    dates = {"begins": day_of_year(week.begins), "ends": day_of_year(week.ends)}
    lines = [
        f"🗓️ **{gettext('What you taught me, {begins} to {ends}', **dates)}**",
        _said(week),
        _liked(week),
        _versions(week),
        _next_step(week),
    ]
    return "\n".join(filter(None, lines))


def _said(week: Week) -> str:
    if not (week.votes or week.choices):
        return gettext("Nobody voted or chose.")
    return gettext("I got {votes}. Thank you!", votes=count_votes(week.votes, week.choices, week.people))


def _liked(week: Week) -> str:
    if week.liked:
        return gettext("By everything so far, people like: {liked}.", liked=name_likings(week.liked))
    return gettext("I can't tell yet what people like.")


def _versions(week: Week) -> str:
    said = []
    if week.made:
        said.append(
            ngettext(
                "A new version was made: {versions}.",
                "New versions were made: {versions}.",
                len(week.made),
                versions=listing([version.name for version in week.made]),
            )
        )
    if week.was_promoted:
        said.append(gettext("{version} answers since this week.", version=week.champion.target))
    if week.rival:
        names = {"version": week.rival.name, "champion": week.champion.target}
        said.append(gettext("{version} is being compared with {champion}, blind.", **names))
    return " ".join(said)


def _next_step(week: Week) -> str:
    if week.rival:
        said = gettext("Next: `/choose` shows ten blind pairs; they decide about {version}.", version=week.rival.name)
    elif week.newest and week.newest.verdict is GateVerdict.PASS:
        version = week.newest.name
        said = gettext("Next: an admin decides about {version}, with `/model promote {version}`.", version=version)
    elif week.first_choices_left:
        said = ngettext(
            "Next: {count} more choice makes a good first version. `/choose` shows ten pairs.",
            "Next: {count} more choices make a good first version. `/choose` shows ten pairs.",
            week.first_choices_left,
        )
    else:
        said = gettext("Next: `/choose` shows ten pairs, and each choice says more than a thumb.")
    return said
