"""The Discord messages that are kept in some form, to look whether they still stand there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.schema import DocumentSourceRow, ReplyMessageRow, ReplyRow, ReplySourceRow


def kept_messages(session: Session, since: datetime) -> dict[int, set[int]]:
    """Return {channel id: message ids} behind answers since that moment, and behind every document."""
    found: dict[int, set[int]] = defaultdict(set)
    recent = ReplyRow.created_at >= since
    own = select(ReplyMessageRow.channel_id, ReplyMessageRow.message_id).join(ReplyRow).where(recent)
    quoted = select(DocumentSourceRow.message_id)  # their channel may be another one than the answer's
    asked = (
        select(ReplyRow.channel_id, ReplySourceRow.message_id)
        .join(ReplyRow)
        .where(recent, ReplySourceRow.message_id.not_in(quoted))
    )
    of_documents = select(DocumentSourceRow.channel_id, DocumentSourceRow.message_id)
    for query in (own, asked, of_documents):
        _gather(found, (tuple(row) for row in session.execute(query)))
    return dict(found)


def _gather(found: dict[int, set[int]], rows: Iterable[tuple[int, ...]]) -> None:
    for channel_id, message_id in rows:
        found[channel_id].add(message_id)
