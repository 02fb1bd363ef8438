"""The last thing that `/setup` offers: a first version, made from the examples on the chosen personality's card."""

from __future__ import annotations

from re import Match

import discord
from sqlalchemy.orm import Session

from bot.guards.access import require_admin
from bot.guards.audit import action_of
from bot.guards.interactions import PersistentButton
from bot.localization.sentences import gettext
from bot.personalities import selection
from bot.releases.progress_messages import request_shown_round
from bot.services import Services
from bot.text.rounds import describe_first_version
from storage.database.enums import TrainingSource
from storage.personalities.personalities import Personality, personality_named, read_personality
from storage.training.first_version import offered_examples
from storage.wording import gettext_noop

LABEL = gettext_noop("Make a first version")


class FirstVersionButton(PersistentButton, template=r"first-version:(?P<personality>\d+)"):
    """Asks for the same round as `/model train learn_from:examples`; everybody in the channel sees its progress."""

    action = "model train"

    def __init__(self, personality_id: int) -> None:
        super().__init__(f"first-version:{personality_id}", gettext(LABEL), discord.ButtonStyle.primary)
        self._personality_id = personality_id

    @classmethod
    def parse(cls, match: Match[str]) -> FirstVersionButton:
        return cls(int(match["personality"]))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_admin(interaction.user, services.settings.discord)
        await interaction.response.defer(thinking=True)
        whose = await services.database.read(read_personality, self._personality_id)
        selection.require_administrator(services, interaction.user, whose)
        asked = action_of(interaction, self.action, f"personality: {whose.name}, learn_from: {TrainingSource.EXAMPLES}")
        await request_shown_round(interaction, asked, whose, TrainingSource.EXAMPLES)


async def offer_first_version(
    services: Services, interaction: discord.Interaction, name: str
) -> tuple[str, FirstVersionButton] | None:
    """Return the offer and its button; None if there is nothing to offer to this admin."""

    def read(session: Session) -> tuple[Personality, int]:
        whose = personality_named(session, name, interaction.guild_id)
        return whose, offered_examples(session, whose, services.settings.demonstration)

    whose, examples = await services.database.read(read)
    if not examples or not selection.may_administer(services, interaction.user, whose):
        return None
    return describe_first_version(whose.name, examples), FirstVersionButton(whose.id)
