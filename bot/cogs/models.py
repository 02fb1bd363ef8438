"""Lets admins watch, train, promote and roll back."""

from __future__ import annotations

import asyncio
import logging
from io import BytesIO
from typing import Literal

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.arenas.comparison import Contestant, choose_prompts, compare_versions, lay_side_by_side
from bot.arenas.prompt_bank import MAX_PROMPT_CHARS, read_bank
from bot.charts.report import describe_report, draw_report
from bot.errors import UserFacingError
from bot.guards.access import is_admin, require_admin, user_label
from bot.guards.audit import run_audited
from bot.personalities.selection import (
    WHOSE,
    administered_personality,
    chosen_personality,
    offer,
    offer_personalities,
    signed,
)
from bot.releases.resolver import Release
from bot.services import Services
from bot.text.attachments import answer_in_full
from bot.text.lineage import MARKDOWN, NO_LINEAGE, PLAIN, lineage_lines, plain_text, user_by_id, user_by_mention
from bot.text.rounds import Status, describe_round, describe_status, describe_version, describe_versions
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.database.columns import utc_now
from storage.database.enums import CHALLENGER, CHAMPION, LAST_GOOD, GateVerdict, TrainingSource
from storage.errors import PersonalityNotFound
from storage.insights.lineage import Lineage, read_lineage
from storage.insights.report import read_report
from storage.operations.token_spend import describe_spend, is_used_up, spent_on
from storage.personalities.cards import settings_of
from storage.personalities.personalities import Personality, read_personality
from storage.privacy.consent import describe_bases
from storage.releases.canaries import read_canary
from storage.releases.versions import (
    BASE_NAME,
    Alias,
    Version,
    ask_gate,
    continuation_of,
    failed_checks,
    find_version,
    list_versions,
    moves_of,
    name_of,
    promote,
    read_alias,
    roll_back,
    version_named,
)
from storage.runtime.processes import TRAINER, is_alive, live_processes
from storage.settings.sections import Settings
from storage.training.evidence import count_evidence
from storage.training.rounds import (
    Round,
    find_round,
    latest_round,
    request_round,
    running_rounds,
    show_progress_in,
    shown_rounds,
    stop_showing_progress,
)
from storage.votes.votes import Tally, tally_by_version

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_S = 1.0
NO_TRAINER = "\n⚠️ No trainer is running, so nothing will happen until one is started with `reactune trainer`."


@app_commands.guild_only()
@app_commands.default_permissions(manage_guild=True)
class Models(commands.GroupCog, group_name="model", group_description="Watch, train, promote and roll back"):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services
        self._shown: dict[int, str] = {}

    async def cog_load(self) -> None:
        self._following = self.services.tasks.repeat(self._follow, PROGRESS_INTERVAL_S, "show the progress of rounds")

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        require_admin(interaction.user, self.services.settings.discord)
        return True

    @app_commands.command()
    @app_commands.describe(personality=WHOSE)
    @app_commands.autocomplete(personality=offer_personalities)
    async def status(self, interaction: discord.Interaction, personality: str | None = None) -> None:
        """Show which version answers, what there is to learn from, and the latest round."""
        await interaction.response.defer(ephemeral=True)
        whose = await chosen_personality(self.services, interaction, personality)
        # Asking for the champion notes whether its files are sound.
        await self.services.releases.current(whose.id)
        status = await self.services.database.read(self._status, whose.id)
        await interaction.followup.send(signed(whose, describe_status(status))[:MAX_MESSAGE_CHARS], ephemeral=True)

    def _status(self, session: Session, personality: int) -> Status:
        settings = self.services.settings
        return Status(
            champion=read_alias(session, personality, CHAMPION),
            last_good=read_alias(session, personality, LAST_GOOD),
            canary=read_canary(session, personality, settings.votes),
            base_name=self.services.base.name,
            problem=self.services.releases.problem_of(personality),
            evidence=count_evidence(session, personality, settings.privacy, self.services.base.revision),
            pairs_needed=settings.training.min_pairs,
            bases=describe_bases(settings.privacy),
            continuation=continuation_of(session, personality),
            latest_round=latest_round(session, personality),
            trainers=live_processes(session, TRAINER),
            running=running_rounds(session),
            schedule=settings.training.schedule,
            spend=_spend(session, settings),
        )

    @app_commands.command()
    @app_commands.describe(
        personality=WHOSE, learn_from="Votes and suggestions, or the example dialogues of the personality's card"
    )
    @app_commands.autocomplete(personality=offer_personalities)
    async def train(
        self,
        interaction: discord.Interaction,
        personality: str | None = None,
        learn_from: Literal["votes", "examples"] = "votes",
    ) -> None:
        """Train a new version on the votes and suggestions so far, or on a card's examples."""
        await interaction.response.defer()
        whose, by = (
            await administered_personality(self.services, interaction, personality),
            user_label(interaction.user),
        )
        round_, _ = await run_audited(interaction, request_round, whose.id, by, TrainingSource(learn_from))
        message = await interaction.edit_original_response(content=await self._progress_text(round_))
        await self.services.database.run(show_progress_in, round_.id, message.channel.id, message.id)

    @app_commands.command(name="list")
    @app_commands.describe(personality=WHOSE)
    @app_commands.autocomplete(personality=offer_personalities)
    async def list_all(self, interaction: discord.Interaction, personality: str | None = None) -> None:
        """List the versions with their votes."""

        def read(session: Session, personality: int) -> str:
            versions = list_versions(session, personality)
            champion, challenger = (read_alias(session, personality, name) for name in (CHAMPION, CHALLENGER))
            return describe_versions(versions, champion, challenger, tally_by_version(session, personality))

        await interaction.response.defer(ephemeral=True)
        whose = await chosen_personality(self.services, interaction, personality)
        text = await self.services.database.read(read, whose.id)
        await interaction.followup.send(_shortened(signed(whose, text)), ephemeral=True)

    @app_commands.command()
    @app_commands.describe(version="A version such as v3", personality=WHOSE)
    @app_commands.autocomplete(personality=offer_personalities)
    async def show(self, interaction: discord.Interaction, version: str, personality: str | None = None) -> None:
        """Show where a version comes from and how it measured."""

        def read(session: Session, personality: int) -> str:
            found = version_named(session, personality, version)
            if found is None:
                return f"**base** · {self.services.base.name} ({self.services.base.revision}), without an adapter."
            round_ = find_round(session, found.round_id) if found.round_id else None
            votes = tally_by_version(session, personality).get(found.id, Tally())
            parent, moves = find_version(session, found.parent_id), moves_of(session, found)
            return describe_version(found, parent, round_, votes, moves, failed_checks=failed_checks(session, found))

        await interaction.response.defer(ephemeral=True)
        whose = await chosen_personality(self.services, interaction, personality)
        text = await self.services.database.read(read, whose.id)
        await interaction.followup.send(signed(whose, text)[:MAX_MESSAGE_CHARS], ephemeral=True)

    @app_commands.command(name="promote")
    @app_commands.describe(
        version="A version such as v3, or base",
        reason="Why; it is kept in the audit trail",
        override="Promote it although it did not pass the gate; say why",
        personality=WHOSE,
    )
    @app_commands.autocomplete(personality=offer_personalities)
    async def promote_version(
        self,
        interaction: discord.Interaction,
        version: str,
        reason: str = "",
        override: bool = False,
        personality: str | None = None,
    ) -> None:
        """Make a version the one that answers."""
        whose = await administered_personality(self.services, interaction, personality)
        champion = await self._champion(whose)
        await interaction.response.defer()
        target = await self.services.database.read(version_named, whose.id, version)
        await self.services.database.read(ask_gate, target, override=override, reason=reason)
        await asyncio.to_thread(self.services.releases.open, target)
        by = user_label(interaction.user)
        await run_audited(
            interaction,
            promote,
            whose.id,
            target,
            expected_generation=champion.generation,
            by=by,
            reason=reason or "promoted in Discord",
            override=override,
        )
        log.info("%s promoted %s of %s (before: %s)", by, name_of(target), whose.name, champion.target)
        text = f"**{name_of(target)}** answers from now on (before: {champion.target}). Undo it with `/model rollback`."
        await interaction.edit_original_response(content=signed(whose, text))

    @app_commands.command()
    @app_commands.describe(reason="Why; it is kept in the audit trail", personality=WHOSE)
    @app_commands.autocomplete(personality=offer_personalities)
    async def rollback(
        self, interaction: discord.Interaction, reason: str = "", personality: str | None = None
    ) -> None:
        """Go back to the version that answered before."""
        whose = await administered_personality(self.services, interaction, personality)
        champion = await self._champion(whose)
        await interaction.response.defer()
        by = user_label(interaction.user)
        after = await run_audited(
            interaction,
            roll_back,
            whose.id,
            expected_generation=champion.generation,
            by=by,
            reason=reason or "rolled back in Discord",
        )
        log.info("%s rolled %s back from %s to %s", by, whose.name, champion.target, after.target)
        text = (
            f"Rolled back: **{after.target}** answers again. "
            f"`/model promote {champion.target}` brings {champion.target} back."
        )
        await interaction.edit_original_response(content=signed(whose, text))

    @app_commands.command()
    @app_commands.describe(version="A version such as v3", personality=WHOSE)
    @app_commands.autocomplete(personality=offer_personalities)
    async def lineage(self, interaction: discord.Interaction, version: str, personality: str | None = None) -> None:
        """Show which rounds, votes and people made a version."""

        def read(session: Session, personality: int) -> Lineage | None:
            found = version_named(session, personality, version)
            return read_lineage(session, found.id) if found else None

        await interaction.response.defer(ephemeral=True)
        whose = await chosen_personality(self.services, interaction, personality)
        found = await self.services.database.read(read, whose.id)
        if found is None:
            await interaction.followup.send(NO_LINEAGE, ephemeral=True)
            return
        lines = lineage_lines(found, user_by_mention, MARKDOWN)
        text = plain_text(lineage_lines(found, user_by_id, PLAIN))
        await answer_in_full(interaction, lines, text, f"lineage-{found.version}.txt")

    @app_commands.command()
    @app_commands.describe(personality=WHOSE)
    @app_commands.autocomplete(personality=offer_personalities)
    async def report(self, interaction: discord.Interaction, personality: str | None = None) -> None:
        """Post a picture: approval, votes, pairs, training and the gate."""
        await interaction.response.defer()
        whose = await chosen_personality(self.services, interaction, personality)
        report = await self.services.database.read(read_report, whose.id, utc_now())
        picture = await asyncio.to_thread(draw_report, report, whose.name)
        words = signed(whose, describe_report(report))
        file = discord.File(BytesIO(picture), "report.png", description=words.replace("**", ""))
        await interaction.edit_original_response(content=words, attachments=[file])

    @app_commands.command(name="compare")
    @app_commands.describe(
        a="A version such as v3, or base",
        b="Another one",
        prompt="What to ask both; without it, three prompts of the prompt bank",
        personality=WHOSE,
    )
    @app_commands.autocomplete(personality=offer_personalities)
    async def compare_versions(
        self,
        interaction: discord.Interaction,
        a: str,
        b: str,
        prompt: app_commands.Range[str, 1, MAX_PROMPT_CHARS] | None = None,
        personality: str | None = None,
    ) -> None:
        """Ask two versions the same, and show their answers side by side."""
        await interaction.response.defer(ephemeral=True)
        whose = await chosen_personality(self.services, interaction, personality)
        settings = settings_of(self.services.settings, whose.card)
        releases = await self._open_two(whose, a, b)
        names = " and ".join(release.name for release in releases)

        async def report(done: int, of: int) -> None:
            await interaction.edit_original_response(content=f"Asking {names} … {done} of {of} answers")

        contestants = [Contestant(release.name, settings.chat.system_prompt, release) for release in releases]
        comparisons = await compare_versions(
            self.services.engine,
            contestants,
            await asyncio.to_thread(self._prompts, prompt),
            generation=settings.generation,
            report=report,
        )
        await interaction.edit_original_response(
            content=None, embed=lay_side_by_side(contestants, comparisons, self.services.settings.output)
        )

    async def _open_two(self, whose: Personality, *names: str) -> list[Release]:
        def read(session: Session) -> list[Version | None]:
            return [version_named(session, whose.id, name) for name in names]

        versions = await self.services.database.read(read)
        if versions[0] == versions[1]:
            raise UserFacingError(f"Both are {name_of(versions[0])}: choose two different versions to compare.")
        return [await asyncio.to_thread(self.services.releases.open, version) for version in versions]

    def _prompts(self, given: str | None) -> list[str]:
        if given is None:
            return choose_prompts(read_bank(self.services.settings.arena.prompts))
        if not given.strip():
            raise UserFacingError("That prompt is empty: write what to ask, or leave it out.")
        return [given.strip()]

    async def _champion(self, whose: Personality) -> Alias:
        """Return what the admin acts upon: a move by somebody else after this is a conflict, not a second move."""
        return await self.services.database.read(read_alias, whose.id)

    @show.autocomplete("version")
    @lineage.autocomplete("version")
    @compare_versions.autocomplete("a")
    @compare_versions.autocomplete("b")
    @promote_version.autocomplete("version")
    async def complete_version(self, interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        return await offer_versions(self.services, interaction, current)

    async def cog_unload(self) -> None:
        self._following.cancel()

    async def _follow(self) -> None:
        """Bring the messages that show a round up to date."""
        for round_ in await self.services.database.read(shown_rounds) if self.services.shards.lead else ():
            await self._show_progress(round_)

    async def _show_progress(self, round_: Round) -> None:
        """Edit the round's message where its text has changed, and let it go after the last edit."""
        text = await self._progress_text(round_)
        exists = self._shown.get(round_.id) == text or await self._edit_progress(round_, text)
        self._shown[round_.id] = text
        if not exists or not round_.is_open:
            self._shown.pop(round_.id)
            await self.services.database.run(stop_showing_progress, round_.id)

    async def _edit_progress(self, round_: Round, text: str) -> bool:
        """Return whether the message still exists."""
        if round_.progress_channel_id is None or round_.progress_message_id is None:
            return False
        # Not the interaction's token: it ends after 15 minutes, a round may not.
        channel = self.bot.get_partial_messageable(round_.progress_channel_id)
        message = channel.get_partial_message(round_.progress_message_id)
        try:
            await message.edit(content=text)
        except (discord.NotFound, discord.Forbidden) as error:
            log.warning("the progress of round %d can no longer be shown: %s", round_.id, error)
            return False
        except discord.HTTPException as error:
            log.warning("Discord did not take the progress of round %d: %s", round_.id, error)
        return True

    async def _progress_text(self, round_: Round) -> str:
        whose = await self.services.database.read(read_personality, round_.personality_id)
        advice = await self.services.database.read(_advice, round_)
        return signed(whose, describe_round(round_))[: MAX_MESSAGE_CHARS - len(advice)] + advice


async def offer_versions(
    services: Services, interaction: discord.Interaction, current: str
) -> list[app_commands.Choice[str]]:
    """Return the versions to choose from while an admin types."""
    if not is_admin(interaction.user, services.settings.discord):
        return []
    try:
        whose = await chosen_personality(services, interaction, interaction.namespace.personality)
    except PersonalityNotFound:
        return []  # still being typed
    versions = await services.database.read(list_versions, whose.id)
    return offer([version.name for version in versions] + [BASE_NAME], current)


def _advice(session: Session, round_: Round) -> str:
    """Return what an admin should do about the round now, if anything."""
    if round_.is_open:
        return "" if is_alive(session, TRAINER) else NO_TRAINER
    made = next((v for v in list_versions(session, round_.personality_id) if v.round_id == round_.id), None)
    if made is None:
        return ""
    if read_alias(session, round_.personality_id, CHAMPION).target == made.name:
        return f"\n{made.name} answers now, `/model rollback` takes it back."
    if read_alias(session, round_.personality_id, CHALLENGER).target == made.name:
        return f"\n{made.name} answers a share of conversations, `/model canary status` tells more."
    tells = f"`/model show {made.name}` tells more."
    if made.verdict is not GateVerdict.PASS:
        return f"\nOnly with override and a reason does `/model promote {made.name}` make {made.name} answer, {tells}"
    return f"\n`/model promote {made.name}` makes {made.name} answer, {tells}"


def _spend(session: Session, settings: Settings) -> str:
    """Return what remote servers have cost today, and what a spent day means; nothing without them."""
    if settings.model.engine != "remote":
        return ""
    spent = spent_on(session, utc_now().date())
    ending = "; ⚠️ nothing is answered before midnight UTC" if is_used_up(spent, settings.remote) else ""
    return describe_spend(spent, settings.remote) + ending


def _shortened(text: str) -> str:
    if len(text) <= MAX_MESSAGE_CHARS:
        return text
    kept = text[: MAX_MESSAGE_CHARS - 60].rsplit("\n", 1)[0]
    return f"{kept}\n… older ones: `reactune model list`"


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(Models(bot, services))
