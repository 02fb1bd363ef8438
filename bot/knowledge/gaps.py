"""Reported wrong facts, in groups of questions that mean the same.

An admin sees the reports of channels that they can read.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from sqlalchemy.orm import Session

from bot.knowledge.quoting import newest_question, without_quotes
from bot.localization.sentences import gettext, in_quotes, ngettext
from bot.services import Services
from bot.text.sanitize import escape_inline
from storage.errors import GapConflict
from storage.knowledge.documents import titles_of
from storage.knowledge.gaps import Gap, open_gaps
from storage.wording import shorten

MAX_DISTANCE = 0.45
"""Questions whose mean cosine distance (MiniLM) is at most this mean the same."""
QUESTION_CHARS = 200
ANSWER_CHARS = 200


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
    words = " ".join(without_quotes(newest_question(messages)).split())
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
    from scipy.cluster.hierarchy import fcluster, linkage

    tree = linkage(vectors, method="average", metric="cosine")
    return [int(label) for label in fcluster(tree, MAX_DISTANCE, criterion="distance")]


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
        found = await self.services.database.read(open_gaps, self.guild_id, self.channels, reply_ids)
        if not found:
            raise GapConflict
        return [gap.reply_id for gap in found]


def describe_group(session: Session, group: GapGroup) -> list[str]:
    """Return lines that say how many members reported the group, then what was asked, answered and quoted."""
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
    lines = [f"{reported}:"]
    for gap in group.gaps:
        answer = escape_inline(shorten(" ".join(gap.answer.split()), ANSWER_CHARS))
        link = f" · [{gettext('answer')}](<{gap.link}>)" if gap.link else ""
        question = in_quotes(escape_inline(question_of(gap.messages)))
        lines.append(f"- {question}{link}\n  → {answer}\n  -# {_sources(session, gap)}")
    return lines


def _sources(session: Session, gap: Gap) -> str:
    titles = ", ".join(escape_inline(title) for title, _ in titles_of(session, gap.document_ids))
    return gettext("It quoted {titles}.", titles=titles) if titles else gettext("It quoted no document.")
