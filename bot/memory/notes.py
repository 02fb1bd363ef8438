"""A member's notes as `/me show` lists them: some can be forgotten, and the bot's questions stopped."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from re import Match
from typing import Self

import discord
from sqlalchemy.orm import Session

from bot.errors import UserFacingError
from bot.guards.interactions import HELP_CHARS, LABEL_CHARS, Form, PersistentButton, button_row
from bot.localization.sentences import gettext
from bot.privacy.notices import describe_deletion
from bot.services import Services
from bot.text.sanitize import escape_inline
from bot.text.splitting import fit_lines
from storage.memory import Note, allow_questions, are_questions_allowed, list_notes
from storage.privacy.erasure import forget_notes
from storage.wording import gettext_noop, shorten

NO_NOTES = gettext_noop("I have no notes about you here. Add one with `/me remember`.")
MAY_ASK = gettext_noop("I may ask you, at most once a day, whether to remember what you say about yourself.")
NEVER_ASKS = gettext_noop("I never ask you to let me remember something.")
MORE = gettext_noop("… and {left} more: *Forget notes …* lists all.")
ALL = "all"
NOTES_CHARS = 1_400
"""The room of the list in a message; the rest is for what was done."""
MOST_OPTIONS, OPTION_CHARS = 25, 100  # Discord's limits


async def show_notes(interaction: discord.Interaction, services: Services, done: str = "") -> None:
    """Show the member's notes here, below what was done, in place of their deferred answer."""
    user_id = interaction.user.id

    def read(session: Session) -> tuple[list[Note], bool]:
        return list_notes(session, user_id, interaction.guild_id), are_questions_allowed(session, user_id)

    notes, is_allowed = await services.database.read(read)
    lines = [f"{number}. {escape_inline(note.text)}" for number, note in enumerate(notes, start=1)]
    shown = fit_lines(lines or [gettext(NO_NOTES)], f"-# {gettext(MORE)}", NOTES_CHARS)
    buttons: list[PersistentButton] = [ForgetButton()] if notes else []
    asking = ""
    if services.settings.memory.propose_facts:
        asking = f"-# {gettext(MAY_ASK if is_allowed else NEVER_ASKS)}"
        buttons.append(AskButton(allowed=not is_allowed))
    await interaction.edit_original_response(
        content="\n".join(filter(None, (done, shown, asking))), view=button_row(buttons) if buttons else None
    )


class AskButton(PersistentButton, template=r"reactune:me:ask:(?P<allowed>yes|no)"):
    """Lets the bot ask whether to remember something, or stops that."""

    def __init__(self, *, allowed: bool) -> None:
        self.allowed = allowed
        label = gettext("You may ask me") if allowed else gettext("Never ask me")
        super().__init__(f"reactune:me:ask:{'yes' if allowed else 'no'}", label)

    @classmethod
    def parse(cls, match: Match[str]) -> AskButton:
        return cls(allowed=match["allowed"] == "yes")

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        await interaction.response.defer()
        await services.database.run(partial(allow_questions, allowed=self.allowed), interaction.user.id)
        await show_notes(interaction, services)


class ForgetButton(PersistentButton, template=r"reactune:me:forget"):
    def __init__(self) -> None:
        super().__init__("reactune:me:forget", gettext("Forget notes …"))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        notes = await services.database.read(list_notes, interaction.user.id, interaction.guild_id)
        if not notes:
            raise UserFacingError(NO_NOTES)
        await interaction.response.send_modal(ForgetForm(services, notes))


class ForgetForm(Form):
    def __init__(self, services: Services, notes: Sequence[Note]) -> None:
        super().__init__(services, gettext("Forget notes"))
        options = [
            discord.SelectOption(label=shorten(note.text, OPTION_CHARS), value=note.created_at.isoformat())
            for note in notes[: MOST_OPTIONS - 1]
        ]
        options.append(discord.SelectOption(label=gettext("All notes"), value=ALL))
        self._chosen: discord.ui.Select[Self] = discord.ui.Select(
            custom_id="notes", options=options, max_values=len(options)
        )
        label = shorten(gettext("Which ones?"), LABEL_CHARS)
        about = shorten(gettext("I also delete my record of the answers that used them, with their votes."), HELP_CHARS)
        self.add_item(discord.ui.Label(text=label, description=about, component=self._chosen))

    async def on_submit(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer()
        values = self._chosen.values
        moments = None if ALL in values else {datetime.fromisoformat(value) for value in values}
        deleted = await self._services.database.run(forget_notes, interaction.user.id, interaction.guild_id, moments)
        await self._services.tastes.refresh()
        done = describe_deletion(deleted) if deleted.notes else gettext("Those notes were gone already.")
        await show_notes(interaction, self._services, done)
