"""Messages of an answer whose row a killed bot could not write any more: people vote under them all the same."""

from __future__ import annotations

import discord

from bot.chat.message_stream import CURSOR
from bot.services import Services
from storage.conversations.replies import Reply, ReplyMessage, add_message, find_reply_ids

LOOKED_THROUGH = 100


async def recover_answers(client: discord.Client, services: Services, reply: Reply) -> list[ReplyMessage]:
    """Note the messages of an interrupted reply that stand on Discord and carry none; return them, oldest first.

    Raises discord.HTTPException where the channel cannot be read.
    """
    adopted = []
    for position, message in enumerate(await _find_orphans(client, services, reply), len(reply.message_ids)):
        await services.database.run(add_message, reply.id, message.id, reply.channel_id, position)
        services.vote_queue.recorded(message.id)
        adopted.append(ReplyMessage(message.id, reply.id, reply.channel_id, reply.guild_id))
    return adopted


async def _find_orphans(client: discord.Client, services: Services, reply: Reply) -> list[discord.Message]:
    """Look where an answer stands, soon after its question, then where a regenerated one does, among the newest."""
    if reply.source_message_id is None:
        return []
    channel = client.get_partial_messageable(reply.channel_id)
    question = discord.Object(reply.source_message_id)
    soon_after = [m async for m in channel.history(limit=LOOKED_THROUGH, after=question, oldest_first=True)]
    found = await _without_reply(client, services, reply, soon_after)
    if found or len(soon_after) < LOOKED_THROUGH:
        return found
    newest = [m async for m in channel.history(limit=LOOKED_THROUGH)]
    return await _without_reply(client, services, reply, newest[::-1])


async def _without_reply(
    client: discord.Client, services: Services, reply: Reply, messages: list[discord.Message]
) -> list[discord.Message]:
    own = [message for message in messages if message.author == client.user]
    known = await services.database.read(find_reply_ids, [message.id for message in own])
    unknown = [message for message in own if message.id not in known]
    if reply.message_ids:  # only a further part can be missing, still growing when the bot was killed
        last = reply.message_ids[-1]
        return [m for m in unknown if m.id > last and m.reference is None and m.content.endswith(CURSOR)]
    return [m for m in unknown if m.reference is not None and m.reference.message_id == reply.source_message_id][:1]
