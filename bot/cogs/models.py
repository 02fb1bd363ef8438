"""Lets admins watch, train, promote and roll back."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import discord
from discord import app_commands
from discord.ext import commands, tasks
from sqlalchemy.orm import Session

from bot.app import ReactuneBot
from bot.permissions import NotAnAdmin, is_admin
from bot.reports import Status, describe_round, describe_status, describe_version, describe_versions
from storage.evidence import count_evidence
from storage.privacy import describe_bases
from storage.processes import TRAINER, is_alive
from storage.rounds import (
    Round,
    find_round,
    latest_round,
    request_round,
    show_progress_in,
    shown_rounds,
    stop_showing_progress,
)
from storage.schema import CHAMPION, LAST_GOOD
from storage.versions import (
    BASE_NAME,
    Version,
    find_version,
    list_moves,
    list_versions,
    name_of,
    promote,
    read_alias,
    roll_back,
    version_named,
)
from storage.votes import Tally, tally_by_version

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_S = 1.0
MESSAGE_CHARS = 2_000
CHOICES = 25
NO_TRAINER = "\n⚠️ No trainer is running, so nothing will happen until one is started with `reactune trainer`."


@app_commands.guild_only()
@app_commands.default_permissions(manage_guild=True)
class Models(commands.GroupCog, group_name="model", group_description="Watch, train, promote and roll back"):
    def __init__(self, bot: ReactuneBot) -> None:
        self.bot = bot

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        if not is_admin(interaction.user, self.bot.settings.discord):
            raise NotAnAdmin
        return True

    @commands.Cog.listener()
    async def on_ready(self) -> None:
        """Go on showing rounds that an earlier life of the bot began to show."""
        self._follow_rounds()

    @app_commands.command()
    async def status(self, interaction: discord.Interaction) -> None:
        """Show which version answers, what there is to learn from, and the latest round."""
        await interaction.response.defer(ephemeral=True)
        # Asking for the champion notes whether its files are sound.
        await self.bot.releases.current()
        status = await self.bot.database.read(self._status)
        await interaction.followup.send(describe_status(status)[:MESSAGE_CHARS], ephemeral=True)

    def _status(self, session: Session) -> Status:
        settings, personality = self.bot.settings, self.bot.personality_id
        return Status(
            champion=read_alias(session, personality, CHAMPION),
            last_good=read_alias(session, personality, LAST_GOOD),
            base_name=self.bot.base.name,
            problem=self.bot.releases.problem,
            evidence=count_evidence(session, personality, settings.privacy),
            pairs_needed=settings.training.min_pairs,
            bases=describe_bases(settings.privacy),
            latest_round=latest_round(session, personality),
            trainer_alive=is_alive(session, TRAINER),
            schedule=settings.training.schedule,
        )

    @app_commands.command()
    async def train(self, interaction: discord.Interaction) -> None:
        """Train a new version on the votes and suggestions so far."""
        await interaction.response.defer()
        by = _named(interaction.user)

        round_, _ = await self.bot.database.run(lambda session: request_round(session, self.bot.personality_id, by))
        message = await interaction.edit_original_response(content=await self._progress_text(round_))
        await self.bot.database.run(
            lambda session: show_progress_in(session, round_.id, message.channel.id, message.id)
        )
        self._follow_rounds()

    @app_commands.command(name="list")
    async def list_all(self, interaction: discord.Interaction) -> None:
        """List the versions with their votes."""

        def read(session: Session) -> str:
            personality = self.bot.personality_id
            versions = list_versions(session, personality)
            return describe_versions(versions, read_alias(session, personality), tally_by_version(session, personality))

        text = await self.bot.database.read(read)
        await interaction.response.send_message(_shortened(text), ephemeral=True)

    @app_commands.command()
    @app_commands.describe(version="A version such as v3")
    async def show(self, interaction: discord.Interaction, version: str) -> None:
        """Show where a version comes from and how it measured."""

        def read(session: Session) -> str:
            personality = self.bot.personality_id
            found = version_named(session, personality, version)
            if found is None:
                return f"**base** · {self.bot.base.name} ({self.bot.base.revision}), without an adapter."
            round_ = find_round(session, found.round_id) if found.round_id else None
            votes = tally_by_version(session, personality).get(found.id, Tally())
            moves = [m for m in list_moves(session, personality) if found.id in (m.from_version_id, m.to_version_id)]
            return describe_version(found, find_version(session, found.parent_id), round_, votes, moves)

        text = await self.bot.database.read(read)
        await interaction.response.send_message(text[:MESSAGE_CHARS], ephemeral=True)

    @app_commands.command(name="promote")
    @app_commands.describe(version="A version such as v3, or base", reason="Why; it is kept in the audit trail")
    async def promote_version(self, interaction: discord.Interaction, version: str, reason: str = "") -> None:
        """Make a version the one that answers."""
        by = _named(interaction.user)

        def move(session: Session) -> tuple[Version | None, Version | None]:
            personality = self.bot.personality_id
            target = version_named(session, personality, version)
            self.bot.releases.open(target)
            champion = read_alias(session, personality)
            promote(
                session,
                personality,
                target,
                expected_generation=champion.generation,
                by=by,
                reason=reason or "promoted in Discord",
            )
            return champion.version, target

        before, after = await self.bot.database.run(move)
        log.info("%s promoted %s (before: %s)", by, name_of(after), name_of(before))
        await interaction.response.send_message(
            f"**{name_of(after)}** answers from now on (before: {name_of(before)}). Undo it with `/model rollback`."
        )

    @app_commands.command()
    @app_commands.describe(reason="Why; it is kept in the audit trail")
    async def rollback(self, interaction: discord.Interaction, reason: str = "") -> None:
        """Go back to the version that answered before."""
        by = _named(interaction.user)

        def move(session: Session) -> tuple[Version | None, Version | None]:
            personality = self.bot.personality_id
            champion = read_alias(session, personality)
            after = roll_back(
                session,
                personality,
                expected_generation=champion.generation,
                by=by,
                reason=reason or "rolled back in Discord",
            )
            return champion.version, after.version

        before, after = await self.bot.database.run(move)
        log.info("%s rolled back from %s to %s", by, name_of(before), name_of(after))
        await interaction.response.send_message(
            f"Rolled back: **{name_of(after)}** answers again. "
            f"`/model promote {name_of(before)}` brings {name_of(before)} back."
        )

    @show.autocomplete("version")
    @promote_version.autocomplete("version")
    async def complete_version(self, interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        if not is_admin(interaction.user, self.bot.settings.discord):
            return []
        versions = await self.bot.database.read(lambda session: list_versions(session, self.bot.personality_id))
        names = [version.name for version in versions] + [BASE_NAME]
        if current in names:
            return []  # nothing to choose: with a choice on offer, Enter would take it instead of sending the command
        return [app_commands.Choice(name=n, value=n) for n in names if current.lower() in n][:CHOICES]

    def _follow_rounds(self) -> None:
        self.bot.spawn(self._start_following(), "follow rounds")

    async def _start_following(self) -> None:
        if not self._follow.is_running():
            self._follow.start()

    async def cog_unload(self) -> None:
        self._follow.cancel()

    @tasks.loop(seconds=PROGRESS_INTERVAL_S)
    async def _follow(self) -> None:
        """Bring the messages that show a round up to date; stop when there are none."""
        rounds = await self.bot.database.read(shown_rounds)
        await self._show_progress(rounds)
        if not any(round_.is_open for round_ in rounds):
            self._follow.stop()

    async def _show_progress(self, rounds: Sequence[Round]) -> None:
        for round_ in rounds:
            if not await self._edit_progress(round_) or not round_.is_open:
                await self.bot.database.run(lambda session, id_=round_.id: stop_showing_progress(session, id_))  # type: ignore[misc]

    async def _edit_progress(self, round_: Round) -> bool:
        """Return whether the message still exists."""
        if round_.progress_channel_id is None or round_.progress_message_id is None:
            return False
        # Not the interaction's token: it ends after 15 minutes, a round may not.
        channel = self.bot.get_partial_messageable(round_.progress_channel_id)
        message = channel.get_partial_message(round_.progress_message_id)
        try:
            await message.edit(content=await self._progress_text(round_))
        except (discord.NotFound, discord.Forbidden) as error:
            log.warning("the progress of round %d can no longer be shown: %s", round_.id, error)
            return False
        except discord.HTTPException as error:
            log.warning("Discord did not take the progress of round %d: %s", round_.id, error)
        return True

    async def _progress_text(self, round_: Round) -> str:
        advice = await self.bot.database.read(lambda session: _advice(session, round_))
        return describe_round(round_)[: MESSAGE_CHARS - len(advice)] + advice


def _advice(session: Session, round_: Round) -> str:
    """Return what an admin should do about the round now, if anything."""
    if round_.is_open:
        return "" if is_alive(session, TRAINER) else NO_TRAINER
    made = next((v for v in list_versions(session, round_.personality_id) if v.round_id == round_.id), None)
    if made is None:
        return ""
    return f"\n`/model promote {made.name}` makes {made.name} answer, `/model show {made.name}` tells more."


def _named(user: discord.User | discord.Member) -> str:
    return f"{user.name} ({user.id})"[:64]


def _shortened(text: str) -> str:
    if len(text) <= MESSAGE_CHARS:
        return text
    kept = text[: MESSAGE_CHARS - 60].rsplit("\n", 1)[0]
    return f"{kept}\n… older ones: `reactune model list`"


async def setup(bot: ReactuneBot) -> None:
    await bot.add_cog(Models(bot))
