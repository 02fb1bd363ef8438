"""Bursts of votes in quarantine, as admins read them."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from discord.utils import format_dt
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.text.lineage import SIGNS
from bot.text.sanitize import sanitize_reason
from storage.conversations.replies import message_links
from storage.database.enums import NOBODY, QuarantineRule, QuarantineStatus
from storage.database.tables import QuarantinedVoteRow
from storage.votes.decisions import Quarantine, Voter, open_quarantines, recent_decisions, voters_in
from storage.wording import count

SHOWN_VOTERS = 10
SHOWN_LINKS = 3


@dataclass(frozen=True)
class LinkedQuarantine:
    """A quarantine with links to some of the answers that were voted on."""

    quarantine: Quarantine
    links: tuple[str, ...]


@dataclass(frozen=True)
class ReviewPage:
    """The quarantine to decide on now."""

    shown: LinkedQuarantine
    voters: list[Voter]
    number: int
    """From 1, among those that are waiting."""
    waiting: int
    newest: int
    """Id of the last one that is waiting."""
    votes: int
    """In all that are waiting."""


def read_review_page(session: Session, personality_ids: Collection[int], after: int) -> ReviewPage | None:
    """Return the first waiting quarantine after the one with id `after`, or else the first; None if none is waiting."""
    waiting = open_quarantines(session, personality_ids)
    if not waiting:
        return None
    index = next((i for i, quarantine in enumerate(waiting) if quarantine.id > after), 0)
    chosen = waiting[index]
    return ReviewPage(
        with_links(session, chosen),
        voters_in(session, chosen),
        index + 1,
        len(waiting),
        waiting[-1].id,
        sum(held.votes for held in waiting),
    )


def read_decisions(session: Session, personality_ids: Collection[int]) -> list[LinkedQuarantine]:
    """Return the latest decisions, newest first."""
    return [with_links(session, quarantine) for quarantine in recent_decisions(session, personality_ids)]


def with_links(session: Session, quarantine: Quarantine) -> LinkedQuarantine:
    replies = select(QuarantinedVoteRow.reply_id).where(QuarantinedVoteRow.quarantine_id == quarantine.id)
    links = message_links(session, replies)
    return LinkedQuarantine(quarantine, tuple(links[reply_id] for reply_id in sorted(links))[:SHOWN_LINKS])


def describe_page(page: ReviewPage) -> str:
    """Return the burst, and what is known about its voters."""
    held = page.shown.quarantine
    which = f" (burst {page.number} of {page.waiting})" if page.waiting > 1 else ""
    rest = len(page.voters) - SHOWN_VOTERS
    lines = [
        f"**{_describe_burst(page.shown)}** by {count(len(held.voters), 'account')} {_span(held)}{which}",
        f"These votes don't count until you decide.{_withdrawn(held)} Voters:",
        *(f"- {_describe_voter(voter)}" for voter in page.voters[:SHOWN_VOTERS]),
        *([f"- and {rest} more"] if rest > 0 else []),
    ]
    return "\n".join(lines)


def describe_decision(shown: LinkedQuarantine) -> str:
    """Return the decision: what it was, on which votes, by whom, when and why."""
    held = shown.quarantine
    decision = "Counted" if held.status is QuarantineStatus.COUNTED else "Left out"
    when = f", {format_dt(held.decided_at, 'f')}" if held.decided_at else ""
    why = f" · “{sanitize_reason(held.reason)}”" if held.reason else ""
    accounts = count(len(held.voters), "account")
    return f"**{decision}:** {_describe_burst(shown)} by {accounts} · decided by {held.decided_by}{when}{why}"


def _describe_burst(shown: LinkedQuarantine) -> str:
    """Return how many votes of which kind on what, with links to the answers."""
    held, links = shown.quarantine, shown.links
    votes = f"{held.votes} {SIGNS[held.vote]} on"
    if held.rule is QuarantineRule.REPLY:
        return f"{votes} [{held.subject}]({links[0]})" if links else f"{votes} {held.subject}"
    is_of_member = held.rule is QuarantineRule.AUTHOR and held.subject_id != NOBODY
    subject = f"answers to <@{held.subject_id}>" if is_of_member else held.subject
    examples = ", ".join(f"[{i}]({link})" for i, link in enumerate(links, start=1))
    return f"{votes} {subject}" + (f" ({examples})" if links else "")


def _describe_voter(voter: Voter) -> str:
    joined = f"joined {format_dt(voter.joined_at, 'D')}" if voter.joined_at else "join date unknown"
    talked = "has talked with me" if voter.has_talked else "has never talked with me"
    return f"<@{voter.user_id}>: account created {format_dt(voter.account_created_at, 'D')}, {joined}, {talked}"


def _withdrawn(held: Quarantine) -> str:
    number = held.votes - held.remaining
    return f" {number} {'has' if number == 1 else 'have'} been withdrawn since." if number else ""


def _span(held: Quarantine) -> str:
    minutes = math.ceil((held.last_vote_at - held.first_vote_at).total_seconds() / 60)
    return "within a minute" if minutes <= 1 else f"within {minutes} minutes"
