"""Two answers to one question, between which people can still choose after the demo starts again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import discord
from sqlalchemy.orm import Session

from bot.chat.second_answer import FIRST_LABEL, SECOND_LABEL, BetterButton
from bot.localization.sentences import gettext
from storage.conversations.replies import Reply
from storage.votes.comparisons import Better, find_blind_pairs


@dataclass(frozen=True)
class BlindPairs:
    labels: dict[int, str]
    """What an answer shows in place of its version, by reply."""
    components: dict[int, list[dict[str, Any]]]
    """The buttons under a message, by its ID."""

    @classmethod
    def read(cls, session: Session, replies: Sequence[Reply]) -> BlindPairs:
        """Return those whose second answers are among the replies."""
        pairs = find_blind_pairs(session, [reply.id for reply in replies])
        labels = dict.fromkeys((first for first, _ in pairs), gettext(FIRST_LABEL))
        labels |= dict.fromkeys((second for _, second in pairs), gettext(SECOND_LABEL))
        last = {reply.id: reply.message_ids[-1] for reply in replies if reply.message_ids}
        return cls(labels, {last[second]: [_row(first, second)] for first, second in pairs if second in last})


def _row(first_id: int, second_id: int) -> dict[str, Any]:
    buttons = [BetterButton(better, first_id, second_id).item.to_component_dict() for better in Better]
    return {"type": discord.ComponentType.action_row.value, "components": buttons}
