"""Texts about the comparison of a new version with the champion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from bot.localization.sentences import gettext, ngettext, number, translated
from storage.releases.contests import Contest, LeftOut, Standing
from storage.releases.versions import Version, name_of
from storage.wording import gettext_noop

Reason = TypeVar("Reason")
LEFT_OUT = {
    LeftOut.NEW: gettext_noop("by new accounts or members"),
    LeftOut.REPEATED: gettext_noop("on a question that was decided before"),
    LeftOut.BEYOND_SHARE: gettext_noop("waiting until others choose"),
    LeftOut.OPTED_OUT: gettext_noop("by people who forbade learning"),
    LeftOut.QUARANTINED: gettext_noop("on hold"),
    LeftOut.OTHER_STRENGTH: gettext_noop("on answers at another strength"),
}
MANY_CHOICES = 500
"""If more choices than this are missing, no estimate is shown, because it would not help an admin."""
FEWEST_CHOICES = 7
"""Number of choices that decide if they all agree."""
SLOW = 10.0
"""With fewer votes and choices a week, second answers in chat alone do not decide before a round replaces the version
(simulated: at 5 a week never within 12 weeks, with 70 choices of one person in a sitting in 1.1 to 2.9)."""


def what_decides(contest: Contest, weekly: float) -> str:
    """Return the choices that would decide about the version; where people say little, name `/choose` as the way."""
    if contest.is_as_good:
        return gettext(
            "{version} is as good as {champion}, within ten points, and needs no examples for it: an admin may promote "
            "it with `/version promote {version} override:True reason:as good`.",
            version=contest.rival.name,
            champion=name_of(contest.champion),
        )
    said = describe_choices_left(contest)
    if weekly < SLOW:
        slow = ngettext(
            "People vote and choose so rarely here ({count} vote or choice a week) that only `/choose` will decide.",
            "People vote and choose so rarely here ({count} votes and choices a week) that only `/choose` will decide.",
            round(weekly),
        )
        return f"{said} {slow}"
    return f"{said} {gettext('`/choose` shows ten comparisons.')}"


def choices_left(contest: Contest) -> int | None:
    """Return about how many more choices decide; None if neither version leads, or only very many would."""
    left = contest.forecast.choices_left
    return None if left is None or left > MANY_CHOICES else left


def describe_choices_left(contest: Contest) -> str:
    """Return about how many more choices decide about the version."""
    left = choices_left(contest)
    names = {"version": contest.rival.name, "champion": name_of(contest.champion)}
    if contest.forecast.needs_people:
        return gettext("Choices of more people decide whether {version} is better than {champion}.", **names)
    if left is None:
        return gettext(
            "{count} choices or more that agree decide whether {version} is better than {champion}.",
            count=FEWEST_CHOICES,
            **names,
        )
    return ngettext(
        "About {count} more choice decides between {version} and {champion}.",
        "About {count} more choices decide between {version} and {champion}.",
        left,
        **names,
    )


def describe_contest(contest: Contest, viewer_id: int | None = None) -> str:
    """Return people's choices so far, as in "v3 leads 14 to 6 in blind comparisons; about 12 more choices decide".

    An admin's own verdict stands beside that of members; `viewer_id` is who reads this.
    """
    members, version, champion = contest.members, contest.rival.name, name_of(contest.champion)
    if contest.admins:
        return " ".join(filter(None, [_verdicts(contest, viewer_id), _left_out(members)]))
    if not members.wins + members.losses + members.ties and not members.left_out:
        return gettext(
            "{version} waits for members' choices: nobody has compared it with {champion} yet.",
            version=version,
            champion=champion,
        )
    left = choices_left(contest)
    if members.needs_people:
        more = gettext("other people have to choose too before this is decided")
    elif left is None:
        more = gettext("undecided so far")
    else:
        more = ngettext("about {count} more choice decides", "about {count} more choices decide", left)
    so_far = lead(version, members.wins, members.losses)
    if members.ties:
        so_far += " " + gettext("({ties} about the same)", ties=members.ties)
    if members.people:
        so_far += ", " + ngettext("by {count} member", "by {count} members", members.people)
    return " ".join(filter(None, [f"{so_far}; {translated(contest.dead_end) or more}.", _left_out(members)]))


def lead(version: str, wins: int, losses: int) -> str:
    """Return the leader, as in "v3 leads 14 to 6 in blind comparisons"."""
    names = {"version": version, "wins": wins, "losses": losses}
    if wins == losses:
        return gettext("{version} is level {wins} to {losses} in blind comparisons", **names)
    if wins > losses:
        return gettext("{version} leads {wins} to {losses} in blind comparisons", **names)
    return gettext("{version} trails {wins} to {losses} in blind comparisons", **names)


def _left_out(standing: Standing) -> str:
    """Return the number of choices that count, and the reasons why the others do not."""
    left_out, counted = standing.left_out, standing.wins + standing.losses
    others = sum(left_out.values())
    if not others:
        return ""
    return gettext(
        "{counted} of {all} choices count, the others not: {reasons}.",
        counted=counted,
        all=counted + others,
        reasons=count_reasons(left_out, LEFT_OUT),
    )


def count_reasons(numbers: Mapping[Reason, int], words: Mapping[Reason, str]) -> str:
    """Return for example "3 on hold, 2 by new accounts or members", in the order of the words."""
    return ", ".join(f"{number(numbers[why])} {gettext(said)}" for why, said in words.items() if why in numbers)


def _verdicts(contest: Contest, viewer_id: int | None) -> str:
    """Return each verdict, as in "v3 against v2: you 19 to 5, members 4 to 2"."""
    verdicts = [
        gettext("you {score}", score=_score(own))
        if admin == viewer_id
        else gettext("an admin {score}", score=_score(own))
        for admin, own in sorted(contest.admins.items(), key=lambda one: one[0] != viewer_id)
    ]
    verdicts.append(gettext("members {score}", score=_score(contest.members)))
    is_members = not contest.has_few_members and any(own.is_decided for own in contest.admins.values())
    said = gettext(
        "{version} against {champion}: {verdicts}.",
        version=contest.rival.name,
        champion=name_of(contest.champion),
        verdicts=", ".join(verdicts),
    )
    decides = gettext("Members' choices decide; an admin may promote it earlier.")
    return f"{said} {decides}" if is_members else said


def _score(standing: Standing) -> str:
    said = gettext("{wins} to {losses}", wins=standing.wins, losses=standing.losses)
    return f"{said} {gettext('({ties} about the same)', ties=standing.ties)}" if standing.ties else said


def how_to_choose() -> str:
    return gettext(
        "Some answers in chat are blind comparisons. `/choose` shows ten more, and `/arena start` asks everybody at "
        "once."
    )


def describe_luck(champion: Version | None, compared: int) -> str:
    """Return a warning that one of several versions may be ready by luck; empty if only one was compared."""
    if compared <= 1:
        return ""
    return gettext(
        "People have compared {count} versions with {champion} so far: each may be ready by luck in 1 of 20 cases.",
        count=compared,
        champion=name_of(champion),
    )
