"""The pages of `/personality show`: the list of personalities, and one of them with what an admin may change.

A page replaces the one before it in the admin's private message, and works after a restart too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from enum import StrEnum
from functools import partial

import discord

from bot.guards.access import require_admin, user_label
from bot.guards.audit import action_of, run_audited
from bot.guards.interactions import PersistentButton, PersistentSelect, button_row, list_page
from bot.localization.sentences import gettext
from bot.personalities.card_form import CardForm
from bot.personalities.descriptions import NEXT_STEP, card_lines, describe_obstacles, list_lines
from bot.personalities.selection import require_own, why_not_own
from bot.services import Services
from bot.text.splitting import answer_in_full, fit_lines
from storage.personalities.bindings import list_bindings
from storage.personalities.cards import format_card
from storage.personalities.personalities import (
    CARD_SUFFIX,
    Personality,
    archive_personality,
    list_personalities,
    personality_named,
    read_personality,
    restore_personality,
)
from storage.wording import gettext_noop

log = logging.getLogger(__name__)


async def answer_with_personality_list(interaction: discord.Interaction, services: Services, page: int = 0) -> None:
    """Show a page of the personalities that the server knows, archived ones last."""
    guild_id = interaction.guild_id or 0
    known = await services.database.read(list_personalities, guild_id, archived=None)
    known.sort(key=lambda one: one.archived_at is not None)
    shown, turns = list_page(known, page, gettext("Back"), gettext("Next"))
    lines = await services.database.read(list_lines, shown, guild_id, services.settings)
    buttons = [PersonalityListButton(*turn) for turn in turns]
    select = PersonalitySelect({one.name: one.card.description for one in shown})
    await interaction.edit_original_response(
        content=fit_lines(lines, "…"), attachments=[], view=button_row([select, *buttons])
    )


async def answer_with_personality(
    interaction: discord.Interaction, services: Services, found: Personality, note: str = ""
) -> None:
    """Show a personality's card, version and places, below a note; with buttons if the admin may change it."""
    guild_id = interaction.guild_id or 0
    lines = await services.database.read(card_lines, found, guild_id, services.settings)
    lines += await read_obstacles(interaction, services, found)
    actions = [CardAction.EDIT]
    if found.archived_at is not None:
        actions.append(CardAction.RESTORE)
    elif not found.is_default:
        actions.append(CardAction.ARCHIVE)
    may_change = not why_not_own(services, found, {guild_id})
    buttons = [CardButton(card_action, found.id) for card_action in actions if may_change]
    view = button_row([*buttons, PersonalityListButton(0, gettext("All personalities"))])
    shown = [note, *lines] if note else lines
    await answer_in_full(interaction, shown, format_card(found.card), f"{found.name}{CARD_SUFFIX}", view)


async def read_obstacles(interaction: discord.Interaction, services: Services, personality: Personality) -> list[str]:
    """Return a sentence for each reason why it speaks as the bot itself in places of this server."""
    find = partial(list_bindings, guild_id=interaction.guild_id, personality_id=personality.id)
    bindings = await services.database.read(find)
    return describe_obstacles(services.webhooks, interaction.guild, personality, bindings)


class PersonalitySelect(PersistentSelect, template=r"reactune:personality"):
    def __init__(self, about: Mapping[str, str] = {}) -> None:
        super().__init__("reactune:personality", gettext("Open a personality"), about)

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_admin(interaction.user, services.settings.discord)
        await interaction.response.defer()
        found = await services.database.read(personality_named, self.chosen, interaction.guild_id)
        await answer_with_personality(interaction, services, found)


class PersonalityListButton(PersistentButton, template=r"reactune:personalities:(?P<page>\d+)"):
    """Shows a page of the list."""

    def __init__(self, page: int, label: str = "") -> None:
        self.page = page
        super().__init__(f"reactune:personalities:{page}", label)

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_admin(interaction.user, services.settings.discord)
        await interaction.response.defer()
        await answer_with_personality_list(interaction, services, self.page)


class CardAction(StrEnum):
    EDIT = "edit"
    ARCHIVE = "archive"
    RESTORE = "restore"


LABELS = {
    CardAction.EDIT: gettext_noop("Edit the card"),
    CardAction.ARCHIVE: gettext_noop("Archive"),
    CardAction.RESTORE: gettext_noop("Restore"),
}


class CardButton(PersistentButton, template=r"reactune:card:(?P<action>edit|archive|restore):(?P<personality>\d+)"):
    def __init__(self, card_action: CardAction, personality_id: int) -> None:
        self.card_action, self.personality_id = card_action, personality_id
        super().__init__(f"reactune:card:{card_action}:{personality_id}", gettext(LABELS[card_action]))
        self.action = f"personality {card_action}"

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_admin(interaction.user, services.settings.discord)
        if self.card_action is not CardAction.EDIT:  # a form must be the first answer
            await interaction.response.defer()
        found = await services.database.read(read_personality, self.personality_id)
        require_own(services, found, {interaction.guild_id or 0})
        if self.card_action is CardAction.EDIT:
            await interaction.response.send_modal(CardForm(services, found.name, found))
            return
        note = await self._archive_or_restore(interaction, found)
        now = await services.database.read(read_personality, found.id)
        await answer_with_personality(interaction, services, now, note)

    async def _archive_or_restore(self, interaction: discord.Interaction, found: Personality) -> str:
        """Return a note about the change; empty if somebody was faster."""
        archives = self.card_action is CardAction.ARCHIVE
        if archives is (found.archived_at is not None):
            return ""
        action = action_of(interaction, self.action, f"personality: {found.name}")
        await run_audited(interaction, action, archive_personality if archives else restore_personality, found)
        log.info("%s used %r on %s.", user_label(interaction.user), self.action, found.name)
        if archives:
            return gettext("Archived **{name}**.", name=found.name)
        return f"{gettext('Restored **{name}**.', name=found.name)} {gettext(NEXT_STEP, name=found.name)}"
