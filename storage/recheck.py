"""The Discord messages that are kept in some form, to look whether they still stand there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from storage.database.tables import DocumentRow, DocumentSourceRow, ReplyMessageRow, ReplyRow, ReplySourceRow


def kept_messages(
    session: Session, since: datetime, guild_ids: Collection[int], *, direct: bool
) -> dict[int, set[int]]:
    """Return {channel id: message ids} behind answers since that moment, and behind every document.

    Of the servers, and of direct messages where `direct`: who is in no server does not see what became of its messages.
    """
    found: dict[int, set[int]] = defaultdict(set)
    here = ReplyRow.guild_id.in_(guild_ids)
    recent = and_(ReplyRow.created_at >= since, or_(ReplyRow.guild_id.is_(None), here) if direct else here)
    own = select(ReplyMessageRow.channel_id, ReplyMessageRow.message_id).join(ReplyRow).where(recent)
    quoted = select(DocumentSourceRow.message_id)  # their channel may be another one than the answer's
    asked = (
        select(ReplyRow.channel_id, ReplySourceRow.message_id)
        .join(ReplyRow)
        .where(recent, ReplySourceRow.message_id.not_in(quoted))
    )
    of_documents = (
        select(DocumentSourceRow.channel_id, DocumentSourceRow.message_id)
        .join(DocumentRow)
        .where(DocumentRow.guild_id.in_(guild_ids))
    )
    for query in (own, asked, of_documents):
        _gather(found, (tuple(row) for row in session.execute(query)))
    return dict(found)


def _gather(found: dict[int, set[int]], rows: Iterable[tuple[int, ...]]) -> None:
    for channel_id, message_id in rows:
        found[channel_id].add(message_id)
