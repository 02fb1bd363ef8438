"""Lets admins decide about bursts of votes by new or silent accounts, and see what was decided."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from re import Match

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.guards.access import require_admin, user_label
from bot.guards.audit import action_of, record_error, run_audited_as
from bot.guards.error_handler import answer_privately, member_message
from bot.guards.interactions import Form, PersistentButton
from bot.personalities.selection import may_administer
from bot.services import Services
from bot.text.lineage import SIGNS
from bot.text.sanitize import sanitize_reason
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.conversations.replies import message_links
from storage.database.enums import NOBODY, QuarantineRule, QuarantineStatus
from storage.database.tables import QuarantinedVoteRow
from storage.errors import QuarantineConflict
from storage.personalities.personalities import list_personalities
from storage.votes.quarantines import (
    Quarantine,
    Voter,
    decide_quarantines,
    hold_back_bursts,
    open_quarantines,
    recent_decisions,
    voters_in,
)

log = logging.getLogger(__name__)

MAX_REASON_CHARS = 200
SHOWN_VOTERS = 10
SHOWN_LINKS = 3
NOTE_CHARS = 700
NOTHING_WAITS = "No votes wait for a decision."
NOTHING_DECIDED = "Nobody has decided about votes so far."


@dataclass(frozen=True)
class Shown:
    """A quarantine with the addresses of some of the messages that were voted on."""

    quarantine: Quarantine
    links: tuple[str, ...]


@dataclass(frozen=True)
class ReviewPage:
    """The quarantine to decide on now, at a place from 1 among those that wait; `newest` is the id of the last."""

    shown: Shown
    voters: list[Voter]
    position: int
    waiting: int
    newest: int
    votes: int
    """Of all that wait."""


@dataclass(frozen=True)
class Choice:
    """What a button decides: about one quarantine, or about `every` one that waits, up to the newest that was known."""

    status: QuarantineStatus
    quarantine_id: int
    votes: int
    """How many the admin saw."""
    every: bool = False

    @property
    def words(self) -> tuple[str, str]:
        """Label of the button, title of its form."""
        what = "all of them" if self.every else "them"
        if self.status is QuarantineStatus.COUNTED:
            return f"Count {what}", "Count all votes that wait" if self.every else "Count these votes"
        return f"Leave {what} out", "Leave all votes out that wait" if self.every else "Leave these votes out"

    def concerns(self, session: Session, personality_ids: Collection[int]) -> list[int]:
        """Return the ids of the quarantines that it decides about."""
        if not self.every:
            return [self.quarantine_id]
        waiting = open_quarantines(session, personality_ids)
        return [quarantine.id for quarantine in waiting if quarantine.id <= self.quarantine_id]


@app_commands.guild_only()
@app_commands.default_permissions(manage_guild=True)
class VoteReview(commands.GroupCog, group_name="votes", group_description="Bursts of votes by new or silent accounts"):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services

    async def cog_load(self) -> None:
        self.bot.add_dynamic_items(DecisionButton, NextButton)

    async def cog_unload(self) -> None:
        self.bot.remove_dynamic_items(DecisionButton, NextButton)

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        require_admin(interaction.user, self.services.settings.discord)
        return True

    @app_commands.command()
    async def review(self, interaction: discord.Interaction) -> None:
        """Decide about votes that are held back: do they count?"""
        await interaction.response.defer(ephemeral=True)
        for personality_id in await known_personalities(interaction, self.services):
            await asyncio.to_thread(
                hold_back_bursts, self.services.database, personality_id, self.services.settings.votes
            )
        await show_review_page(interaction, self.services)

    @app_commands.command()
    async def history(self, interaction: discord.Interaction) -> None:
        """Show who decided what about which votes, and why."""
        await interaction.response.defer(ephemeral=True)
        known = await known_personalities(interaction, self.services)
        decisions = await self.services.database.read(_read_decisions, known)
        text = _whole_lines(f"- {describe_decision(shown)}" for shown in decisions)
        await answer_privately(interaction, text or NOTHING_DECIDED)


async def show_review_page(
    interaction: discord.Interaction, services: Services, *, after: int = 0, note: str = ""
) -> None:
    """Put the next quarantine after the one with id `after` into the admin's message, below a note."""
    page = await services.database.read(_read_page, await known_personalities(interaction, services), after)
    text = describe_page(page) if page else NOTHING_WAITS
    content = f"{note}\n\n{text}" if note else text
    await interaction.edit_original_response(content=content[:MAX_MESSAGE_CHARS], view=_buttons(page) if page else None)


async def known_personalities(interaction: discord.Interaction, services: Services) -> list[int]:
    """Return the ids of the personalities whose votes an admin of this server decides about."""
    known = await services.database.read(list_personalities, interaction.guild_id, archived=None)
    return [personality.id for personality in known if may_administer(services, interaction.user, personality)]


def _buttons(page: ReviewPage) -> discord.ui.View:
    held = page.shown.quarantine
    view = discord.ui.View(timeout=None)
    view.add_item(DecisionButton(Choice(QuarantineStatus.COUNTED, held.id, held.votes)))
    view.add_item(DecisionButton(Choice(QuarantineStatus.EXCLUDED, held.id, held.votes)))
    if page.waiting > 1:
        view.add_item(NextButton(held.id))
        view.add_item(DecisionButton(Choice(QuarantineStatus.COUNTED, page.newest, page.votes, every=True)))
        view.add_item(DecisionButton(Choice(QuarantineStatus.EXCLUDED, page.newest, page.votes, every=True)))
    return view


# Reading


def _read_page(session: Session, personality_ids: Collection[int], after: int) -> ReviewPage | None:
    waiting = open_quarantines(session, personality_ids)
    if not waiting:
        return None
    index = next((i for i, quarantine in enumerate(waiting) if quarantine.id > after), 0)
    chosen = waiting[index]
    return ReviewPage(
        _show(session, chosen),
        voters_in(session, chosen),
        index + 1,
        len(waiting),
        waiting[-1].id,
        sum(held.votes for held in waiting),
    )


def _read_decisions(session: Session, personality_ids: Collection[int]) -> list[Shown]:
    return [_show(session, quarantine) for quarantine in recent_decisions(session, personality_ids)]


def _show(session: Session, quarantine: Quarantine) -> Shown:
    replies = select(QuarantinedVoteRow.reply_id).where(QuarantinedVoteRow.quarantine_id == quarantine.id)
    links = message_links(session, replies)
    return Shown(quarantine, tuple(links[reply_id] for reply_id in sorted(links))[:SHOWN_LINKS])


# In words


def describe_page(page: ReviewPage) -> str:
    """Return what happened, and what is known of those who voted."""
    held = page.shown.quarantine
    more = f" ({page.position} of {page.waiting} bursts that wait)" if page.waiting > 1 else ""
    gone = f" Taken back since: {held.votes - held.standing}." if held.standing < held.votes else ""
    rest = len(page.voters) - SHOWN_VOTERS
    lines = [
        f"**{describe_burst(page.shown)}** by {_accounts(held)} {_span(held)}{more}",
        f"They count for nothing until you decide.{gone} Who voted:",
        *(f"- {describe_voter(voter)}" for voter in page.voters[:SHOWN_VOTERS]),
        *([f"- and {rest} more"] if rest > 0 else []),
    ]
    return "\n".join(lines)


def describe_burst(shown: Shown) -> str:
    """Return how many votes of which kind on what, with a link to an answer where there is one."""
    held, links = shown.quarantine, shown.links
    votes = f"{held.votes} {SIGNS[held.vote]} on"
    if held.rule is QuarantineRule.REPLY:
        return f"{votes} [{held.subject}]({links[0]})" if links else f"{votes} {held.subject}"
    whose = held.rule is QuarantineRule.AUTHOR and held.subject_id != NOBODY
    subject = f"the answers to <@{held.subject_id}>" if whose else held.subject
    examples = ", ".join(f"[{i}]({link})" for i, link in enumerate(links, start=1))
    return f"{votes} {subject}" + (f" ({examples})" if links else "")


def describe_voter(voter: Voter) -> str:
    joined = f"member since {_day(voter.joined_at)}" if voter.joined_at else "unknown when they joined"
    talked = "has talked with me" if voter.has_talked else "never talked with me"
    return f"<@{voter.user_id}>: account of {_day(voter.account_created_at)}, {joined}, {talked}"


def describe_decision(shown: Shown) -> str:
    """Return what was decided, who did it, when and why."""
    held = shown.quarantine
    decided = "Counted" if held.status is QuarantineStatus.COUNTED else "Left out"
    when = f", <t:{int(held.decided_at.timestamp())}:f>" if held.decided_at else ""
    why = f": {sanitize_reason(held.reason)}" if held.reason else ""
    return f"**{decided}:** {describe_burst(shown)} by {_accounts(held)} · {held.decided_by}{when}{why}"


def _accounts(held: Quarantine) -> str:
    return f"{len(held.voters)} account{'' if len(held.voters) == 1 else 's'}"


def _span(held: Quarantine) -> str:
    minutes = math.ceil((held.last_vote_at - held.first_vote_at).total_seconds() / 60)
    return "within a minute" if minutes <= 1 else f"within {minutes} minutes"


def _day(moment: datetime) -> str:
    return f"<t:{int(moment.timestamp())}:D>"


def _whole_lines(lines: Iterable[str], most_chars: int = MAX_MESSAGE_CHARS) -> str:
    """Return as many of the lines as fit."""
    text = ""
    for line in lines:
        if len(text) + len(line) >= most_chars:
            return f"{text}…"
        text += f"{line}\n"
    return text.rstrip("\n")


# Buttons


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
            choice.words[0],
            discord.ButtonStyle.secondary if choice.every else style,
        )

    @classmethod
    def parse(cls, match: Match[str]) -> DecisionButton:
        status, every = QuarantineStatus(match["status"]), match["scope"] == "all"
        return cls(Choice(status, int(match["id"]), int(match["votes"]), every=every))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_admin(interaction.user, services.settings.discord)
        await interaction.response.send_modal(DecisionForm(services, self.choice))


class NextButton(
    PersistentButton,
    template=r"reactune:votes:after:(?P<id>\d+)",
):
    """Leaves this one undecided, and shows the next."""

    def __init__(self, quarantine_id: int) -> None:
        self.quarantine_id = quarantine_id
        super().__init__(f"reactune:votes:after:{quarantine_id}", "Next")

    @classmethod
    def parse(cls, match: Match[str]) -> NextButton:
        return cls(int(match["id"]))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_admin(interaction.user, services.settings.discord)
        await interaction.response.defer()
        await show_review_page(interaction, services, after=self.quarantine_id)


class DecisionForm(Form):
    action = "votes decide"

    def require(self, interaction: discord.Interaction) -> None:
        require_admin(interaction.user, self._services.settings.discord)

    def __init__(self, services: Services, choice: Choice) -> None:
        super().__init__(title=choice.words[1])
        self._services = services
        self._choice = choice
        self.reason: discord.ui.TextInput[DecisionForm] = discord.ui.TextInput(
            max_length=MAX_REASON_CHARS, required=False, custom_id="reason"
        )
        self.add_item(discord.ui.Label(text="Why?", description="Kept with your decision.", component=self.reason))

    async def on_submit(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer()
        known = await known_personalities(interaction, self._services)
        note = await self._decide(interaction, known)
        await show_review_page(interaction, self._services, after=self._choice.quarantine_id, note=note)

    async def _decide(self, interaction: discord.Interaction, personality_ids: Collection[int]) -> str:
        """Return what came of it, in words; another admin may have been quicker."""
        by, reason = user_label(interaction.user), " ".join(self.reason.value.split())
        which = f"{'all up to ' if self._choice.every else ''}burst {self._choice.quarantine_id}"
        audited_action = replace(action_of(interaction, self.action, f"{self._choice.status}: {which}"), reason=reason)

        def decide(session: Session) -> list[Shown]:
            decided = decide_quarantines(
                session,
                self._choice.concerns(session, personality_ids),
                self._choice.status,
                votes=self._choice.votes,
                by=by,
                reason=reason,
            )
            return [_show(session, quarantine) for quarantine in decided]

        try:
            decided = await run_audited_as(interaction, audited_action, decide)
        except QuarantineConflict as error:
            told = member_message(error)
            await record_error(interaction, audited_action, told, is_foreseen=True)
            return told
        log.info("%s decided about quarantines: %s", by, self._choice)
        return _whole_lines((describe_decision(shown) for shown in decided), most_chars=NOTE_CHARS)


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(VoteReview(bot, services))
