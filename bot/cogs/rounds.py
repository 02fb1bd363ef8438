"""The messages that show the progress of rounds."""

from __future__ import annotations

import logging

import discord
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.personalities.selection import signed
from bot.services import Services
from bot.text.rounds import describe_round
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.database.enums import CHALLENGER, GateVerdict
from storage.personalities.personalities import Personality, read_personality
from storage.releases.versions import list_versions, read_alias
from storage.runtime.processes import TRAINER, is_alive
from storage.training.rounds import Round, shown_rounds, stop_showing_progress

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_S = 1.0
NO_TRAINER = "⚠️ No trainer is running. The round starts when one does: `reactune trainer`."


class ProgressMessages:
    """Keeps the messages of rounds up to date, also after a restart."""

    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self._bot = bot
        self._services = services
        self._shown: dict[int, str] = {}
        """{round id: text}"""

    def start(self) -> None:
        self._services.tasks.repeat(self._update, PROGRESS_INTERVAL_S, "show the progress of rounds")

    async def text_of(self, round_: Round) -> str:
        def read(session: Session) -> tuple[Personality, str]:
            return read_personality(session, round_.personality_id), _next_step(session, round_)

        whose, next_step = await self._services.database.read(read)
        end = f"\n{next_step}" if next_step else ""
        return signed(whose, describe_round(round_))[: MAX_MESSAGE_CHARS - len(end)] + end

    async def _update(self) -> None:
        for round_ in await self._services.database.read(shown_rounds) if self._services.shards.lead else ():
            await self._update_one(round_)

    async def _update_one(self, round_: Round) -> None:
        """Edit the round's message if its text has changed, and forget the message after the last edit."""
        text = await self.text_of(round_)
        exists = self._shown.get(round_.id) == text or await self._edit(round_, text)
        self._shown[round_.id] = text
        if not exists or not round_.is_open:
            del self._shown[round_.id]
            await self._services.database.run(stop_showing_progress, round_.id)

    async def _edit(self, round_: Round, text: str) -> bool:
        """Return whether the message still exists."""
        if round_.progress_channel_id is None or round_.progress_message_id is None:
            return False
        # Not with the interaction's token, which expires after 15 minutes: a round can take longer.
        channel = self._bot.get_partial_messageable(round_.progress_channel_id)
        message = channel.get_partial_message(round_.progress_message_id)
        try:
            await message.edit(content=text)
        except (discord.NotFound, discord.Forbidden) as error:
            log.warning("The progress of round %d can no longer be shown: %s", round_.id, error)
            return False
        except discord.HTTPException as error:
            log.warning("Discord did not accept the progress of round %d: %s", round_.id, error)
        return True


def _next_step(session: Session, round_: Round) -> str:
    """Return what an admin can do about the round now, if anything."""
    if round_.is_open:
        return "" if is_alive(session, TRAINER) else NO_TRAINER
    made = next((v for v in list_versions(session, round_.personality_id) if v.round_id == round_.id), None)
    if made is None:
        return ""
    name = made.name
    if read_alias(session, round_.personality_id).target == name:
        return f"{name} answers now. To undo this: `/model rollback`."
    if read_alias(session, round_.personality_id, CHALLENGER).target == name:
        return f"{name} answers a share of conversations. Details: `/model canary status`."
    if made.verdict is GateVerdict.PASS:
        return f"To use {name}, run `/model promote {name}`. Details: `/model show {name}`."
    return (
        f"To use {name} anyway, run `/model promote {name}` with `override` and a reason. "
        f"Details: `/model show {name}`."
    )
