"""People's comparison of a new version with the one in use, as the pages show it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from bot.console.page import Here
from bot.localization.sentences import sentence
from bot.text.contests import describe_choices_left, describe_contest
from bot.text.releases import describe_verdict
from storage.insights.model_status import newest_after
from storage.releases.contests import read_contest
from storage.releases.versions import name_of, read_alias


@dataclass(frozen=True)
class ShownContest:
    version: str
    champion: str
    so_far: str
    left: str
    """About how many choices are missing; empty if `so_far` says it."""
    counted: int
    needed: int | None
    """Number of choices that will probably decide; None while neither side leads."""


def show_contest(session: Session, here: Here) -> ShownContest | None:
    """Return the comparison that goes on; None if there is none."""
    contest = read_contest(session, here.personality.id, here.services.settings.votes)
    if contest is None:
        return None
    standing = contest.admins.get(here.visitor.user_id, contest.evidence)
    counted, left = standing.wins + standing.losses, standing.choices_left
    return ShownContest(
        version=contest.rival.name,
        champion=name_of(contest.champion),
        so_far=describe_contest(contest, here.visitor.user_id),
        left=describe_choices_left(contest) if contest.admins or left is None else "",
        counted=counted,
        needed=counted + left if left else None,
    )


def show_decision(session: Session, here: Here) -> str:
    """Return what people decided about the newest version; empty if they did not, or if it answers already."""
    champion = read_alias(session, here.personality.id).version
    newest = newest_after(session, here.personality.id, champion)
    return sentence(f"{newest.name}: {describe_verdict(newest)}") if newest and "reason" in newest.evidence else ""
