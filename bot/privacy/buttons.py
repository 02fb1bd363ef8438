"""Buttons with which members see, allow and delete what is stored about them."""

from __future__ import annotations

from enum import StrEnum
from re import Match

import discord

from bot.guards.error_handler import answer_privately
from bot.guards.interactions import PersistentButton
from bot.privacy.texts import describe_deletion, describe_holdings, describe_training
from bot.services import Services
from storage.privacy.consent import delete_member, give_consent
from storage.privacy.member_data import summarize_member_data

OUTSIDE_DISCORD = (
    "This is a demo on your own machine, not Discord: everything said here may be trained on. In Discord, only what "
    "members allow is."
)
ALLOWED = "Thank you. Answers to your messages may be trained on from now on. `/privacy opt-out` takes that back."
NOT_YET = "Noted. Nothing said in Discord is trained on at present; should the operator open it, you have agreed."
KEPT_ALL = "Nothing was deleted."


class PrivacyAction(StrEnum):
    """What a button does for whoever presses it."""

    SHOW = "show"
    ALLOW = "allow"
    DELETE = "delete"
    KEEP = "keep"


LABELS = {
    PrivacyAction.SHOW: "What is kept",
    PrivacyAction.ALLOW: "Allow training",
    PrivacyAction.DELETE: "Delete everything",
    PrivacyAction.KEEP: "Keep it",
}


def buttons(*acts: PrivacyAction) -> discord.ui.View:
    view = discord.ui.View(timeout=None)
    for act in acts:
        view.add_item(PrivacyButton(act))
    return view


class PrivacyButton(
    PersistentButton,
    template=r"reactune:privacy:(?P<act>show|allow|delete|keep)",
):
    """Acts for the member who presses it, so many people can use the same one."""

    def __init__(self, act: PrivacyAction) -> None:
        self.act = act
        style = discord.ButtonStyle.danger if act is PrivacyAction.DELETE else discord.ButtonStyle.secondary
        super().__init__(f"reactune:privacy:{act.value}", LABELS[act], style)

    @classmethod
    def parse(cls, match: Match[str]) -> PrivacyButton:
        return cls(PrivacyAction(match["act"]))

    async def interaction_check(self, _interaction: discord.Interaction, /) -> bool:
        return True  # nobody may be refused their own data

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        user_id = interaction.user.id
        if self.act in (PrivacyAction.SHOW, PrivacyAction.ALLOW):
            await interaction.response.defer(ephemeral=True, thinking=True)
            answer = describe_member if self.act is PrivacyAction.SHOW else allow
            await answer_privately(interaction, await answer(services, user_id))
            return
        await interaction.response.edit_message(content="One moment …", view=None)  # a second click finds no button
        done = (
            KEPT_ALL
            if self.act is PrivacyAction.KEEP
            else describe_deletion(await services.database.run(delete_member, user_id))
        )
        await interaction.edit_original_response(content=done)


async def describe_member(services: Services, user_id: int) -> str:
    """Return what `/privacy show` says."""
    holdings, privacy = await services.database.read(summarize_member_data, user_id), services.settings.privacy
    training = OUTSIDE_DISCORD if services.fixed_basis else describe_training(holdings, privacy)
    return f"{describe_holdings(holdings, privacy)}\n{training}"


async def allow(services: Services, user_id: int) -> str:
    """Note the member's consent, and return what to say to it."""
    await services.database.run(give_consent, user_id)
    if services.fixed_basis is not None:
        return OUTSIDE_DISCORD
    return ALLOWED if services.settings.privacy.discord_training_permission else NOT_YET
