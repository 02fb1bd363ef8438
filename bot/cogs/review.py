"""`/review`: what waits for a decision: suspicious votes first, then wrong facts that members report.

Admins decide about both, and those who curate documents about facts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from re import Match

import discord
from discord import app_commands
from sqlalchemy.orm import Session

from bot.guards.access import is_admin, require_admin, user_label
from bot.guards.audit import action_of, record_done, record_outcome, run_audited
from bot.guards.error_handler import answer_privately, member_message
from bot.guards.interactions import AdminForm, PersistentButton, button_row
from bot.guards.permissions import visible_channels
from bot.knowledge.adding import CuratorCog, DocumentForm, DocumentRequest, require_curator, store_document
from bot.knowledge.gaps import GapGroup, GapReader, describe_group, name_answers, question_of
from bot.localization.sentences import gettext, listing, ngettext, sentence
from bot.personalities.selection import may_administer
from bot.services import Services
from bot.text.quarantines import describe_decision, describe_decisions, describe_held
from bot.text.sanitize import escape_inline
from bot.text.splitting import fit_lines
from storage.database.enums import AuditOutcome, QuarantineStatus
from storage.errors import GapConflict, QuarantineConflict
from storage.knowledge.gaps import Gap, settle_gaps
from storage.personalities.personalities import list_personalities
from storage.votes.decisions import Quarantine, decide_quarantines, open_quarantines
from storage.votes.quarantines import quarantine_bursts
from storage.wording import count, gettext_noop

log = logging.getLogger(__name__)

MAX_REASON_CHARS = 200
NOTE_CHARS = 700
NOTHING = gettext_noop(
    "Nothing waits for a decision. Suspicious votes, and wrong facts that members report, will wait for you here."
)


class ReviewKind(StrEnum):
    VOTES = "votes"
    FACTS = "facts"


@dataclass(frozen=True)
class ReviewQueue:
    """The cases that one person may decide: suspicious votes, the oldest first, then facts, the most reported first."""

    held: list[Quarantine]
    reported: list[GapGroup]

    def __len__(self) -> int:
        return len(self.held) + len(self.reported)

    def after(self, kind: ReviewKind, key: int) -> int:
        """Return the place after votes or facts that may have been decided on; after the last one comes the first."""
        if kind is ReviewKind.VOTES:
            place = sum(held.id <= key for held in self.held)
        else:
            keys = [group.key for group in self.reported]
            place = len(self.held) + (keys.index(key) + 1 if key in keys else 0)
        return place % len(self)


class Review(CuratorCog):
    @app_commands.command()
    @app_commands.guild_only()
    @app_commands.default_permissions(manage_guild=True)
    async def review(self, interaction: discord.Interaction) -> None:
        """Decide what is waiting: suspicious votes, and wrong facts that members report."""
        await interaction.response.defer(ephemeral=True)
        for personality_id in await _administered(interaction, self.services):
            await asyncio.to_thread(
                quarantine_bursts, self.services.database, personality_id, self.services.settings.votes
            )
        await show_review_page(interaction, self.services)


async def show_review_page(
    interaction: discord.Interaction,
    services: Services,
    kind: ReviewKind = ReviewKind.VOTES,
    after: int = 0,
    note: str = "",
) -> None:
    """Show what comes after those votes or facts, below a note, in the message of the person who decides."""
    queue = await _read_queue(interaction, services)
    buttons: list[PersistentButton] = [EarlierButton()] if is_admin(interaction.user, services.settings.discord) else []
    if not queue:
        lines = [gettext(NOTHING)]
    else:
        place = queue.after(kind, after)
        header = describe_waiting(len(queue.held), len(queue.reported), place + 1)
        if place < len(queue.held):
            held = queue.held[place]
            described = await services.database.read(describe_held, held)
            buttons = [*_decisions(held, queue.held), *_next(queue, ReviewKind.VOTES, held.id), *buttons]
        else:
            group = queue.reported[place - len(queue.held)]
            described = await services.database.read(describe_group, group)
            settling = [GapButton(action, group.key) for action in GapAction]
            buttons = [*settling, *_next(queue, ReviewKind.FACTS, group.key), *buttons]
        lines = [header, "", *described]
    more = f"- {gettext('and {number} more', number='{left}')}"
    content = fit_lines([*([note, ""] if note else []), *lines], more)
    await interaction.edit_original_response(content=content, view=button_row(buttons) if buttons else None)


def describe_waiting(held: int, reported: int, number: int) -> str:
    """Return how much waits, and the number of what is shown."""
    kinds = [
        ngettext("{count} group of suspicious votes", "{count} groups of suspicious votes", held) if held else "",
        ngettext("{count} reported wrong fact", "{count} reported wrong facts", reported) if reported else "",
    ]
    waiting = gettext("**Waiting for a decision:** {things}.", things=listing([*filter(None, kinds)]))
    which = gettext("This is {number} of {total}.", number=number, total=held + reported)
    return f"{waiting} {which}" if held + reported > 1 else waiting


async def _read_queue(interaction: discord.Interaction, services: Services) -> ReviewQueue:
    known = await _administered(interaction, services)
    held = await services.database.read(open_quarantines, known)
    return ReviewQueue(held, await _reader(interaction, services).read_groups())


async def _administered(interaction: discord.Interaction, services: Services) -> list[int]:
    """Return the ids of the personalities on whose votes this person may decide here."""
    if not is_admin(interaction.user, services.settings.discord):
        return []
    known = await services.database.read(list_personalities, interaction.guild_id, archived=None)
    return [personality.id for personality in known if may_administer(services, interaction.user, personality)]


def _reader(interaction: discord.Interaction, services: Services) -> GapReader:
    assert isinstance(interaction.user, discord.Member)  # guild_only
    return GapReader(services, interaction.user.guild.id, visible_channels(interaction.user))


def _next(queue: ReviewQueue, kind: ReviewKind, key: int) -> list[NextButton]:
    return [NextButton(kind, key)] if len(queue) > 1 else []


class NextButton(PersistentButton, template=r"reactune:review:(?P<kind>votes|facts):after:(?P<key>\d+)"):
    """Shows what waits next, without a decision on this."""

    def __init__(self, kind: ReviewKind, key: int) -> None:
        self.kind, self.key = kind, key
        super().__init__(f"reactune:review:{kind.value}:after:{key}", gettext("Next"))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_curator(interaction.user, services.settings)
        await interaction.response.defer()
        await show_review_page(interaction, services, self.kind, self.key)


class EarlierButton(PersistentButton, template=r"reactune:review:earlier"):
    """Shows earlier decisions on votes, below."""

    def __init__(self) -> None:
        super().__init__("reactune:review:earlier", gettext("Earlier decisions"))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_admin(interaction.user, services.settings.discord)
        await interaction.response.defer(ephemeral=True, thinking=True)
        recent = await services.database.read(describe_decisions, await _administered(interaction, services))
        lines = [f"- {said}" for said in recent] or [gettext("No decisions on votes yet.")]
        await answer_privately(interaction, fit_lines(lines, "…"))


# Suspicious votes


@dataclass(frozen=True)
class VoteDecision:
    """A button's decision about one quarantine, or about every waiting one."""

    status: QuarantineStatus
    quarantine_id: int
    """The quarantine to decide on; with `every`, the newest one that the admin saw."""
    votes: int
    """Number of votes that the admin saw."""
    every: bool = False

    @property
    def label(self) -> str:
        """Return the choice in words."""
        if self.status is QuarantineStatus.COUNTED:
            return gettext("Count all of them") if self.every else gettext("Count them")
        return gettext("Leave all of them out") if self.every else gettext("Leave them out")

    @property
    def title(self) -> str:
        """Return the choice and its object in words."""
        if self.status is QuarantineStatus.COUNTED:
            return gettext("Count all waiting votes") if self.every else gettext("Count these votes")
        return gettext("Leave all waiting votes out") if self.every else gettext("Leave these votes out")

    def concerns(self, session: Session, personality_ids: Collection[int]) -> list[int]:
        """Return the ids of the quarantines to decide on."""
        if not self.every:
            return [self.quarantine_id]
        waiting = open_quarantines(session, personality_ids)
        return [quarantine.id for quarantine in waiting if quarantine.id <= self.quarantine_id]


def _decisions(held: Quarantine, waiting: Sequence[Quarantine]) -> list[DecisionButton]:
    """Return the buttons about one quarantine and, if more wait, about all."""
    ways = (QuarantineStatus.COUNTED, QuarantineStatus.EXCLUDED)
    one = [DecisionButton(VoteDecision(way, held.id, held.votes)) for way in ways]
    if len(waiting) == 1:
        return one
    votes = sum(held.votes for held in waiting)
    return [*one, *(DecisionButton(VoteDecision(way, waiting[-1].id, votes, every=True)) for way in ways)]


class DecisionButton(
    PersistentButton,
    template=r"reactune:votes:(?P<status>counted|excluded):(?P<scope>one|all):(?P<id>\d+):(?P<votes>\d+)",
):
    def __init__(self, choice: VoteDecision) -> None:
        self.choice = choice
        style = discord.ButtonStyle.success if choice.status is QuarantineStatus.COUNTED else discord.ButtonStyle.danger
        scope = "all" if choice.every else "one"
        super().__init__(
            f"reactune:votes:{choice.status.value}:{scope}:{choice.quarantine_id}:{choice.votes}",
            choice.label,
            discord.ButtonStyle.secondary if choice.every else style,
        )

    @classmethod
    def parse(cls, match: Match[str]) -> DecisionButton:
        status, every = QuarantineStatus(match["status"]), match["scope"] == "all"
        return cls(VoteDecision(status, int(match["id"]), int(match["votes"]), every=every))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_admin(interaction.user, services.settings.discord)
        await interaction.response.send_modal(DecisionForm(services, self.choice))


class DecisionForm(AdminForm):
    action = "votes decide"

    def __init__(self, services: Services, choice: VoteDecision) -> None:
        super().__init__(services, choice.title)
        self._choice = choice
        self._reason = self._ask(
            "reason", gettext("Why?"), gettext("Stored with your decision."), limit=MAX_REASON_CHARS
        )

    async def on_submit(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer()
        note = await self._decide(interaction, await _administered(interaction, self._services))
        await show_review_page(interaction, self._services, ReviewKind.VOTES, self._choice.quarantine_id, note)

    async def _decide(self, interaction: discord.Interaction, personality_ids: Collection[int]) -> str:
        """Store the decision and return a note for the admin, who may also hear that another admin was faster."""
        by, reason = user_label(interaction.user), " ".join(self._reason.value.split())
        which = f"suspicious votes {'up to ' if self._choice.every else ''}{self._choice.quarantine_id}"
        audited_action = replace(action_of(interaction, self.action, f"{which}: {self._choice.status}"), reason=reason)

        def decide(session: Session) -> tuple[list[Quarantine], list[str]]:
            decided = decide_quarantines(
                session,
                self._choice.concerns(session, personality_ids),
                self._choice.status,
                votes=self._choice.votes,
                by=by,
                reason=reason,
                personality_ids=personality_ids,
            )
            return decided, [describe_decision(session, quarantine) for quarantine in decided]

        try:
            decided, described = await run_audited(interaction, audited_action, decide)
        except QuarantineConflict as error:
            await record_outcome(interaction, audited_action, AuditOutcome.REFUSED, sentence(str(error)))
            return member_message(error)
        _log_decision(by, self._choice.status, decided)
        return fit_lines(described, "…", NOTE_CHARS)


def _log_decision(by: str, status: QuarantineStatus, decided: list[Quarantine]) -> None:
    votes = count(sum(quarantine.votes for quarantine in decided), "vote")
    ids = ", ".join(str(quarantine.id) for quarantine in decided)
    log.info("%s decided on %s on hold (%s): %s.", by, votes, ids, status)


# Reported wrong facts


class GapAction(StrEnum):
    ADD = "add"
    SETTLE = "settle"


LABELS = {
    GapAction.ADD: gettext_noop("Add a document"),
    GapAction.SETTLE: gettext_noop("No document needed"),
}


class GapButton(PersistentButton, template=r"reactune:gap:(?P<action>add|settle):(?P<key>\d+)"):
    def __init__(self, gap_action: GapAction, key: int) -> None:
        self.gap_action = gap_action
        self.key = key
        style = discord.ButtonStyle.success if gap_action is GapAction.ADD else discord.ButtonStyle.secondary
        super().__init__(f"reactune:gap:{gap_action.value}:{key}", gettext(LABELS[gap_action]), style)
        self.action = f"gap {gap_action.value}"

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_curator(interaction.user, services.settings)
        if self.gap_action is GapAction.ADD:
            # Discord does not wait for the encoder before a form: the form finds the group when it is submitted.
            gaps = await _reader(interaction, services).read_gaps()
            await interaction.response.send_modal(GapForm(services, self.key, gaps))
            return
        await interaction.response.defer()
        group = await _reader(interaction, services).find_group(self.key)
        by = user_label(interaction.user)
        action = action_of(interaction, self.action, name_answers(group.reply_ids))
        await run_audited(interaction, action, settle_gaps, group.reply_ids, by)
        log.info("%s settled the reports on %s.", by, count(len(group.reply_ids), "answer"))
        note = gettext("Settled without a document: “{question}”.", question=escape_inline(group.question))
        await show_review_page(interaction, services, ReviewKind.FACTS, self.key, note)


class GapForm(DocumentForm):
    """Adds the document that a group of questions needs, and settles the group."""

    action = "gap add"

    def __init__(self, services: Services, reply_id: int, gaps: Sequence[Gap]) -> None:
        """`gaps` are those that are open now: later ones are not settled. Raises GapConflict if the answer's is not."""
        gap = next((gap for gap in gaps if gap.reply_id == reply_id), None)
        if gap is None:
            raise GapConflict
        super().__init__(
            services, about=question_of(gap.messages), label=gettext("Correct facts"), help_text="Markdown."
        )
        self._reply_id = reply_id
        self._known_ids = {gap.reply_id for gap in gaps}

    async def on_submit(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer()
        group = await _reader(interaction, self._services).find_group(self._reply_id)
        reply_ids, by = [one for one in group.reply_ids if one in self._known_ids], user_label(interaction.user)
        request = DocumentRequest(text=self._text.value, title=self._title.value)

        def settle(session: Session) -> None:
            settle_gaps(session, reply_ids, by)

        added = await store_document(interaction, self._services, request, together_with=settle)
        await record_done(interaction, action_of(interaction, self.action, name_answers(reply_ids)))
        log.info("%s settled the reports on %s.", by, count(len(reply_ids), "answer"))
        note = gettext("Added: {document}", document=added)
        await show_review_page(interaction, self._services, ReviewKind.FACTS, self._reply_id, note)
