"""Asks members which of two answers to a question they like better, without naming the versions."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import replace
from functools import partial

import discord

from bot.background import retry_until_available
from bot.chat.ask import Ask
from bot.chat.delivery import typing_in
from bot.chat.voices import SentMessage
from bot.discord_errors import DISCORD_ERRORS
from bot.errors import UserFacingError, VersionRefused
from bot.guards.access import is_quiet
from bot.guards.error_handler import answer_privately
from bot.guards.interactions import PersistentButton, button_row
from bot.localization.sentences import gettext
from bot.personalities.selection import chooses_as_admin
from bot.recent import Recent
from bot.releases.resolver import Release
from bot.services import Services
from storage.conversations.replies import FINISHED_WHOLE, Reply, find_reply
from storage.database.columns import utc_now
from storage.database.enums import Origin
from storage.errors import AdapterError
from storage.releases.versions import Version
from storage.votes.comparisons import Better, compare
from storage.wording import gettext_noop

log = logging.getLogger(__name__)

FIRST_LABEL = gettext_noop("first answer")
SECOND_LABEL = gettext_noop("second answer · which one is better?")
BUTTONS = {
    Better.FIRST: gettext_noop("First"),
    Better.SECOND: gettext_noop("Second"),
    Better.SAME: gettext_noop("About the same"),
}
NOTED = {
    Better.FIRST: gettext_noop("Noted: you like the first one better."),
    Better.SECOND: gettext_noop("Noted: you like the second one better."),
    Better.SAME: gettext_noop("Noted: you like both about the same."),
    None: gettext_noop("Your choice is taken back."),
}
GONE = gettext_noop("One of those answers was deleted, so there is nothing to choose.")


class SecondAnswers:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._last_was_pair = Recent[bool]()
        """Whether a member's last answer came with a second one, by user ID."""

    def is_due(self, member_id: int, share: float) -> bool:
        """Return whether this member's next answer comes with a second one: by chance, and never twice in a row.

        In the long run `share` of the answers do, at most half of them; of members' first answers, the same share.
        """
        last_was_pair = self._last_was_pair.pop(member_id, None)
        # Pairs, a share s of all answers, come only after those that came alone, a share 1 - s.
        chance = share if last_was_pair is None else share / max(share, 1 - share)
        is_busy = self._services.answerer.at_work > 0 or self._services.engine.waiting > 0
        is_unwelcome = is_busy or is_quiet(self._services.settings.chat, utc_now())
        is_due = not last_was_pair and not is_unwelcome and random.random() < chance
        self._last_was_pair[member_id] = is_due
        return is_due

    async def answer_twice(self, ask: Ask, rival: Version | None) -> None:
        """Answer as the champion and its rival, in random order.

        Without a rival, the champion answers twice; of several second answers, the one is shown whose comparison with
        the first teaches the taste most.
        """
        services = self._services
        other = ask.release if rival is None else await self._open(rival, ask)
        first, second = random.sample((ask.release, other), 2)
        answered = await services.answerer.answer(replace(ask, label=gettext(FIRST_LABEL), release=first))
        if answered.outcome not in FINISHED_WHOLE or answered.fell_back:
            return
        # A pick between two versions is evidence about them. Our own model must not choose which of their answers are
        # compared: it would choose the evidence.
        beside = answered.text if other is ask.release else None
        alternative = replace(
            ask, label=gettext(SECOND_LABEL), origin=Origin.ALTERNATIVE, release=second, beside=beside
        )
        try:
            async with typing_in(ask.channel):  # the first answer has ended it
                compared = await services.answerer.answer(alternative)
        except (UserFacingError, VersionRefused) as error:
            log.info("There is no second answer to compare: %s", error)
            return
        differs = compared.text != answered.text  # between equal answers there is nothing to choose
        if compared.outcome in FINISHED_WHOLE and compared.message is not None and differs:
            await _ask(compared.message, answered.reply_id, compared.reply_id)

    async def _open(self, version: Version, ask: Ask) -> Release:
        try:
            return await asyncio.to_thread(self._services.releases.open, version, ask.strength)
        except AdapterError as error:
            log.warning("%s cannot be compared with the version in use: %s", version.name, error)
            return ask.release


async def _ask(message: SentMessage, first_id: int, second_id: int) -> None:
    try:
        await message.edit(view=button_row(BetterButton(better, first_id, second_id) for better in Better))
    except DISCORD_ERRORS as error:
        log.warning("Discord refused the buttons under a second answer: %s", error)


class BetterButton(
    PersistentButton, template=r"reactune:better:(?P<better>first|second|same):(?P<first>\d+):(?P<second>\d+)"
):
    """A button that many members can use, each for their own preference."""

    def __init__(self, better: Better, first_id: int, second_id: int) -> None:
        self.better = better
        self.first_id = first_id
        self.second_id = second_id
        super().__init__(f"reactune:better:{better}:{first_id}:{second_id}", gettext(BUTTONS[better]))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        user = interaction.user
        home = (user.guild.id, user.joined_at) if isinstance(user, discord.Member) and user.joined_at else None

        async def store() -> tuple[Better | None, Reply | None]:
            reply = await services.database.read(find_reply, self.first_id)
            by_admin = reply is not None and await chooses_as_admin(services, user, reply.personality_id)
            stored = partial(compare, home=home, by_admin=by_admin)
            said = await services.database.run(stored, self.first_id, self.second_id, user.id, self.better)
            return said, reply

        try:
            said, reply = await retry_until_available(store, "A choice between two answers")
        except LookupError as error:
            raise UserFacingError(GONE) from error
        if reply is not None:
            services.tastes.note_choice(reply.personality_id, reply.id)
        await answer_privately(interaction, gettext(NOTED[said]))
