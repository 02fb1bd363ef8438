"""`/votes`: admins decide on bursts of votes by new or silent accounts, and see earlier decisions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from re import Match

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.guards.access import require_admin, user_label
from bot.guards.audit import action_of, record_outcome, run_audited_as
from bot.guards.error_handler import answer_privately, member_message
from bot.guards.interactions import AdminCog, AdminForm, PersistentButton, button_row
from bot.localization.sentences import gettext, sentence
from bot.personalities.selection import may_administer
from bot.services import Services
from bot.text.quarantines import (
    LinkedQuarantine,
    ReviewPage,
    describe_decision,
    describe_page,
    read_decisions,
    read_review_page,
    with_links,
)
from bot.text.splitting import MAX_MESSAGE_CHARS, fit_lines
from storage.database.enums import AuditOutcome, QuarantineStatus
from storage.errors import QuarantineConflict
from storage.personalities.personalities import list_personalities
from storage.votes.decisions import DECISIONS, Quarantine, decide_quarantines, open_quarantines
from storage.votes.quarantines import quarantine_bursts
from storage.wording import count

log = logging.getLogger(__name__)

MAX_REASON_CHARS = 200
NOTE_CHARS = 700


@dataclass(frozen=True)
class Choice:
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
        """Return the ids of the quarantines that it decides about."""
        if not self.every:
            return [self.quarantine_id]
        waiting = open_quarantines(session, personality_ids)
        return [quarantine.id for quarantine in waiting if quarantine.id <= self.quarantine_id]


class VoteReview(
    AdminCog, commands.GroupCog, group_name="votes", group_description="Suspicious votes by new or silent accounts"
):
    @app_commands.command()
    async def review(self, interaction: discord.Interaction) -> None:
        """Decide whether suspicious votes count."""
        await interaction.response.defer(ephemeral=True)
        for personality_id in await known_personalities(interaction, self.services):
            await asyncio.to_thread(
                quarantine_bursts, self.services.database, personality_id, self.services.settings.votes
            )
        await show_review_page(interaction, self.services)

    @app_commands.command()
    async def history(self, interaction: discord.Interaction) -> None:
        """Show earlier decisions on suspicious votes."""
        await interaction.response.defer(ephemeral=True)
        known = await known_personalities(interaction, self.services)
        recent = await self.services.database.read(read_decisions, known)
        lines = [f"- {describe_decision(shown)}" for shown in recent] or [gettext("No decisions on votes yet.")]
        await answer_privately(interaction, fit_lines(lines, "…"))


async def show_review_page(
    interaction: discord.Interaction, services: Services, *, after: int = 0, note: str = ""
) -> None:
    """Show the next quarantine after the one with id `after`, below a note, in the admin's message."""
    known = await known_personalities(interaction, services)
    page = await services.database.read(read_review_page, known, after)
    text = describe_page(page) if page else gettext("No votes are waiting for a decision.")
    content = f"{note}\n\n{text}" if note else text
    await interaction.edit_original_response(content=content[:MAX_MESSAGE_CHARS], view=_buttons(page) if page else None)


async def known_personalities(interaction: discord.Interaction, services: Services) -> list[int]:
    """Return the ids of the personalities that an admin of this server may administer."""
    known = await services.database.read(list_personalities, interaction.guild_id, archived=None)
    return [personality.id for personality in known if may_administer(services, interaction.user, personality)]


def _buttons(page: ReviewPage) -> discord.ui.View:
    held, ways = page.shown.quarantine, (QuarantineStatus.COUNTED, QuarantineStatus.EXCLUDED)
    one = [DecisionButton(Choice(way, held.id, held.votes)) for way in ways]
    if page.waiting == 1:
        return button_row(one)
    every = [DecisionButton(Choice(way, page.newest, page.votes, every=True)) for way in ways]
    return button_row([*one, NextButton(held.id), *every])


class DecisionButton(
    PersistentButton,
    template=r"reactune:votes:(?P<status>counted|excluded):(?P<scope>one|all):(?P<id>\d+):(?P<votes>\d+)",
):
    def __init__(self, choice: Choice) -> None:
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
        return cls(Choice(status, int(match["id"]), int(match["votes"]), every=every))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_admin(interaction.user, services.settings.discord)
        await interaction.response.send_modal(DecisionForm(services, self.choice))


class NextButton(PersistentButton, template=r"reactune:votes:after:(?P<id>\d+)"):
    """Shows the next quarantine, without a decision on this one."""

    def __init__(self, quarantine_id: int) -> None:
        self.quarantine_id = quarantine_id
        super().__init__(f"reactune:votes:after:{quarantine_id}", gettext("Next"))

    @classmethod
    def parse(cls, match: Match[str]) -> NextButton:
        return cls(int(match["id"]))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_admin(interaction.user, services.settings.discord)
        await interaction.response.defer()
        await show_review_page(interaction, services, after=self.quarantine_id)


class DecisionForm(AdminForm):
    action = "votes decide"

    def __init__(self, services: Services, choice: Choice) -> None:
        super().__init__(services, choice.title)
        self._choice = choice
        self._reason = self._ask(
            "reason", gettext("Why?"), gettext("Stored with your decision."), limit=MAX_REASON_CHARS
        )

    async def on_submit(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer()
        known = await known_personalities(interaction, self._services)
        note = await self._decide(interaction, known)
        await show_review_page(interaction, self._services, after=self._choice.quarantine_id, note=note)

    async def _decide(self, interaction: discord.Interaction, personality_ids: Collection[int]) -> str:
        """Decide, and return a note for the admin; another admin may have been faster."""
        by, reason = user_label(interaction.user), " ".join(self._reason.value.split())
        which = f"{'all up to ' if self._choice.every else ''}burst {self._choice.quarantine_id}"
        audited_action = replace(action_of(interaction, self.action, f"{self._choice.status}: {which}"), reason=reason)

        def decide(session: Session) -> list[LinkedQuarantine]:
            decided = decide_quarantines(
                session,
                self._choice.concerns(session, personality_ids),
                self._choice.status,
                votes=self._choice.votes,
                by=by,
                reason=reason,
                personality_ids=personality_ids,
            )
            return [with_links(session, quarantine) for quarantine in decided]

        try:
            decided = await run_audited_as(interaction, audited_action, decide)
        except QuarantineConflict as error:
            await record_outcome(interaction, audited_action, AuditOutcome.REFUSED, sentence(str(error)))
            return member_message(error)
        _log_decision(by, self._choice.status, [shown.quarantine for shown in decided])
        return fit_lines([describe_decision(shown) for shown in decided], "…", NOTE_CHARS)


def _log_decision(by: str, status: QuarantineStatus, decided: list[Quarantine]) -> None:
    votes = count(sum(quarantine.votes for quarantine in decided), "vote")
    ids = ", ".join(str(quarantine.id) for quarantine in decided)
    log.info("%s decided that %s on hold (%s) are %s.", by, votes, ids, DECISIONS[status])


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    bot.add_dynamic_items(DecisionButton, NextButton)
    await bot.add_cog(VoteReview(bot, services))
