"""Buttons with which members see, allow and delete what is stored about them."""

from __future__ import annotations

from enum import StrEnum
from re import Match

import discord

from bot.guards.error_handler import answer_privately
from bot.guards.interactions import PersistentButton
from bot.privacy.texts import describe_deletion, describe_member_data, describe_opt_in
from bot.services import Services
from storage.privacy.consent import give_consent
from storage.privacy.erasure import delete_member
from storage.privacy.member_data import summarize_member_data

NOTHING_DELETED = "Nothing was deleted."


class PrivacyAction(StrEnum):
    """What a button does for the member who presses it."""

    SHOW = "show"
    ALLOW = "allow"
    DELETE = "delete"
    KEEP = "keep"


LABELS = {
    PrivacyAction.SHOW: "What's stored",
    PrivacyAction.ALLOW: "Allow training",
    PrivacyAction.DELETE: "Delete everything",
    PrivacyAction.KEEP: "Keep my data",
}


def buttons(*actions: PrivacyAction) -> discord.ui.View:
    view = discord.ui.View(timeout=None)
    for action in actions:
        view.add_item(PrivacyButton(action))
    return view


class PrivacyButton(
    PersistentButton,
    template=r"reactune:privacy:(?P<chosen>show|allow|delete|keep)",
):
    """Acts for the member who presses it, so many members can use the same one."""

    def __init__(self, chosen: PrivacyAction) -> None:
        self.chosen = chosen
        style = discord.ButtonStyle.danger if chosen is PrivacyAction.DELETE else discord.ButtonStyle.secondary
        super().__init__(f"reactune:privacy:{chosen.value}", LABELS[chosen], style)

    @classmethod
    def parse(cls, match: Match[str]) -> PrivacyButton:
        return cls(PrivacyAction(match["chosen"]))

    async def interaction_check(self, _interaction: discord.Interaction, /) -> bool:
        return True  # everyone may see and delete their own data

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        user_id = interaction.user.id
        if self.chosen in (PrivacyAction.SHOW, PrivacyAction.ALLOW):
            await interaction.response.defer(ephemeral=True, thinking=True)
            answer = describe_member if self.chosen is PrivacyAction.SHOW else opt_in
            await answer_privately(interaction, await answer(services, user_id))
            return
        await interaction.response.edit_message(content="One moment …", view=None)  # no button for a second click
        done = (
            NOTHING_DELETED
            if self.chosen is PrivacyAction.KEEP
            else describe_deletion(await services.database.run(delete_member, user_id))
        )
        await interaction.edit_original_response(content=done)


async def describe_member(services: Services, user_id: int) -> str:
    """Return what `/privacy show` says."""
    data = await services.database.read(summarize_member_data, user_id)
    return describe_member_data(data, services.settings.privacy, on_discord=services.fixed_basis is None)


async def opt_in(services: Services, user_id: int) -> str:
    """Store the member's consent, and return the answer."""
    is_new = await services.database.run(give_consent, user_id)
    return describe_opt_in(services.settings.privacy, is_new=is_new, on_discord=services.fixed_basis is None)
