"""Shows the progress of rounds in Discord."""

from __future__ import annotations

import logging

import discord
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.discord_errors import DISCORD_ERRORS, is_temporary
from bot.guards.audit import run_audited
from bot.localization.languages import languages_of
from bot.localization.sentences import gettext, speaking
from bot.personalities.selection import signed
from bot.releases.announcer import send_with
from bot.services import Services, services_of
from bot.text.releases import before_after_embeds
from bot.text.rounds import describe_open, describe_round
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.database.enums import GateVerdict, TrainingSource
from storage.operations.audit import AuditedAction
from storage.personalities.personalities import Personality, read_personality
from storage.releases.before_after import compare_round
from storage.releases.versions import Version, read_alias, version_of_round
from storage.runtime.processes import TRAINER, is_alive
from storage.training.rounds import Round, request_round, show_progress_in, shown_rounds, stop_showing_progress
from storage.wording import message_link

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_S = 1.0


class ProgressMessages:
    """Keeps the messages of rounds up to date, also after a restart."""

    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self._bot = bot
        self._services = services
        self._shown: dict[int, str] = {}
        """{round id: text}"""
        self._refused: set[int] = set()
        """Rounds whose last edit Discord refused."""

    def start(self) -> None:
        self._services.tasks.repeat(self._update, PROGRESS_INTERVAL_S, "show the progress of rounds")

    async def _update(self) -> None:
        """Edit the rounds' messages whose text has changed, and forget a message after its last edit."""
        for round_ in await self._services.database.read(shown_rounds) if self._services.shards.lead else ():
            try:
                exists = await self._show(round_)
            except DISCORD_ERRORS as error:
                if round_.id not in self._refused:
                    log.warning("Discord did not accept the progress of round %d; trying again: %s", round_.id, error)
                self._refused.add(round_.id)
                continue
            self._refused.discard(round_.id)
            if not exists or not round_.is_open:
                self._shown.pop(round_.id, None)
                await self._services.database.run(stop_showing_progress, round_.id)

    async def _show(self, round_: Round) -> bool:
        """Show the round's progress and return whether its message still exists.

        Raises DISCORD_ERRORS if Discord may accept it later.
        """
        if round_.progress_channel_id is None or round_.progress_message_id is None:
            return False
        compared = None if round_.is_open else await self._services.database.read(compare_round, round_.id)
        with speaking(languages_of(self._bot).of_channel(round_.progress_channel_id)):
            text = await _text_of(self._services, round_)
            embeds = before_after_embeds(compared)
        if self._shown.get(round_.id) == text:
            return True
        # Not with the interaction's token, which expires after 15 minutes: a round can take longer.
        channel = self._bot.get_partial_messageable(round_.progress_channel_id)
        message = channel.get_partial_message(round_.progress_message_id)
        try:
            await send_with(embeds, message.edit, text)
        except DISCORD_ERRORS as error:
            if is_temporary(error):
                raise
            log.info("The progress of round %d can no longer be shown: %s", round_.id, error)
            return False
        self._shown[round_.id] = text
        return True


async def request_shown_round(
    interaction: discord.Interaction, action: AuditedAction, whose: Personality, learns_from: TrainingSource
) -> None:
    """Request a round in answer to a deferred interaction, and show its progress there, or where it is shown."""
    services = services_of(interaction)
    round_, _ = await run_audited(interaction, action, request_round, whose.id, action.actor, learns_from)
    if round_.progress_channel_id is not None:
        link = message_link(interaction.guild_id, round_.progress_channel_id, round_.progress_message_id)
        await interaction.edit_original_response(content=signed(whose, describe_open(round_, link)))
        return
    message = await interaction.edit_original_response(content=await _text_of(services, round_))
    await services.database.run(show_progress_in, round_.id, message.channel.id, message.id)


async def _text_of(services: Services, round_: Round) -> str:
    def read(session: Session) -> tuple[Personality, str]:
        return read_personality(session, round_.personality_id), _next_step(session, round_)

    whose, next_step = await services.database.read(read)
    end = f"\n{next_step}" if next_step else ""
    return signed(whose, describe_round(round_))[: MAX_MESSAGE_CHARS - len(end)] + end


def _next_step(session: Session, round_: Round) -> str:
    if round_.is_open:
        return (
            ""
            if is_alive(session, TRAINER)
            else gettext("⚠️ No trainer is running. The round starts when one does: `reactune trainer`.")
        )
    made = version_of_round(session, round_.id)
    return _advice(session, made) if made else ""


def _advice(session: Session, made: Version) -> str:
    name = made.name
    if read_alias(session, made.personality_id).target == name:
        return gettext("{version} answers now. To undo this: `/version rollback`.", version=name)
    if made.verdict is GateVerdict.PASS:
        return gettext(
            "To use {version}, run `/version promote {version}`. Details: `/version show {version}`.", version=name
        )
    if made.verdict is GateVerdict.NOT_ENOUGH_EVIDENCE:
        return gettext(
            "People's choices decide about {version} from now on. `/version status` shows how far they are.",
            version=name,
        )
    return gettext(
        "To use {version} anyway, run `/version promote {version}` with `override` and a reason. Details: "
        "`/version show {version}`.",
        version=name,
    )
