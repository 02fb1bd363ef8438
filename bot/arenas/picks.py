"""Picks: members press a button or react with a number."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import datetime
from re import Match

import discord

from bot.arenas.board import describe_pick
from bot.guards.error_handler import answer_privately
from bot.guards.interactions import PersistentButton
from bot.services import Services
from storage.errors import ArenaClosed
from storage.votes.picks import PickGesture

log = logging.getLogger(__name__)

KEYCAP = "\u20e3"
VARIATION_SELECTOR = "\ufe0f"


def pick_buttons(arena_id: int, answers: int) -> discord.ui.View:
    view = discord.ui.View(timeout=None)
    for position in range(1, answers + 1):
        view.add_item(PickButton(arena_id, position))
    return view


class PickButton(
    PersistentButton,
    template=r"reactune:arena:(?P<arena>\d+):(?P<position>\d+)",
):
    def __init__(self, arena_id: int, position: int) -> None:
        self.arena_id = arena_id
        self.position = position
        custom_id = f"reactune:arena:{arena_id}:{position}"
        super().__init__(custom_id, str(position), discord.ButtonStyle.primary)

    @classmethod
    def parse(cls, match: Match[str]) -> PickButton:
        return cls(int(match["arena"]), int(match["position"]))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        # Queued before Discord is asked, which may answer two presses in another order.
        user = interaction.user
        storing = asyncio.create_task(
            services.pick_queue.take(
                self.arena_id, user.id, self.position, PickGesture.PRESSED, joined_at=_joined_at(user)
            ),
            name=f"pick in arena {self.arena_id}",
        )
        with contextlib.suppress(discord.HTTPException):
            await interaction.response.defer(ephemeral=True, thinking=True)
        await answer_privately(interaction, describe_pick(await storing))


def number_of(emoji: str) -> int | None:
    """Return the number of a reaction from 1️⃣ to 4️⃣, or None."""
    digit, keycap = emoji[:1], emoji[1:].replace(VARIATION_SELECTOR, "")
    return int(digit) if keycap == KEYCAP and digit in "1234" else None


class NumberReactions:
    """Stores number reactions as picks, and removes them, because they would show who picked what."""

    def __init__(self, client: discord.Client, services: Services) -> None:
        self._client = client
        self._services = services
        self._removed: set[tuple[int, int, int]] = set()
        """(message id, user id, number) of reactions that the bot itself removes."""

    def forget_removed(self) -> None:
        """Stop waiting for the events of removed reactions: a gap in the connection loses them."""
        self._removed.clear()

    def observe(self, arena_id: int, payload: discord.RawReactionActionEvent, gesture: PickGesture) -> None:
        """Handle a reaction event under an arena, in the background."""
        number = number_of(str(payload.emoji))
        if number is None:
            return
        key = (payload.message_id, payload.user_id, number)
        if gesture is PickGesture.UNREACTED and key in self._removed:
            self._removed.discard(key)
        else:
            self._services.tasks.spawn(self._pick(arena_id, payload, number, gesture), f"pick in arena {arena_id}")

    async def _pick(
        self, arena_id: int, payload: discord.RawReactionActionEvent, number: int, gesture: PickGesture
    ) -> None:
        joined_at = _joined_at(payload.member)
        with contextlib.suppress(ArenaClosed):
            await self._services.pick_queue.take(arena_id, payload.user_id, number, gesture, joined_at=joined_at)
        if gesture is PickGesture.REACTED:
            await self._remove(payload.channel_id, payload.message_id, payload.user_id, number)

    async def reread(self, arena_id: int, guild_id: int | None, message: discord.Message) -> None:
        """Store the number reactions that were added while the bot was offline."""
        # If the bot can remove reactions, a remaining one was never counted; otherwise it may be an old one.
        gesture = PickGesture.REACTED if self._can_remove(message.channel.id) else PickGesture.FOUND
        for reaction in message.reactions:
            number = number_of(str(reaction.emoji))
            if number is None:
                continue
            for kind in discord.ReactionType:
                async for user in reaction.users(type=kind):
                    if not user.bot and await self._services.access.has_allowed_role(guild_id, user.id):
                        with contextlib.suppress(ArenaClosed):  # its message was deleted in the meantime
                            await self._services.pick_queue.take(arena_id, user.id, number, gesture, reread=True)
                        await self._remove(message.channel.id, message.id, user.id, number)

    def _can_remove(self, channel_id: int) -> bool:
        channel = self._client.get_channel(channel_id)
        if not isinstance(channel, discord.abc.GuildChannel | discord.Thread):
            return False
        return channel.permissions_for(channel.guild.me).manage_messages

    async def _remove(self, channel_id: int, message_id: int, user_id: int, number: int) -> None:
        if not self._can_remove(channel_id):
            return
        self._removed.add((message_id, user_id, number))
        message = self._client.get_partial_messageable(channel_id).get_partial_message(message_id)
        try:
            await message.remove_reaction(f"{number}{VARIATION_SELECTOR}{KEYCAP}", discord.Object(user_id))
        except discord.HTTPException as error:
            self._removed.discard((message_id, user_id, number))
            log.debug("Could not remove a reaction under message %s: %s", message_id, error)


def _joined_at(user: discord.User | discord.Member | None) -> datetime | None:
    return user.joined_at if isinstance(user, discord.Member) else None
