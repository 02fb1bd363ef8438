"""An arena's message, its buttons, and members' picks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import discord
from discord.utils import format_dt

from bot.discord_errors import DISCORD_ERRORS
from bot.guards.error_handler import answer_privately, member_message
from bot.guards.interactions import PersistentButton
from bot.localization.sentences import ENGLISH, gettext, ngettext, sentence, speaking
from bot.services import Services
from bot.text.panels import ELLIPSIS, MAX_PANEL_CHARS, Part, panel
from bot.text.rounds import bar
from bot.text.sanitize import escape_inline, sanitize_markdown, sanitize_sentence
from bot.text.splitting import split_message
from bot.text.tables import show_tables
from storage.database.enums import ArenaStatus
from storage.emoji import VARIATION_SELECTOR
from storage.errors import ArenaClosed, TranslatableError
from storage.sentences import Sentence
from storage.settings.sections import OutputSettings
from storage.votes.arenas import Arena, ArenaAnswer, PickGesture
from storage.wording import gettext_noop, message_link, shorten

log = logging.getLogger(__name__)
AROUND_CHARS = 80
"""Characters around an answer, at most: its number, version and votes."""
QUOTED_CHARS = 60
BLIND, WINNER, OTHER = discord.Colour.blurple(), discord.Colour.gold(), discord.Colour.light_grey()

CLOSED = gettext_noop("This arena is closed.")

KEYCAP = "\u20e3"


def preparing(ready: int, answers: int) -> str:
    return gettext("Preparing an arena … {ready} of {answers} answers ready", ready=ready, answers=answers)


def describe_pick(picked: int | None) -> str:
    if picked is None:
        return gettext("Your choice is taken back. Press a number to choose again.")
    return gettext(
        "You chose {number}. Press another number to change your choice, or {number} again to take it back.",
        number=picked,
    )


def describe_start(arena: Arena) -> str:
    if arena.status is ArenaStatus.FAILED:
        return cancelled(arena.reason)
    link = message_link(arena.guild_id, arena.channel_id, arena.message_id)
    prepared = gettext("The arena is being prepared: {link}", link=link)
    return f"{prepared}\n{gettext('To close it early, use `/arena stop`.')}"


def describe_stop(arena: Arena) -> str:
    if arena.status is ArenaStatus.OPEN:
        return gettext("The arena is closed. I'll post the results as soon as Discord accepts them.")
    return gettext(CLOSED) if arena.status is ArenaStatus.CLOSED else cancelled(arena.reason)


def blind_board(arena: Arena, answers: Sequence[ArenaAnswer], output: OutputSettings) -> discord.ui.LayoutView:
    """Return the open arena: answers with their buttons, without versions and votes."""
    head = (
        gettext("**Which answer is best?** Press its number. Closes {time}.", time=format_dt(arena.closes_at, "R"))
        + f"\n-# {gettext('Versions and results are shown when it closes.')}\n"
        f">>> {sanitize_markdown(arena.prompt, output)}"
    )
    texts = _shown(answers, output, len(head))
    return panel(
        discord.ui.TextDisplay(head),
        *(_blind(arena, answer, text) for answer, text in zip(answers, texts, strict=True)),
    )


def _blind(arena: Arena, answer: ArenaAnswer, text: str) -> Part:
    button: discord.ui.Item[Any] = PickButton(arena.id, answer.position)
    return discord.ui.Container(
        discord.ui.Section(f"### {answer.position}\n{text}", accessory=button), accent_colour=BLIND
    )


def results_board(arena: Arena, answers: Sequence[ArenaAnswer], output: OutputSettings) -> discord.ui.LayoutView:
    """Return the closed arena: the version and the votes of each answer."""
    winners = best_of(answers)
    head = f"**{gettext(CLOSED)}** {outcome(answers)}\n>>> {sanitize_markdown(arena.prompt, output)}"
    texts = _shown(answers, output, len(head))
    return panel(
        discord.ui.TextDisplay(head),
        *(_result(answer, text, answers, winners) for answer, text in zip(answers, texts, strict=True)),
    )


def cancelled_board(arena: Arena) -> discord.ui.LayoutView:
    return panel(discord.ui.TextDisplay(cancelled(arena.reason)))


def outcome(answers: Sequence[ArenaAnswer]) -> str:
    """Return a sentence about the winner, without Markdown."""
    winners = best_of(answers)
    if not winners:
        return gettext("Nobody chose.")
    total, names = (
        sum(answer.picks for answer in answers),
        [f"{answer.position} ({answer.version})" for answer in winners],
    )
    if len(names) > 1:
        return ngettext(
            "Answers {answers} and {last} tied with {picks} of {count} choice each.",
            "Answers {answers} and {last} tied with {picks} of {count} choices each.",
            total,
            answers=", ".join(names[:-1]),
            last=names[-1],
            picks=winners[0].picks,
        )
    return ngettext(
        "Answer {answer} won with {picks} of {count} choice.",
        "Answer {answer} won with {picks} of {count} choices.",
        total,
        answer=names[0],
        picks=winners[0].picks,
    )


def best_of(answers: Sequence[ArenaAnswer]) -> list[ArenaAnswer]:
    """Return the answers with the most picks; none if nobody chose."""
    most = max((answer.picks for answer in answers), default=0)
    return [answer for answer in answers if answer.picks == most and most]


def describe_arena(arena: Arena, answers: Sequence[ArenaAnswer]) -> str:
    """Return a line for admins; it shows the number of an open arena's choices, but not the answers they are for."""
    return f"<#{arena.channel_id}> · {escape_inline(shorten(arena.prompt, QUOTED_CHARS))} · {_state(arena, answers)}"


def _state(arena: Arena, answers: Sequence[ArenaAnswer]) -> str:
    if arena.status is ArenaStatus.PREPARING:
        return gettext("being prepared")
    if arena.status is ArenaStatus.OPEN:
        choices = sum(answer.picks for answer in answers)
        closes = gettext("closes {time}", time=format_dt(arena.closes_at, "R"))
        return f"{closes} · {ngettext('{count} choice so far', '{count} choices so far', choices)}"
    if arena.status is ArenaStatus.FAILED:
        return gettext("cancelled: {reason}", reason=describe_failure(arena.reason))
    if not arena.closed_at:
        return outcome(answers)
    closed = gettext("closed {time}", time=format_dt(arena.closed_at, "R"))
    return f"{closed} · {outcome(answers)}" if answers else closed  # old answers are deleted, with the choices


def _shown(answers: Sequence[ArenaAnswer], output: OutputSettings, head_chars: int) -> list[str]:
    room = MAX_PANEL_CHARS - head_chars - len(answers) * AROUND_CHARS
    return fit_fairly([show_tables(sanitize_markdown(answer.text, output), output) for answer in answers], room)


def fit_fairly(texts: Sequence[str], room: int) -> list[str]:
    """Return the texts, the longest cut to the same length, so that all of them fit into `room`."""
    longest = share_room([len(text) for text in texts], room)
    shown = longest - len(ELLIPSIS)
    return [text if len(text) <= longest else split_message(text, shown)[0] + ELLIPSIS for text in texts]


def share_room(lengths: Sequence[int], room: int) -> int:
    """Return the largest length to which all texts can be cut so that together they fit into `room`."""
    for position, length in enumerate(sorted(lengths)):
        share = room // (len(lengths) - position)
        if length > share:
            return share
        room -= length
    return max(lengths, default=0)


def _result(answer: ArenaAnswer, text: str, answers: Sequence[ArenaAnswer], winners: Sequence[ArenaAnswer]) -> Part:
    won = answer in winners
    title = f"### {answer.position} · {answer.version}{' 🏆' if won else ''}"
    everybody = max(1, sum(other.picks for other in answers))
    choices = f"-# {bar(answer.picks / everybody)} {ngettext('{count} choice', '{count} choices', answer.picks)}"
    shown = discord.ui.TextDisplay(f"{title}\n{text}\n{choices}")
    return discord.ui.Container(shown, accent_colour=WINNER if won else OTHER)


class PickButton(PersistentButton, template=r"reactune:arena:(?P<arena>\d+):(?P<position>\d+)"):
    def __init__(self, arena_id: int, position: int) -> None:
        self.arena_id = arena_id
        self.position = position
        custom_id = f"reactune:arena:{arena_id}:{position}"
        super().__init__(custom_id, str(position), discord.ButtonStyle.primary)

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        # Queued before Discord is asked, which may answer two presses in another order.
        user = interaction.user
        storing = asyncio.create_task(
            services.pick_queue.take(
                self.arena_id, user.id, self.position, PickGesture.PRESSED, joined_at=_joined_at(user)
            ),
            name=f"pick in arena {self.arena_id}",
        )
        with contextlib.suppress(*DISCORD_ERRORS):
            await interaction.response.defer(ephemeral=True, thinking=True)
        await answer_privately(interaction, describe_pick(await storing))


def number_of(emoji: str) -> int | None:
    """Return the number of a reaction from 1️⃣ to 4️⃣, or None."""
    digit, keycap = emoji[:1], emoji[1:].replace(VARIATION_SELECTOR, "")
    return int(digit) if keycap == KEYCAP and digit in "1234" else None


class NumberReactions:
    """Stores number reactions as picks, and removes them, because they would show members' picks."""

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
        except DISCORD_ERRORS as error:
            self._removed.discard((message_id, user_id, number))
            log.debug("Could not remove a reaction under message %s: %s", message_id, error)


def _joined_at(user: discord.User | discord.Member | None) -> datetime | None:
    return user.joined_at if isinstance(user, discord.Member) else None


def reason_of(error: BaseException) -> str:
    """Return the reason for an arena's failure as an English sentence for its channel that can be translated."""
    if isinstance(error, discord.NotFound):
        return gettext_noop("its message or channel was deleted")
    if isinstance(error, discord.Forbidden):
        return gettext_noop("I can no longer post in its channel")
    if isinstance(error, discord.HTTPException):
        return Sentence("Discord rejected it ({status})", status=str(error.status))
    if isinstance(error, TranslatableError) and error.message:
        return error.sentence
    with speaking(ENGLISH):
        return member_message(error)


def cancelled(reason: str) -> str:
    """Return the end of an arena with the reason."""
    return f"{gettext('This arena was cancelled.')} {sentence(describe_failure(reason))}"


def describe_failure(reason: str) -> str:
    """Return a stored reason, translated if it is a sentence of ours."""
    return sanitize_sentence(gettext(reason))
