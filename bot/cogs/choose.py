"""`/choose`: ten private pairs of answers, one after another in one message; the console has a page for the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.arenas.board import fit_fairly
from bot.background import Pause, retry_until_available
from bot.chat.taste_news import tell_privately
from bot.errors import UserFacingError
from bot.guards.interactions import BotCog, PersistentButton
from bot.localization.sentences import gettext
from bot.personalities.selection import WHOSE, chooses_as_admin, chosen_personality, offer_personalities
from bot.services import Services, ServicesBot
from bot.sittings.drawer import PairDrawer
from bot.text.panels import MAX_PANEL_CHARS, action_row, panel
from bot.text.sanitize import sanitize_markdown
from bot.text.status import what_decides_next
from bot.text.tables import show_tables
from bot.text.taste import describe_liked
from storage.database.enums import NOBODY, Label
from storage.errors import SittingConflict
from storage.insights.model_status import read_next_decision
from storage.insights.taste_report import shown_effects
from storage.personalities.personalities import read_personality
from storage.privacy.consent import has_opted_out
from storage.sittings.sittings import (
    Sitting,
    SittingPair,
    begin_sitting,
    find_sitting,
    label_pair,
    next_pair,
    sittings_of_spares,
)
from storage.taste.learning import learn_taste
from storage.taste.likings import likings
from storage.wording import gettext_noop

PAIRS = 10
"""Pairs in a row before their lessons are shown."""
WAIT_S, LONGEST_WAIT_S, LOOK_EVERY_S = 3.0, 600.0, 0.2
"""Wait for a pair before the person reads that it is being drawn, the longest wait, and the pause between two checks.

Discord takes edits of a private message for 15 minutes.
"""
RENEW_S = 300.0
"""Pause between two checks whether the pairs for the next person are outdated, as after a round."""
AROUND_CHARS = 200
"""Room for what stands around the two texts, such as titles, in characters."""
BUTTONS = {
    Label.FIRST: gettext_noop("Left"),
    Label.SECOND: gettext_noop("Right"),
    Label.BOTH_GOOD: gettext_noop("Both good"),
    Label.BOTH_BAD: gettext_noop("Both bad"),
}
STILL_DRAWING = gettext_noop("I'm preparing answers to compare. They will appear here.")
OPTED_OUT = gettext_noop(
    "You don't want me to learn from you, so your choices would not count. `/privacy` changes that."
)


class Choose(BotCog):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        super().__init__(bot, services)
        self.drawer = PairDrawer(services)

    async def cog_load(self) -> None:
        self.services.tasks.repeat(self._renew_spares, RENEW_S, "draw pairs for the next person")

    async def _renew_spares(self) -> None:
        if self.services.shards.lead:
            for spares in await self.services.database.read(sittings_of_spares):
                self.drawer.keep_ahead(spares)

    @app_commands.command()
    @app_commands.describe(personality=WHOSE)
    @app_commands.autocomplete(personality=offer_personalities)
    async def choose(self, interaction: discord.Interaction, personality: str | None = None) -> None:
        """Compare two of my answers, ten times, and I learn which you like better. Only you see them."""
        await interaction.response.defer(ephemeral=True)
        chosen = await chosen_personality(self.services, interaction, personality)
        await self.show_pair(interaction, chosen.id, 0)

    async def show_pair(self, interaction: discord.Interaction, personality_id: int, done: int) -> None:
        """Show the person's next pair in their message, or why there is none now."""
        sitting, spares = await self.services.database.run(_sit_down, personality_id, interaction.user.id)
        self.drawer.keep_ahead(sitting)
        self.drawer.keep_ahead(spares)
        if found := await self._wait_for_pair(sitting, WAIT_S, asyncio.sleep):
            await self._show(interaction, sitting, done, found)
        else:
            view = _text_view(gettext(STILL_DRAWING), MorePairsButton(personality_id, done))
            await interaction.edit_original_response(view=view)
            later = self._show_once_drawn(interaction, sitting, done)
            self.services.tasks.restart(later, f"show answers to compare {sitting.id}")

    async def _show_once_drawn(self, interaction: discord.Interaction, sitting: Sitting, done: int) -> None:
        if found := await self._wait_for_pair(sitting, LONGEST_WAIT_S, self.services.tasks.pause):
            await self._show(interaction, sitting, done, found)

    async def _wait_for_pair(self, sitting: Sitting, longest_s: float, pause: Pause) -> SittingPair | str | None:
        """Return the pair, or why none could be drawn; None if that takes longer."""
        give_up_s = time.monotonic() + longest_s
        while True:
            if found := await self.services.database.read(next_pair, sitting) or self.drawer.take_problem(sitting):
                return found
            if time.monotonic() >= give_up_s:
                return None
            await pause(LOOK_EVERY_S)

    async def _show(
        self, interaction: discord.Interaction, sitting: Sitting, done: int, found: SittingPair | str
    ) -> None:
        if isinstance(found, str):
            view = _text_view(found, MorePairsButton(sitting.personality_id, done))
        else:
            taste = self.services.tastes.of(sitting.personality_id)
            news = await tell_privately(self.services, sitting.personality_id, interaction.user.id, taste)
            view = self._pair_view(found, done, news)
        await interaction.edit_original_response(view=view)

    def _pair_view(self, pair: SittingPair, done: int, news: Sequence[str]) -> discord.ui.LayoutView:
        output = self.services.settings.output
        where = gettext("{number} of {all}", number=done + 1, all=PAIRS)
        asked = f"**{gettext('Which answer is better?')}**\n-# {where}\n>>> {sanitize_markdown(pair.prompt, output)}"
        head = "\n".join([*news, asked])
        texts = [show_tables(sanitize_markdown(side.text, output), output) for side in (pair.first, pair.second)]
        left, right = fit_fairly(texts, MAX_PANEL_CHARS - len(head) - AROUND_CHARS)
        return panel(
            discord.ui.TextDisplay(head),
            _answer(Label.FIRST, left),
            _answer(Label.SECOND, right),
            action_row(*(ChooseButton(label, pair.id, done) for label in BUTTONS)),
        )

    async def show_learned(self, interaction: discord.Interaction, personality_id: int) -> None:
        """Show the lessons of everybody's choices after the tenth pair."""
        said = [gettext("Ten choices: thank you!")]
        if self.services.settings.privacy.learn_from_reactions:
            # The taste in memory may lag behind the tenth choice.
            taste = await self.services.database.read(learn_taste, personality_id, self.services.settings)
            liked = describe_liked(taste.counts, shown_effects(taste, likings(taste)))
            said += await tell_privately(self.services, personality_id, interaction.user.id, taste) or [liked]
        decision = await self.services.database.read(read_next_decision, personality_id, self.services.settings)
        if await chooses_as_admin(self.services, interaction.user, personality_id):
            said.append(what_decides_next(decision))
        elif decision.contest:
            said.append(gettext("Your choices help decide whether the new version takes over."))
        view = _text_view("\n".join(filter(None, said)), MorePairsButton(personality_id, 0, gettext("Ten more")))
        await interaction.edit_original_response(view=view)


def _sit_down(session: Session, personality_id: int, user_id: int) -> tuple[Sitting, Sitting]:
    """Return the person's sitting, and that of spares for the next person."""
    if has_opted_out(session, user_id):
        raise UserFacingError(OPTED_OUT)
    return begin_sitting(session, personality_id, user_id), begin_sitting(session, personality_id, NOBODY)


def _answer(label: Label, text: str) -> discord.ui.Container[discord.ui.LayoutView]:
    return discord.ui.Container(discord.ui.TextDisplay(f"### {gettext(BUTTONS[label])}\n{text}"))


def _text_view(text: str, button: MorePairsButton) -> discord.ui.LayoutView:
    return panel(discord.ui.TextDisplay(text), action_row(button))


def choose_of(bot: discord.Client) -> Choose:
    """Return the cog; the console shares its drawer, so that one person's pairs are never drawn twice at once."""
    assert isinstance(bot, ServicesBot)
    cog = bot.get_cog(Choose.__name__)
    assert isinstance(cog, Choose)
    return cog


class ChooseButton(
    PersistentButton, template=r"reactune:choose:(?P<label>first|second|both good|both bad):(?P<pair>\d+):(?P<done>\d)"
):
    def __init__(self, label: Label, pair_id: int, done: int) -> None:
        self.label = label
        self.pair_id = pair_id
        self.done = done
        super().__init__(
            f"reactune:choose:{label}:{pair_id}:{done}", gettext(BUTTONS[label]), discord.ButtonStyle.primary
        )

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        await interaction.response.defer()
        store = partial(self._store, interaction.user, services)
        personality_id, done = await retry_until_available(store, "A choice between two answers")
        await services.tastes.refresh(personality_id)
        if done < PAIRS:
            await choose_of(interaction.client).show_pair(interaction, personality_id, done)
        else:
            await choose_of(interaction.client).show_learned(interaction, personality_id)

    async def _store(self, user: discord.User | discord.Member, services: Services) -> tuple[int, int]:
        """Store the choice; return the personality, and the number of finished pairs of these ten.

        A second press for the same pair changes nothing.
        """
        sitting = await services.database.read(find_sitting, self.pair_id)
        if sitting is None or sitting.user_id != user.id:
            raise UserFacingError("That pair is gone. `/choose` shows you others.")
        home = (user.guild.id, user.joined_at) if isinstance(user, discord.Member) and user.joined_at else None
        by_admin = await chooses_as_admin(services, user, sitting.personality_id)
        label = partial(label_pair, home=home, by_admin=by_admin)
        try:
            await services.database.run(label, sitting, self.pair_id, self.label)
        except SittingConflict:
            return sitting.personality_id, self.done
        return sitting.personality_id, self.done + 1


class MorePairsButton(PersistentButton, template=r"reactune:choose:next:(?P<personality>\d+):(?P<done>\d)"):
    def __init__(self, personality_id: int, done: int, label: str = "") -> None:
        self.personality_id = personality_id
        self.done = done
        super().__init__(
            f"reactune:choose:next:{personality_id}:{done}", label or gettext("Try again"), discord.ButtonStyle.primary
        )

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        await interaction.response.defer()
        personality = await services.database.read(read_personality, self.personality_id)
        await choose_of(interaction.client).show_pair(interaction, personality.id, self.done)
