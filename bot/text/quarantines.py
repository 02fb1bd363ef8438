"""Suspicious votes on hold, in words for admins."""

from __future__ import annotations

import math
from collections.abc import Collection

from discord.utils import format_dt
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.localization.sentences import gettext, in_quotes, ngettext
from bot.text.lineage import SIGNS
from bot.text.sanitize import sanitize_reason
from storage.conversations.replies import message_links
from storage.database.enums import NOBODY, QuarantineRule, QuarantineStatus
from storage.database.tables import QuarantinedVoteRow
from storage.votes.decisions import Quarantine, Voter, recent_decisions, voters_in

SHOWN_LINKS = 3


def describe_held(session: Session, held: Quarantine) -> list[str]:
    """Return the suspicious votes, and the known facts about their voters."""
    return [
        f"**{_describe_burst(session, held)}** {_accounts(held)} {_span(held)}",
        " ".join(
            filter(None, [gettext("These votes don't count until you decide."), _withdrawn(held), gettext("Members:")])
        ),
        *(f"- {_describe_voter(voter)}" for voter in voters_in(session, held)),
    ]


def describe_decisions(session: Session, personality_ids: Collection[int]) -> list[str]:
    """Return the latest decisions, newest first."""
    return [describe_decision(session, held) for held in recent_decisions(session, personality_ids)]


def describe_decision(session: Session, held: Quarantine) -> str:
    """Return the decision, its votes, its author, its time and its reason."""
    decision = gettext("Counted") if held.status is QuarantineStatus.COUNTED else gettext("Left out")
    when = f", {format_dt(held.decided_at, 'f')}" if held.decided_at else ""
    why = f" · {in_quotes(sanitize_reason(held.reason))}" if held.reason else ""
    who = gettext("decided by {admin}", admin=held.decided_by)
    return f"**{decision}:** {_describe_burst(session, held)} {_accounts(held)} · {who}{when}{why}"


def _accounts(held: Quarantine) -> str:
    return ngettext("by {count} account", "by {count} accounts", len(held.voters))


def _describe_burst(session: Session, held: Quarantine) -> str:
    """Return the number and kind of the votes, and their subject, with links to some of the answers."""
    replies = select(QuarantinedVoteRow.reply_id).where(QuarantinedVoteRow.quarantine_id == held.id)
    links = [link for _, link in sorted(message_links(session, replies).items())][:SHOWN_LINKS]
    votes = f"{held.votes} {SIGNS[held.vote]}"
    if held.rule is QuarantineRule.REPLY:
        subject = gettext(held.subject)
        return gettext("{votes} on {subject}", votes=votes, subject=f"[{subject}]({links[0]})" if links else subject)
    examples = f" ({', '.join(f'[{i}]({link})' for i, link in enumerate(links, start=1))})" if links else ""
    if held.rule is QuarantineRule.AUTHOR and held.subject_id != NOBODY:
        return gettext("{votes} on answers to {member}", votes=votes, member=f"<@{held.subject_id}>") + examples
    return gettext("{votes} on {subject}", votes=votes, subject=held.subject) + examples


def _describe_voter(voter: Voter) -> str:
    created = gettext("account created {date}", date=format_dt(voter.account_created_at, "D"))
    joined = (
        gettext("joined {date}", date=format_dt(voter.joined_at, "D"))
        if voter.joined_at
        else gettext("join date unknown")
    )
    talked = gettext("has talked with me") if voter.has_talked else gettext("has never talked with me")
    return f"<@{voter.user_id}>: {created}, {joined}, {talked}"


def _withdrawn(held: Quarantine) -> str:
    number = held.votes - held.remaining
    if not number:
        return ""
    return ngettext("{count} has been taken back since.", "{count} have been taken back since.", number)


def _span(held: Quarantine) -> str:
    minutes = math.ceil((held.last_vote_at - held.first_vote_at).total_seconds() / 60)
    return ngettext("within a minute", "within {count} minutes", max(1, minutes))
