"""Gives the answers of earlier starts the names and pictures back that personalities had through webhooks."""

from __future__ import annotations

from dataclasses import dataclass

import discord
from simcord.backend import Backend
from simcord.backend.models import User, Webhook
from simcord.backend.serializers import user_payload
from sqlalchemy.orm import Session

from bot.demo.channel.world import World
from storage.conversations.replies import Reply
from storage.personalities.personalities import Personality, read_personality
from storage.personalities.webhooks import webhooks_in


@dataclass(frozen=True)
class RestoredGuise:
    webhook_id: int
    name: str
    avatar: str | None
    """The address of the bot's picture; None for the webhook's own."""


def restore_guise(session: Session, world: World, reply: Reply) -> RestoredGuise | None:
    """Return who wrote an answer, with the webhook that is there again; None if it was the bot itself."""
    backend, personality = world.env.backend, read_personality(session, reply.personality_id)
    if reply.guild_id is None or not reply.message_ids or not personality.has_appearance:
        return None
    channel = backend.get_channel(reply.channel_id)
    home_id = channel.parent_id if channel.thread_metadata and channel.parent_id else channel.id
    ids = [one.id for one in webhooks_in(session, home_id) if one.personality_id == personality.id]
    name = personality.shown_name or backend.bot_user.name
    if not ids or min(ids) > reply.message_ids[0] or not name:
        return None
    if max(ids) not in backend.webhooks:
        _open_webhook(backend, max(ids), home_id, name)
    return RestoredGuise(max(ids), name, _avatar(world, personality))


def _open_webhook(backend: Backend, id_: int, channel_id: int, name: str) -> None:
    guild_id, creator_id = backend.get_channel(channel_id).guild_id, backend.bot_user.id
    backend.reserve_id(id_)
    backend.users[id_] = User(id=id_, name=name, bot=True)
    webhook = Webhook(id_, f"simcord_webhook_{id_}", channel_id, guild_id, name, creator_id, id_)
    backend.webhooks[id_] = webhook
    backend.webhook_tokens[webhook.token] = id_


def _avatar(world: World, personality: Personality) -> str | None:
    if personality.picture_digest is not None:
        return None
    state = world.env.bot._connection
    return discord.User(state=state, data=user_payload(world.env.backend.bot_user)).display_avatar.url
