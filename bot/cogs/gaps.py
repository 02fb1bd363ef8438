"""`/knowledge gaps`: questions whose answers members call wrong in their facts, and a document for them in one step."""

from __future__ import annotations

import asyncio
import logging
from enum import StrEnum
from re import Match

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.cogs.knowledge import DocumentRequest, require_curator, store_document
from bot.errors import UserFacingError
from bot.guards.access import is_admin, user_label
from bot.guards.audit import action_of, run_audited_as
from bot.guards.interactions import Form, PersistentButton
from bot.knowledge.gaps import GapGroup, group_gaps, question_of
from bot.knowledge.quoting import MAX_TITLE_CHARS
from bot.personalities.card_form import FIELD_CHARS
from bot.services import Services
from bot.text.sanitize import escape_inline
from bot.text.splitting import MAX_MESSAGE_CHARS, shorten
from storage.knowledge.documents import titles_of
from storage.knowledge.gaps import Gap, open_gaps, settle_gaps
from storage.wording import count

log = logging.getLogger(__name__)

SETTLED = "That gap is settled already: `/knowledge gaps` shows what is left."
NO_GAPS = "No answer is called wrong in its facts, or all that were are settled."
SHOWN_QUESTIONS = 5
ANSWER_CHARS = 200


class GapAction(StrEnum):
    """What a button below a gap does."""

    ADD = "add"
    SETTLE = "settle"
    NEXT = "next"


LABELS = {GapAction.ADD: "Add a document", GapAction.SETTLE: "Needs none", GapAction.NEXT: "Next"}


class Gaps(commands.Cog):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services
        self._command: app_commands.Command[Gaps, ..., None] = app_commands.Command(
            name="gaps",
            description="Questions that were answered with wrong facts, and a document for them",
            callback=self.show_gaps,
        )

    async def cog_load(self) -> None:
        self._group().add_command(self._command)
        self.bot.add_dynamic_items(GapButton)

    async def cog_unload(self) -> None:
        self.bot.remove_dynamic_items(GapButton)

    def _group(self) -> app_commands.Group:
        group = self.bot.tree.get_command("knowledge")
        assert isinstance(group, app_commands.Group), "bot.cogs.knowledge is loaded first"
        return group

    async def show_gaps(self, interaction: discord.Interaction) -> None:
        """Show the questions that most members saw answered with wrong facts."""
        require_curator(interaction.user, self.services.settings)
        await interaction.response.defer(ephemeral=True)
        await show_gap_page(interaction, self.services)


async def read_gaps(interaction: discord.Interaction, services: Services) -> list[Gap]:
    """Return the open gaps of channels that the reader may see."""
    gaps = await services.database.read(open_gaps, interaction.guild_id or 0)
    return [gap for gap in gaps if _may_see(interaction, services, gap.channel_id)]


def _may_see(interaction: discord.Interaction, services: Services, channel_id: int) -> bool:
    channel = interaction.guild.get_channel_or_thread(channel_id) if interaction.guild else None
    if channel is None or not isinstance(interaction.user, discord.Member):
        return is_admin(interaction.user, services.settings.discord)  # such as a thread that was archived
    return channel.permissions_for(interaction.user).view_channel


async def read_groups(interaction: discord.Interaction, services: Services) -> list[GapGroup]:
    gaps = await read_gaps(interaction, services)
    vectors = await services.library.embed([question_of(gap) for gap in gaps]) if gaps else None
    return await asyncio.to_thread(group_gaps, gaps, vectors)


async def find_group(interaction: discord.Interaction, services: Services, key: int) -> GapGroup:
    """Return the group that holds the answer; raises UserFacingError where it is settled."""
    for group in await read_groups(interaction, services):
        if any(gap.reply_id == key for gap in group.gaps):
            return group
    raise UserFacingError(SETTLED)


async def find_gap(interaction: discord.Interaction, services: Services, key: int) -> Gap:
    """Return the gap of an answer; raises UserFacingError where it is settled."""
    for gap in await read_gaps(interaction, services):
        if gap.reply_id == key:
            return gap
    raise UserFacingError(SETTLED)


async def show_gap_page(
    interaction: discord.Interaction, services: Services, *, after: int = 0, note: str = ""
) -> None:
    """Put a group into the admin's message, below a note: the one after that with the key `after`, or the first."""
    groups = await read_groups(interaction, services)
    keys = [group.key for group in groups]
    place = (keys.index(after) + 1) % len(keys) if after in keys else 0
    text = await services.database.read(_describe, groups[place], place + 1, len(groups)) if groups else NO_GAPS
    content = f"{note}\n\n{text}" if note else text
    view = _buttons(groups[place], len(groups)) if groups else None
    await interaction.edit_original_response(content=content[:MAX_MESSAGE_CHARS], view=view)


def _describe(session: Session, group: GapGroup, place: int, of: int) -> str:
    """Return who noticed, what was asked and answered, and what the answers quoted."""
    more = f" ({place} of {of} gaps)" if of > 1 else ""
    lines = [f"**{count(group.members, 'member')}** called these answers wrong in their facts{more}:"]
    for gap in group.gaps[:SHOWN_QUESTIONS]:
        answer = " ".join(gap.answer.split())
        shown = shorten(answer, ANSWER_CHARS)
        where = f" · [answer](<{gap.link}>)" if gap.link else ""
        lines.append(
            f"- “{escape_inline(question_of(gap))}”{where}\n  → {escape_inline(shown)}{_sources(session, gap)}"
        )
    rest = len(group.gaps) - SHOWN_QUESTIONS
    return "\n".join([*lines, *([f"- and {rest} more"] if rest > 0 else [])])


def _sources(session: Session, gap: Gap) -> str:
    titles = ", ".join(escape_inline(title) for title, _ in titles_of(session, gap.document_ids))
    return f"\n  -# it quoted: {titles}" if titles else "\n  -# it quoted no document"


def _buttons(group: GapGroup, of: int) -> discord.ui.View:
    view = discord.ui.View(timeout=None)
    for act in GapAction if of > 1 else (GapAction.ADD, GapAction.SETTLE):
        view.add_item(GapButton(act, group.key))
    return view


class GapButton(
    PersistentButton,
    template=r"reactune:gap:(?P<act>add|settle|next):(?P<key>\d+)",
):
    def __init__(self, act: GapAction, key: int) -> None:
        self.act = act
        self.key = key
        style = discord.ButtonStyle.success if act is GapAction.ADD else discord.ButtonStyle.secondary
        custom_id = f"reactune:gap:{act.value}:{key}"
        super().__init__(custom_id, LABELS[act], style)
        self.action = f"gap {act.value}"

    @classmethod
    def parse(cls, match: Match[str]) -> GapButton:
        return cls(GapAction(match["act"]), int(match["key"]))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_curator(interaction.user, services.settings)
        if self.act is GapAction.ADD:
            # A form cannot wait for an encoder: the group is looked up when it is sent.
            await interaction.response.send_modal(GapForm(services, await find_gap(interaction, services, self.key)))
            return
        await interaction.response.defer()
        if self.act is GapAction.NEXT:
            await show_gap_page(interaction, services, after=self.key)
            return
        group = await find_group(interaction, services, self.key)
        await _settle(interaction, group, self.action)
        await show_gap_page(
            interaction, services, note=f"Settled without a document: “{escape_inline(group.question)}”."
        )


class GapForm(Form):
    """Writes the document that a group of questions asks for, and settles the group."""

    action = "gap add"

    def require(self, interaction: discord.Interaction) -> None:
        require_curator(interaction.user, self._services.settings)

    def __init__(self, services: Services, gap: Gap) -> None:
        super().__init__(title="Add a document")
        self._services = services
        self._gap = gap
        self.name: discord.ui.TextInput[GapForm] = discord.ui.TextInput(
            max_length=MAX_TITLE_CHARS, default=question_of(gap)[:MAX_TITLE_CHARS], custom_id="title"
        )
        self.text: discord.ui.TextInput[GapForm] = discord.ui.TextInput(
            style=discord.TextStyle.paragraph, max_length=FIELD_CHARS, custom_id="text"
        )
        self.add_item(discord.ui.Label(text="Title", component=self.name))
        self.add_item(discord.ui.Label(text="What is right", description="Markdown.", component=self.text))

    async def on_submit(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer()
        group = await find_group(interaction, self._services, self._gap.reply_id)
        request = DocumentRequest(text=self.text.value, title=self.name.value)
        added = await store_document(interaction, self._services, request)
        # Only now: what cannot be added leaves the gap open.
        await _settle(interaction, group, self.action)
        await show_gap_page(interaction, self._services, note=f"Added: {added}")


async def _settle(interaction: discord.Interaction, group: GapGroup, action: str) -> None:
    by = user_label(interaction.user)
    audited_action = action_of(interaction, action, ", ".join(f"answer {gap.reply_id}" for gap in group.gaps))
    await run_audited_as(interaction, audited_action, settle_gaps, [gap.reply_id for gap in group.gaps], by)
    log.info("%s settled a gap: %s", by, group.question)


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(Gaps(bot, services))
