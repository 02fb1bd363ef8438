"""The webhooks that the bot made in channels, so that personalities speak there with their own name and picture."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.database.rows import column_values, read_all, upsert
from storage.database.tables import WebhookRow


@dataclass(frozen=True)
class OwnWebhook:
    id: int
    channel_id: int
    personality_id: int
    picture_digest: str | None
    """Of the picture that it shows."""


def list_webhook_ids(session: Session) -> set[int]:
    """Return the IDs of all webhooks that the bot ever made: messages of deleted ones stay."""
    return set(session.scalars(select(WebhookRow.id)))


def webhooks_in(session: Session, channel_id: int) -> list[OwnWebhook]:
    return read_all(session, OwnWebhook, select(WebhookRow).where(WebhookRow.channel_id == channel_id))


def record_webhook(session: Session, webhook: OwnWebhook) -> None:
    """Store the webhook, or what it shows now."""
    values = column_values(WebhookRow, webhook)
    session.execute(
        upsert(session, WebhookRow).values(values).on_conflict_do_update(index_elements=["id"], set_=values)
    )
