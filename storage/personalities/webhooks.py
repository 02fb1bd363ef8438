"""The bot's webhooks in channels, by which personalities speak there with their own name and picture."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.database.enums import Scope
from storage.database.rows import column_values, read_all, upsert
from storage.database.tables import PictureRow, WebhookRow
from storage.personalities.bindings import list_bindings
from storage.personalities.personalities import list_personalities


@dataclass(frozen=True)
class OwnWebhook:
    id: int
    channel_id: int
    personality_id: int
    picture_digest: str | None


def list_webhook_ids(session: Session) -> set[int]:
    """Return the IDs of all webhooks that the bot has ever made: messages of deleted ones stay."""
    return set(session.scalars(select(WebhookRow.id)))


def webhooks_in(session: Session, channel_id: int) -> list[OwnWebhook]:
    return read_all(session, OwnWebhook, select(WebhookRow).where(WebhookRow.channel_id == channel_id))


def needing_webhooks(session: Session, guild_id: int, place_ids: Collection[int]) -> set[int]:
    """Return the IDs of personalities with a name or a picture of their own that may speak in a channel.

    `place_ids` are the channel's and its category's. The channel's threads are not known here.
    """
    bindings = list_bindings(session, guild_id=guild_id)
    bound = {
        one.personality_id for one in bindings if one.scope in (Scope.SERVER, Scope.THREAD) or one.place_id in place_ids
    }
    personalities = [one for one in list_personalities(session, guild_id) if one.has_appearance]
    return {one.id for one in personalities if one.is_default or one.id in bound}


def picture_shown_by(session: Session, webhook_id: int) -> bytes | None:
    """Return the picture of the webhook's personality, a PNG file; None without one."""
    owner = select(WebhookRow.personality_id).where(WebhookRow.id == webhook_id).scalar_subquery()
    return session.scalar(select(PictureRow.content).where(PictureRow.personality_id == owner))


def record_webhook(session: Session, webhook: OwnWebhook) -> None:
    """Store the webhook, or update its name and picture."""
    values = column_values(WebhookRow, webhook)
    session.execute(
        upsert(session, WebhookRow).values(values).on_conflict_do_update(index_elements=["id"], set_=values)
    )
