"""The guided `/setup`: one private message that is edited step by step.

Everything holds at once, at Finish, in one transaction: an admin who looks around, leaves, or is interrupted by a
restart has changed nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial

import discord
from discord import ui
from sqlalchemy.orm import Session

from bot.discord_errors import DISCORD_ERRORS
from bot.guards.access import require_admin, user_label
from bot.guards.audit import action_of, record_outcome, run_audited
from bot.guards.error_handler import report_error
from bot.guards.interactions import PersistentButton, begin_interaction, check_access, speak_publicly
from bot.localization.languages import Languages
from bot.localization.sentences import ENGLISH, gettext, speaking
from bot.personalities.selection import may_administer, require_administrator
from bot.releases.progress_messages import request_shown_round
from bot.servers.checks import WARNING, find_problems, first_try
from bot.servers.draft import Known, SetupDraft, describe_state, read_known
from bot.servers.steps import PREFIX, Pages, edit_to, steps_of
from bot.services import Services
from bot.text.rounds import describe_first_version
from bot.text.sanitize import escape_inline
from storage.database.enums import AuditOutcome, TrainingSource
from storage.errors import SetupConflict
from storage.personalities.personalities import Personality, personality_named, read_personality
from storage.training.rounds import offered_examples
from storage.wording import gettext_noop

log = logging.getLogger(__name__)

ACTION = "setup"
LASTS_S = 14 * 60.0
"""Time limit since the last click; Discord still accepts an edit for another minute."""
EXPIRED = gettext_noop("This took longer than 14 minutes, so nothing was changed. Use `/setup` again.")
RESTARTED = gettext_noop("I was restarted in the meantime, so nothing was changed. Use `/setup` again.")
CLOSED = gettext_noop("Closed. Nothing was changed.")
NOTHING_YET = gettext_noop("Nothing is set up here yet. This is what I do so far:")
INTRODUCTION = gettext_noop("Nothing changes before you press **Finish**.")
MOST_WARNINGS = 8
TEXT_CHARS = 3500
"""Characters for the lines, of Discord's 4,000 for all texts of a message; the rest is for heading and note."""
MORE_CHARS = 100
"""Characters for the line that counts the left-out lines."""
FIRST_VERSION = gettext_noop("Make a first version")


class FirstVersionButton(PersistentButton, template=r"first-version:(?P<personality>\d+)"):
    """Asks for the same round as `/version train learn_from:examples`; everybody in the channel sees its progress."""

    action = "version train"

    def __init__(self, personality_id: int) -> None:
        super().__init__(f"first-version:{personality_id}", gettext(FIRST_VERSION), discord.ButtonStyle.primary)
        self._personality_id = personality_id

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_admin(interaction.user, services.settings.discord)
        await interaction.response.defer(thinking=True)
        speak_publicly(interaction)
        whose = await services.database.read(read_personality, self._personality_id)
        require_administrator(services, interaction.user, whose)
        asked = action_of(interaction, self.action, f"personality: {whose.name}, learn_from: {TrainingSource.EXAMPLES}")
        await request_shown_round(interaction, asked, whose, TrainingSource.EXAMPLES)


async def offer_first_version(
    services: Services, interaction: discord.Interaction, name: str
) -> tuple[str, FirstVersionButton] | None:
    """Return the offer and its button; None if there is nothing to offer to this admin."""

    def read(session: Session) -> tuple[Personality, int]:
        whose = personality_named(session, name, interaction.guild_id)
        return whose, offered_examples(session, whose)

    whose, examples = await services.database.read(read)
    if not examples or not may_administer(services, interaction.user, whose):
        return None
    return describe_first_version(whose.name, examples), FirstVersionButton(whose.id)


class SetupView(Pages):
    """One admin's way through the pages; the first and the last show everything."""

    def __init__(self, services: Services, languages: Languages, guild: discord.Guild, here: int, known: Known) -> None:
        super().__init__(timeout=LASTS_S)
        self._services = services
        self._steps = steps_of(languages, services.settings)
        self._guild = guild
        self._here = here
        self._draft = SetupDraft.of(known)
        self._page = 0
        self._note = ""
        self._finishing = asyncio.Lock()
        self._latest: discord.Interaction | None = None
        self._fill()

    async def open(self, interaction: discord.Interaction) -> int:
        """Send the first page in answer to a deferred interaction, and return the ID of its message."""
        self._latest = interaction
        sent = await interaction.followup.send(view=self, ephemeral=True, wait=True)
        return sent.id

    async def show(self, interaction: discord.Interaction) -> None:
        """Show the page as it is now, in answer to a click."""
        self._latest = interaction
        self._fill()
        if interaction.response.is_done():
            await interaction.edit_original_response(view=self)
        else:
            await interaction.response.edit_message(view=self)
        self._note = ""

    async def turn(self, interaction: discord.Interaction, pages: int) -> None:
        await interaction.response.defer()  # the database may take longer than Discord waits
        self._page = min(max(self._page + pages, 0), len(self._steps) + 1)
        known = await read_now(self._services, self._guild)
        self._draft.known = replace(known, now=self._draft.known.now)  # one may have been made meanwhile
        if not self.is_finished():
            await self.show(interaction)

    async def finish(self, interaction: discord.Interaction) -> None:
        self._draft.require_complete()
        async with self._finishing:
            await interaction.response.defer()
            await self._store(interaction)

    async def _store(self, interaction: discord.Interaction) -> None:
        with speaking(ENGLISH):
            action = action_of(interaction, ACTION, "; ".join(self._draft.changes()))
        try:
            await run_audited(interaction, action, self._draft.apply, self._guild.id, user_label(interaction.user))
        except SetupConflict as error:
            await record_outcome(interaction, action, AuditOutcome.REFUSED, str(error))
            await self._show_conflict(interaction, error)
            return
        try:
            await self._services.setups.load()
        except Exception:
            log.warning("What a server chose is stored, and read again in a moment.", exc_info=True)
        log.info("%s set up server %d.", user_label(interaction.user), self._guild.id)
        offer = await offer_first_version(self._services, interaction, self._draft.personality)
        said, button = offer or ("", None)
        await self.end(interaction, "\n".join([*self._outcome(), said]).rstrip(), button)

    async def end(self, interaction: discord.Interaction, text: str, button: PersistentButton | None = None) -> None:
        self.stop()
        await edit_to(interaction, text, button)

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        begin_interaction(interaction)
        if not await check_access(interaction):
            return False
        require_admin(interaction.user, self._services.settings.discord)
        if self._finishing.locked():  # without an await between this and the callback
            await interaction.response.defer()
            return False
        return True

    async def on_error(self, interaction: discord.Interaction, error: Exception, _item: object, /) -> None:
        await report_error(interaction, error, ACTION)

    async def on_timeout(self) -> None:
        if self._latest is not None:
            with contextlib.suppress(*DISCORD_ERRORS):
                await edit_to(self._latest, gettext(EXPIRED))

    async def _show_conflict(self, interaction: discord.Interaction, error: SetupConflict) -> None:
        """Keep the admin's choice, beside the present setup."""
        self._draft.known = await read_now(self._services, self._guild)
        told = gettext(
            "{member} finished `/setup` in the meantime. Check what you would change.", member=escape_inline(error.by)
        )
        self._note = f"{WARNING} {told}"
        self._page = len(self._steps) + 1
        await self.show(interaction)

    # What a page shows

    def _fill(self) -> None:
        self.clear_items()
        pages = len(self._steps) + 2
        step = self._steps[self._page - 1] if 0 < self._page < pages - 1 else None
        title = gettext(step.title) if step else gettext("check and finish") if self._page else gettext("what is set")
        heading = gettext("{page} of {pages}: {title}", page=self._page + 1, pages=pages, title=title)
        rows = step.rows(self._draft, self._guild) if step else [self.lines(self._overview())]
        note = [ui.TextDisplay(self._note)] if self._note else []
        navigation = ui.ActionRow(
            SetupButton("back", gettext("Back"), partial(self.turn, pages=-1), disabled=not self._page),
            SetupButton("next", gettext("Next"), partial(self.turn, pages=1), disabled=self._page == pages - 1),
            SetupButton("finish", gettext("Finish"), self.finish),
            SetupButton("close", gettext("Close"), partial(self.end, text=gettext(CLOSED))),
        )
        self.add_item(ui.Container(ui.TextDisplay(f"### {heading}"), *note, *rows, ui.Separator(), navigation))

    def _overview(self) -> Iterable[str]:
        lines = self._draft.lines()
        if self._page:
            yield from lines
            yield from self._warnings(beside=lines)
            return
        now = self._draft.known.now
        yield now.describe_origin() or gettext(NOTHING_YET)
        yield from lines
        yield gettext(INTRODUCTION)

    def _outcome(self) -> Iterable[str]:
        draft = self._draft
        yield f"### {gettext('Saved. From now on:')}"
        lines = describe_state(draft.choices, draft.personality)
        yield from lines
        yield from self._warnings(beside=lines)
        yield first_try(draft.choices, self._services.settings, self._guild.channels, self._guild.me, self._here)

    def _warnings(self, beside: list[str]) -> list[str]:
        """Return the most important problems, as many as a message has room for beside its other lines."""
        found = find_problems(self._draft, self._services.settings, self._guild.channels, self._guild.me)
        shown = [f"{WARNING} {problem}" for problem in found[:MOST_WARNINGS]]
        while shown and len("\n".join([*beside, *shown])) > TEXT_CHARS - MORE_CHARS:
            shown.pop()
        more = len(found) - len(shown)
        last = [f"{WARNING} {gettext('And {number} more like these.', number=more)}"] if more else []
        return [*shown, *last]


class SetupButton(ui.Button[SetupView]):
    def __init__(
        self, key: str, label: str, then: Callable[[discord.Interaction], Awaitable[None]], *, disabled: bool = False
    ) -> None:
        style = discord.ButtonStyle.success if key == "finish" else discord.ButtonStyle.secondary
        super().__init__(label=label, custom_id=PREFIX + key, style=style, disabled=disabled)
        self._then = then

    async def callback(self, interaction: discord.Interaction) -> None:
        await self._then(interaction)


async def read_now(services: Services, guild: discord.Guild) -> Known:
    channel_ids = {channel.id for channel in (*guild.channels, *guild.threads)}
    return await services.database.read(read_known, services.settings, guild.id, channel_ids)
