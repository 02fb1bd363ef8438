"""Reported wrong facts: groups of questions that mean the same, and `/knowledge gaps`, which adds documents for them.

An admin sees the reports of channels that they can read.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from re import Match
from typing import Any

import discord
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from bot.guards.access import user_label
from bot.guards.audit import action_of, record_done, run_audited_as
from bot.guards.interactions import PersistentButton, button_row
from bot.guards.permissions import visible_channels
from bot.knowledge.adding import DocumentForm, DocumentRequest, require_curator, store_document
from bot.knowledge.quoting import LABEL
from bot.localization.sentences import gettext, ngettext
from bot.services import Services
from bot.text.sanitize import escape_inline
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.errors import GapConflict
from storage.knowledge.documents import titles_of
from storage.knowledge.gaps import Gap, open_gaps, settle_gaps
from storage.wording import count, gettext_noop, shorten

MAX_DISTANCE = 0.45
"""Questions whose mean cosine distance (MiniLM) is at most this mean the same."""
QUESTION_CHARS = 200
log = logging.getLogger(__name__)
SHOWN_QUESTIONS = 5
ANSWER_CHARS = 200
NO_GAPS = gettext_noop("No open reports of wrong facts.")


@dataclass(frozen=True)
class GapGroup:
    """Gaps whose questions mean the same, newest first."""

    gaps: tuple[Gap, ...]

    @property
    def reply_ids(self) -> list[int]:
        return [gap.reply_id for gap in self.gaps]

    @property
    def members(self) -> int:
        return sum(gap.members for gap in self.gaps)

    @property
    def key(self) -> int:
        """The id of the oldest answer, which does not change when newer ones join."""
        return min(self.reply_ids)

    @property
    def question(self) -> str:
        return question_of(self.gaps[0].messages)


def name_answers(reply_ids: Sequence[int]) -> str:
    """Return the answers for the audit trail."""
    return ", ".join(f"answer {reply_id}" for reply_id in reply_ids)


def question_of(messages: Sequence[Mapping[str, str]]) -> str:
    """Return the member's question on one line, without the quoted documents below it."""
    asked = next((m["content"] for m in reversed(messages) if m["role"] == "user"), "")
    words = " ".join(asked.partition(LABEL)[0].split())
    # A message can hold what several people said; the question comes last.
    return words if len(words) <= QUESTION_CHARS else f"…{words[1 - QUESTION_CHARS :]}"


def group_gaps(gaps: Sequence[Gap], vectors: NDArray[Any] | None) -> list[GapGroup]:
    """Return the gaps in groups, those reported by most members first.

    `vectors`, (N, D), are the questions' embeddings, of length 1; without them, equal words make a group.
    """
    labels = (
        _labels_by_meaning(vectors) if vectors is not None else [question_of(gap.messages).casefold() for gap in gaps]
    )
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


@dataclass(frozen=True)
class GapReader:
    """A reader of a server's gaps."""

    services: Services
    guild_id: int
    channels: Collection[int] | None
    """Channels that the reader can read; None for the operator, who sees all gaps."""

    async def read_gaps(self) -> list[Gap]:
        """Return the open gaps of channels that the reader can see."""
        return await self.services.database.read(open_gaps, self.guild_id, self.channels)

    async def read_groups(self) -> list[GapGroup]:
        gaps = await self.read_gaps()
        vectors = await self.services.library.embed([question_of(gap.messages) for gap in gaps]) if gaps else None
        return await asyncio.to_thread(group_gaps, gaps, vectors)

    async def find_group(self, reply_id: int) -> GapGroup:
        """Return the group that has the answer; raises GapConflict if it is settled."""
        for group in await self.read_groups():
            if reply_id in group.reply_ids:
                return group
        raise GapConflict

    async def find_open(self, reply_ids: Collection[int]) -> list[int]:
        """Return the answers that are still gaps; raises GapConflict if none is."""
        found = [gap.reply_id for gap in await self.read_gaps() if gap.reply_id in reply_ids]
        if not found:
            raise GapConflict
        return found


def describe_group(session: Session, group: GapGroup, number: int, total: int) -> str:
    """Return the number of members who reported the group, its questions and answers, and their quotes."""
    reported = (
        ngettext(
            "**{count} member** reported wrong facts in this answer",
            "**{count} members** reported wrong facts in this answer",
            group.members,
        )
        if len(group.gaps) == 1
        else ngettext(
            "**{count} member** reported wrong facts in these answers",
            "**{count} members** reported wrong facts in these answers",
            group.members,
        )
    )
    which = f" ({gettext('gap {number} of {total}', number=number, total=total)})" if total > 1 else ""
    lines = [f"{reported}{which}:"]
    for gap in group.gaps[:SHOWN_QUESTIONS]:
        answer = escape_inline(shorten(" ".join(gap.answer.split()), ANSWER_CHARS))
        link = f" · [{gettext('answer')}](<{gap.link}>)" if gap.link else ""
        lines.append(
            f"- “{escape_inline(question_of(gap.messages))}”{link}\n  → {answer}\n  -# {_sources(session, gap)}"
        )
    rest = len(group.gaps) - SHOWN_QUESTIONS
    return "\n".join([*lines, *([f"- {gettext('and {number} more', number=rest)}"] if rest > 0 else [])])


def _sources(session: Session, gap: Gap) -> str:
    titles = ", ".join(escape_inline(title) for title, _ in titles_of(session, gap.document_ids))
    return gettext("It quoted {titles}.", titles=titles) if titles else gettext("It quoted no document.")


class GapAction(StrEnum):
    ADD = "add"
    SETTLE = "settle"
    NEXT = "next"


LABELS = {
    GapAction.ADD: gettext_noop("Add a document"),
    GapAction.SETTLE: gettext_noop("No document needed"),
    GapAction.NEXT: gettext_noop("Next"),
}


def _reader(interaction: discord.Interaction, services: Services) -> GapReader:
    assert isinstance(interaction.user, discord.Member)  # guild_only
    return GapReader(services, interaction.user.guild.id, visible_channels(interaction.user))


async def show_gap_page(
    interaction: discord.Interaction, services: Services, *, after: int = 0, note: str = ""
) -> None:
    """Show the group after the one with the key `after`, or the first, below a note, in the admin's message."""
    groups = await _reader(interaction, services).read_groups()
    keys = [group.key for group in groups]
    index = (keys.index(after) + 1) % len(keys) if after in keys else 0
    text = await services.database.read(describe_group, groups[index], index + 1, len(groups)) if groups else ""
    text = text or gettext(NO_GAPS)
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
        super().__init__(f"reactune:gap:{gap_action.value}:{key}", gettext(LABELS[gap_action]), style)
        self.action = f"gap {gap_action.value}"

    @classmethod
    def parse(cls, match: Match[str]) -> GapButton:
        return cls(GapAction(match["action"]), int(match["key"]))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_curator(interaction.user, services.settings)
        if self.gap_action is GapAction.ADD:
            # Discord does not wait for the encoder before a form: the form finds the group when it is submitted.
            gaps = await _reader(interaction, services).read_gaps()
            await interaction.response.send_modal(GapForm(services, self.key, gaps))
            return
        await interaction.response.defer()
        if self.gap_action is GapAction.NEXT:
            await show_gap_page(interaction, services, after=self.key)
            return
        group = await _reader(interaction, services).find_group(self.key)
        by = user_label(interaction.user)
        action = action_of(interaction, self.action, name_answers(group.reply_ids))
        await run_audited_as(interaction, action, settle_gaps, group.reply_ids, by)
        log.info("%s settled the reports on %s.", by, count(len(group.reply_ids), "answer"))
        note = gettext("Settled without a document: “{question}”.", question=escape_inline(group.question))
        await show_gap_page(interaction, services, note=note)


class GapForm(DocumentForm):
    """Adds the document that a group of questions needs, and settles the group."""

    action = "gap add"

    def __init__(self, services: Services, reply_id: int, gaps: Sequence[Gap]) -> None:
        """`gaps` are those that are open now: later ones are not settled. Raises GapConflict if the answer's is not."""
        gap = next((gap for gap in gaps if gap.reply_id == reply_id), None)
        if gap is None:
            raise GapConflict
        super().__init__(
            services, about=question_of(gap.messages), label=gettext("Correct facts"), help_text="Markdown."
        )
        self._reply_id = reply_id
        self._known_ids = {gap.reply_id for gap in gaps}

    async def on_submit(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer()
        group = await _reader(interaction, self._services).find_group(self._reply_id)
        reply_ids, by = [one for one in group.reply_ids if one in self._known_ids], user_label(interaction.user)
        request = DocumentRequest(text=self._text.value, title=self._title.value)

        def settle(session: Session) -> None:
            settle_gaps(session, reply_ids, by)

        added = await store_document(interaction, self._services, request, together_with=settle)
        await record_done(interaction, action_of(interaction, self.action, name_answers(reply_ids)))
        log.info("%s settled the reports on %s.", by, count(len(reply_ids), "answer"))
        await show_gap_page(interaction, self._services, note=gettext("Added: {document}", document=added))
