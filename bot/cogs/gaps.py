"""`/knowledge gaps`: questions answered with wrong facts, as members report, and a form to add a document."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from re import Match
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from bot.errors import UserFacingError
from bot.guards.access import is_admin, user_label
from bot.guards.audit import action_of, run_audited_as
from bot.guards.interactions import PersistentButton, button_row
from bot.knowledge.adding import DocumentForm, DocumentRequest, require_curator, store_document
from bot.knowledge.quoting import LABEL
from bot.services import Services
from bot.text.sanitize import escape_inline
from bot.text.splitting import MAX_MESSAGE_CHARS, shorten
from storage.knowledge.documents import titles_of
from storage.knowledge.gaps import Gap, open_gaps, settle_gaps
from storage.wording import count

log = logging.getLogger(__name__)


MAX_DISTANCE = 0.45
"""Largest mean cosine distance between questions with the same meaning (MiniLM)."""
QUESTION_CHARS = 200
SHOWN_QUESTIONS = 5
ANSWER_CHARS = 200

SETTLED = "That gap is already settled. `/knowledge gaps` shows what is left."
NO_GAPS = "No open reports of wrong facts."


@dataclass(frozen=True)
class GapGroup:
    """Gaps whose questions mean the same, newest first."""

    gaps: tuple[Gap, ...]

    @property
    def members(self) -> int:
        return sum(gap.members for gap in self.gaps)

    @property
    def key(self) -> int:
        """The id of the oldest answer, which does not change when newer ones join."""
        return min(gap.reply_id for gap in self.gaps)

    @property
    def question(self) -> str:
        return question_of(self.gaps[0])


def question_of(gap: Gap) -> str:
    """Return the member's question on one line, without the quoted documents below it."""
    asked = next((m["content"] for m in reversed(gap.messages) if m["role"] == "user"), "")
    words = " ".join(asked.partition(LABEL)[0].split())
    # A message can hold what several people said; the question comes last.
    return words if len(words) <= QUESTION_CHARS else f"…{words[1 - QUESTION_CHARS :]}"


def group_gaps(gaps: Sequence[Gap], vectors: NDArray[Any] | None) -> list[GapGroup]:
    """Return the gaps in groups, those reported by most members first.

    `vectors`, (N, D), are the questions' embeddings, of length 1; without them, equal words make a group.
    """
    labels = _labels_by_meaning(vectors) if vectors is not None else [question_of(gap).casefold() for gap in gaps]
    groups: dict[Any, list[Gap]] = defaultdict(list)
    for gap, label in zip(gaps, labels, strict=True):
        groups[label].append(gap)
    found = [GapGroup(tuple(members)) for members in groups.values()]
    return sorted(found, key=lambda group: (-group.members, -group.gaps[0].reply_id))


def _labels_by_meaning(vectors: NDArray[Any]) -> list[int]:
    if len(vectors) < 2:
        return [0] * len(vectors)
    from sklearn.cluster import AgglomerativeClustering

    clusters = AgglomerativeClustering(
        n_clusters=None, distance_threshold=MAX_DISTANCE, metric="cosine", linkage="average"
    )
    return [int(label) for label in clusters.fit_predict(vectors)]


def describe_group(session: Session, group: GapGroup, number: int, total: int) -> str:
    """Return how many members reported the group, its questions and answers, and what the answers quoted."""
    where = "this answer" if len(group.gaps) == 1 else "these answers"
    which = f" (gap {number} of {total})" if total > 1 else ""
    lines = [f"**{count(group.members, 'member')}** reported wrong facts in {where}{which}:"]
    for gap in group.gaps[:SHOWN_QUESTIONS]:
        answer = escape_inline(shorten(" ".join(gap.answer.split()), ANSWER_CHARS))
        link = f" · [answer](<{gap.link}>)" if gap.link else ""
        lines.append(f"- “{escape_inline(question_of(gap))}”{link}\n  → {answer}\n  -# {_sources(session, gap)}")
    rest = len(group.gaps) - SHOWN_QUESTIONS
    return "\n".join([*lines, *([f"- and {rest} more"] if rest > 0 else [])])


def _sources(session: Session, gap: Gap) -> str:
    titles = ", ".join(escape_inline(title) for title, _ in titles_of(session, gap.document_ids))
    return f"It quoted {titles}." if titles else "It quoted no document."


class GapAction(StrEnum):
    ADD = "add"
    SETTLE = "settle"
    NEXT = "next"


LABELS = {GapAction.ADD: "Add a document", GapAction.SETTLE: "No document needed", GapAction.NEXT: "Next"}


class GapsCommand(commands.Cog):
    services: Services

    @app_commands.command()
    async def gaps(self, interaction: discord.Interaction) -> None:
        """Show questions that were answered with wrong facts, and add documents for them."""
        await interaction.response.defer(ephemeral=True)
        await show_gap_page(interaction, self.services)


async def read_gaps(interaction: discord.Interaction, services: Services) -> list[Gap]:
    """Return the open gaps of channels that the reader can see."""
    gaps = await services.database.read(open_gaps, interaction.guild_id or 0)
    return [gap for gap in gaps if _may_see(interaction, services, gap.channel_id)]


def _may_see(interaction: discord.Interaction, services: Services, channel_id: int) -> bool:
    channel = interaction.guild.get_channel_or_thread(channel_id) if interaction.guild else None
    if channel is None or not isinstance(interaction.user, discord.Member):
        return is_admin(interaction.user, services.settings.discord)  # such as an archived thread
    return channel.permissions_for(interaction.user).view_channel


async def read_groups(interaction: discord.Interaction, services: Services) -> list[GapGroup]:
    gaps = await read_gaps(interaction, services)
    vectors = await services.library.embed([question_of(gap) for gap in gaps]) if gaps else None
    return await asyncio.to_thread(group_gaps, gaps, vectors)


async def find_group(interaction: discord.Interaction, services: Services, reply_id: int) -> GapGroup:
    """Return the group that has the answer; raises UserFacingError if it is settled."""
    for group in await read_groups(interaction, services):
        if any(gap.reply_id == reply_id for gap in group.gaps):
            return group
    raise UserFacingError(SETTLED)


async def find_gap(interaction: discord.Interaction, services: Services, reply_id: int) -> Gap:
    """Return the gap of an answer; raises UserFacingError if it is settled."""
    for gap in await read_gaps(interaction, services):
        if gap.reply_id == reply_id:
            return gap
    raise UserFacingError(SETTLED)


async def show_gap_page(
    interaction: discord.Interaction, services: Services, *, after: int = 0, note: str = ""
) -> None:
    """Show the group after the one with the key `after`, or the first, below a note, in the admin's message."""
    groups = await read_groups(interaction, services)
    keys = [group.key for group in groups]
    index = (keys.index(after) + 1) % len(keys) if after in keys else 0
    text = await services.database.read(describe_group, groups[index], index + 1, len(groups)) if groups else NO_GAPS
    content = f"{note}\n\n{text}" if note else text
    view = None
    if groups:
        gap_actions = GapAction if len(groups) > 1 else (GapAction.ADD, GapAction.SETTLE)
        view = button_row(GapButton(gap_action, keys[index]) for gap_action in gap_actions)
    await interaction.edit_original_response(content=content[:MAX_MESSAGE_CHARS], view=view)


class GapButton(PersistentButton, template=r"reactune:gap:(?P<action>add|settle|next):(?P<key>\d+)"):
    def __init__(self, gap_action: GapAction, key: int) -> None:
        self.gap_action = gap_action
        self.key = key
        style = discord.ButtonStyle.success if gap_action is GapAction.ADD else discord.ButtonStyle.secondary
        super().__init__(f"reactune:gap:{gap_action.value}:{key}", LABELS[gap_action], style)
        self.action = f"gap {gap_action.value}"

    @classmethod
    def parse(cls, match: Match[str]) -> GapButton:
        return cls(GapAction(match["action"]), int(match["key"]))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_curator(interaction.user, services.settings)
        if self.gap_action is GapAction.ADD:
            # Discord does not wait for the encoder before a form: the form finds the group when it is submitted.
            await interaction.response.send_modal(GapForm(services, await find_gap(interaction, services, self.key)))
            return
        await interaction.response.defer()
        if self.gap_action is GapAction.NEXT:
            await show_gap_page(interaction, services, after=self.key)
            return
        group = await find_group(interaction, services, self.key)
        await _settle(interaction, group, self.action)
        note = f"Settled without a document: “{escape_inline(group.question)}”."
        await show_gap_page(interaction, services, note=note)


class GapForm(DocumentForm):
    """Adds the document that a group of questions needs, and settles the group."""

    action = "gap add"

    def __init__(self, services: Services, gap: Gap) -> None:
        super().__init__(services, title=question_of(gap), label="Correct facts", help_text="Markdown.")
        self._reply_id = gap.reply_id

    async def on_submit(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer()
        group = await find_group(interaction, self._services, self._reply_id)
        request = DocumentRequest(text=self._text.value, title=self._title.value)
        added = await store_document(interaction, self._services, request)
        # Last, so that a refused document leaves the gap open.
        await _settle(interaction, group, self.action)
        await show_gap_page(interaction, self._services, note=f"Added: {added}")


async def _settle(interaction: discord.Interaction, group: GapGroup, action: str) -> None:
    by = user_label(interaction.user)
    reply_ids = [gap.reply_id for gap in group.gaps]
    audited_action = action_of(interaction, action, ", ".join(f"answer {reply_id}" for reply_id in reply_ids))
    await run_audited_as(interaction, audited_action, settle_gaps, reply_ids, by)
    log.info("%s settled the reports on %s.", by, count(len(reply_ids), "answer"))
