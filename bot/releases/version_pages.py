"""`/version` in pages: the status, the list of versions, and one of them with its history; the report's picture.

A page replaces the one before it in the admin's private message, and works after a restart too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO

import discord

from bot.charts.report import describe_report, draw_report
from bot.guards.access import require_admin
from bot.guards.audit import action_of, record_done
from bot.guards.interactions import PersistentButton, PersistentSelect, button_row, list_page, speak_publicly
from bot.localization.sentences import gettext
from bot.personalities.selection import require_administrator, signed
from bot.services import Services
from bot.text.lineage import as_plain_text, lineage_lines
from bot.text.panels import text_panel
from bot.text.releases import before_after_embeds, describe_base, describe_version, describe_versions, outcome_words
from bot.text.splitting import MAX_MESSAGE_CHARS, answer_in_full, fit_lines
from bot.text.status import describe_status
from storage.database.columns import utc_now
from storage.insights.lineage import lineage_of
from storage.insights.model_status import read_model_status, read_version, read_versions
from storage.insights.report import read_report
from storage.personalities.personalities import Personality, read_personality
from storage.wording import BASE_NAME


async def read_status_blocks(services: Services, personality_id: int, viewer_id: int | None = None) -> list[str]:
    """Return the blocks of the status; an admin who views it sees their own choices beside the members'."""
    await services.releases.current(personality_id)  # finds out whether the champion's files are sound
    status = await services.database.read(
        read_model_status, personality_id, services.settings, base_revision=services.base.revision
    )
    return describe_status(
        status,
        services.settings,
        base_name=services.base.name,
        engine=services.engine.state(),
        problem=services.releases.problem_of(personality_id),
        learns_from_all=services.fixed_basis is not None,
        viewer_id=viewer_id,
    )


async def answer_with_version_list(
    interaction: discord.Interaction, services: Services, whose: Personality, page: int = 0
) -> None:
    """Show a page of the personality's versions, newest first, in place of the deferred answer or the page before."""
    found = await services.database.read(read_versions, whose.id, services.settings)
    versions, turns = list_page(found.versions, page, gettext("Newer"), gettext("Older"))
    shown = replace(found, versions=versions)
    about = {version.name: outcome_words(version) for version in shown.versions} | {BASE_NAME: ""}
    buttons = [VersionListButton(whose.id, *turn) for turn in turns]
    lines = signed(whose, describe_versions(shown)).split("\n")
    await interaction.edit_original_response(
        content=fit_lines(lines, "…"),
        embeds=[],
        view=button_row([VersionSelect(whose.id, about), *buttons, ReportButton(whose.id)]),
    )


async def answer_with_version(
    interaction: discord.Interaction, services: Services, whose: Personality, name: str
) -> None:
    """Show one version, or the base; raises VersionNotFound."""
    details = await services.database.read(read_version, whose.id, name, services.settings)
    text = describe_version(details) if details else describe_base(services.base.name, services.base.revision)
    history = [HistoryButton(whose.id, details.version.name)] if details else []
    await interaction.edit_original_response(
        content=signed(whose, text)[:MAX_MESSAGE_CHARS],
        embeds=before_after_embeds(details.compared if details else None),
        view=button_row([*history, VersionListButton(whose.id, 0, gettext("All versions"))]),
    )


class VersionSelect(PersistentSelect, template=r"reactune:version:(?P<personality>\d+)"):
    def __init__(self, personality_id: int, about: Mapping[str, str] = {}) -> None:
        self.personality_id = personality_id
        super().__init__(f"reactune:version:{personality_id}", gettext("Open a version"), about)

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_admin(interaction.user, services.settings.discord)
        await interaction.response.defer()
        whose = await services.database.read(read_personality, self.personality_id)
        await answer_with_version(interaction, services, whose, self.chosen)


class VersionListButton(PersistentButton, template=r"reactune:versions:(?P<personality>\d+):(?P<page>\d+)"):
    """Shows a page of the list."""

    def __init__(self, personality_id: int, page: int, label: str = "") -> None:
        self.personality_id, self.page = personality_id, page
        super().__init__(f"reactune:versions:{personality_id}:{page}", label)

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_admin(interaction.user, services.settings.discord)
        await interaction.response.defer()
        whose = await services.database.read(read_personality, self.personality_id)
        await answer_with_version_list(interaction, services, whose, self.page)


class HistoryButton(PersistentButton, template=r"reactune:history:(?P<personality>\d+):(?P<version>v\d+)"):
    """Shows the rounds, votes and members that made a version, below; it names voters, of all servers."""

    action = "version history"

    def __init__(self, personality_id: int, version: str) -> None:
        self.personality_id, self.version = personality_id, version
        super().__init__(f"reactune:history:{personality_id}:{version}", gettext("History"))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_admin(interaction.user, services.settings.discord)
        await interaction.response.defer(ephemeral=True, thinking=True)
        whose = await services.database.read(read_personality, self.personality_id)
        require_administrator(services, interaction.user, whose)
        lines = lineage_lines(await services.database.read(lineage_of, whose.id, self.version))
        await answer_in_full(interaction, lines, as_plain_text(lines), f"history-{self.version}.txt")
        subject = f"version: {self.version}, personality: {whose.name}"
        await record_done(interaction, action_of(interaction, self.action, subject))


class ReportButton(PersistentButton, template=r"reactune:report:(?P<personality>\d+)"):
    """Posts a picture of approval, votes, pairs, training and checks, for everybody in the channel."""

    action = "version report"

    def __init__(self, personality_id: int) -> None:
        self.personality_id = personality_id
        super().__init__(f"reactune:report:{personality_id}", gettext("Post a report here"))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_admin(interaction.user, services.settings.discord)
        await interaction.response.defer(thinking=True)
        speak_publicly(interaction)
        whose = await services.database.read(read_personality, self.personality_id)
        report = await services.database.read(read_report, whose.id, utc_now(), services.settings)
        picture = await asyncio.to_thread(draw_report, report, whose.name)
        words = signed(whose, describe_report(report))
        alone = words.replace("**", "")  # for people who cannot see the picture
        file = discord.File(BytesIO(picture), "report.png", description=alone)
        await interaction.edit_original_response(view=text_panel([words], file.filename, alone), attachments=[file])
        await record_done(interaction, action_of(interaction, self.action, f"personality: {whose.name}"))
