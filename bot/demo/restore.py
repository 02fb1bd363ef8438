"""Puts the conversations of earlier starts back where they were, with names, pictures and blind pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import discord
from simcord.backend import Backend
from simcord.backend.models import User, Webhook
from simcord.backend.serializers import user_payload
from sqlalchemy.orm import Session

from bot.attachments.material import without_materials
from bot.chat.ask import SEEDS, small_print
from bot.chat.fixed_answers import fixed_small_print
from bot.chat.message_stream import lay_out
from bot.chat.second_answer import FIRST_LABEL, SECOND_LABEL, BetterButton
from bot.chat.voices import opening_for
from bot.demo.channel.places import MAX_THREAD_NAME_CHARS
from bot.demo.channel.world import World
from bot.engine import Finish, RenderedPrompt
from bot.knowledge.quoting import citations_of, cite, without_quotes
from bot.localization.sentences import gettext
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.conversations.replies import Reply, channels_with_replies, newest_replies
from storage.database.database import open_database
from storage.database.enums import Origin, Outcome
from storage.personalities.personalities import Personality, read_personality
from storage.personalities.webhooks import webhooks_in
from storage.releases.versions import find_version, name_of
from storage.settings.sections import OutputSettings, Settings
from storage.votes.arenas import Arena, open_arenas
from storage.votes.comparisons import Better, find_blind_pairs
from storage.votes.votes import Thumb, current_thumbs

RESTORED_REPLIES = 200
FILE_ALONE = "📎"
ARENA = "…"
"""Text of an arena's message until the bot shows the arena."""


@dataclass(frozen=True)
class RestoredMessage:
    id: int
    channel_id: int
    author_id: int
    content: str
    replies_to: int | None = None
    guise: RestoredGuise | None = None


def restore_chat(settings: Settings, world: World, welcome: str) -> None:
    """Put the welcome into the lounge, then the newest complete answers with their thumbs where they were."""
    backend, lounge_id = world.env.backend, world.lounge.id
    with closing(open_database(settings)) as database, database.snapshot() as session:
        channel_ids = world.channel_ids | channels_with_replies(session, world.guild.id)
        replies = newest_replies(session, channel_ids, RESTORED_REPLIES)[::-1]
        pairs = BlindPairs.read(session, replies)
        small_print_of = {reply.id: _small_print(session, reply, pairs.labels.get(reply.id)) for reply in replies}
        thumbs = current_thumbs(session, [reply.id for reply in replies])
        bot_id = backend.bot_user.id
        messages = _messages(replies, small_print_of, bot_id, settings.output)
        _reopen_threads(world, messages)
        unshown = [arena for arena in open_arenas(session) if arena.guild_id == world.guild.id]
        guises = {reply.id: restore_guise(session, world, reply) for reply in replies}
    messages = _in_guises(messages, replies, guises)
    if messages:  # the page sorts by ID
        _put(backend, RestoredMessage(messages[0].id - 1, lounge_id, bot_id, welcome))
    else:
        backend.create_message(lounge_id, bot_id, welcome)
    for message in messages:
        _put(backend, message, pairs.components.get(message.id))
    for reply in replies:
        _react(backend, reply, thumbs)
    for arena in unshown:
        _place_arena(world, arena)


def _small_print(session: Session, reply: Reply, label: str | None) -> str:
    """Return the line under the answer; `label` replaces the version where that must stay unknown."""
    prompt = RenderedPrompt(reply.prompt, (), reply.prompt_tokens, reply.dropped_turns, shortened=False)
    finish = Finish.LENGTH if reply.outcome is Outcome.LENGTH else Finish.STOP
    personality, version = read_personality(session, reply.personality_id), find_version(session, reply.version_id)
    named = name_of(version) if personality.is_default else f"{personality.name} {name_of(version)}"
    citations = list(citations_of(session, reply))
    if reply.origin is Origin.FIXED:
        return fixed_small_print(citations)
    return "\n".join(filter(None, (small_print(label or named, prompt, finish), cite(citations))))


def _messages(
    replies: Sequence[Reply], small_print_of: Mapping[int, str], bot_id: int, output: OutputSettings
) -> list[RestoredMessage]:
    """Return the questions and the messages of the answers, in their order on Discord."""
    found: dict[int, RestoredMessage] = {}
    for reply in replies:
        asked = reply.source_message_id
        if asked is not None and asked not in found:
            found[asked] = RestoredMessage(asked, reply.channel_id, reply.author_id, _question_of(reply))
        contents = lay_out(reply.answer, small_print_of[reply.id], output)
        for id_, content in zip(reply.message_ids, contents, strict=False):
            answers = asked if id_ == reply.message_ids[0] else None
            found[id_] = RestoredMessage(id_, reply.channel_id, bot_id, content, answers)
    return [found[id_] for id_ in sorted(found)]


def _question_of(reply: Reply) -> str:
    """Return the member's words, without the bot's additions in the prompt; a sign for a file alone."""
    return without_materials(without_quotes(reply.messages[-1]["content"])) or FILE_ALONE


def _reopen_threads(world: World, messages: Sequence[RestoredMessage]) -> None:
    """Open the threads that people opened: each under the message of its ID, with its first words as its name."""
    known, parents = world.channel_ids, {message.id: message.channel_id for message in messages}
    first = {message.channel_id: message for message in reversed(messages) if message.channel_id not in known}
    for thread_id, message in first.items():
        parent = parents.get(thread_id, 0)
        name = " ".join(message.content.split()) or str(thread_id)
        world.env.backend.create_thread(
            parent if parent in known else world.lounge.id,
            name[:MAX_THREAD_NAME_CHARS],
            message.author_id,
            message_id=thread_id,
            broadcast=False,
        )


def _in_guises(
    messages: Sequence[RestoredMessage], replies: Sequence[Reply], guises: Mapping[int, RestoredGuise | None]
) -> list[RestoredMessage]:
    """Return the messages with their personalities; those cannot be replies, and begin with a line instead."""
    of_message = {id_: reply for reply in replies for id_ in reply.message_ids if guises[reply.id]}
    return [
        _in_guise(message, of_message[message.id], guises[of_message[message.id].id])
        if message.id in of_message
        else message
        for message in messages
    ]


def _in_guise(message: RestoredMessage, reply: Reply, guise: RestoredGuise | None) -> RestoredMessage:
    asked = message.replies_to
    has_opening = asked is not None and asked != reply.channel_id
    opening = opening_for(reply.author_id, reply.guild_id, reply.channel_id, asked) if has_opening else ""
    return replace(message, content=opening + message.content, replies_to=None, guise=guise)


def _put(backend: Backend, restored: RestoredMessage, components: list[dict[str, Any]] | None = None) -> None:
    reference = {"message_id": str(restored.replies_to)} if restored.replies_to else None
    guise = restored.guise
    message = backend.prepare_message(
        restored.channel_id,
        guise.webhook_id if guise else restored.author_id,
        restored.content[:MAX_MESSAGE_CHARS],
        components=components,
        reference=reference,
        webhook_id=guise.webhook_id if guise else None,
        author_name=guise.name if guise else None,
        author_avatar=guise.avatar if guise else None,
    )
    message.id = backend.reserve_id(restored.id)
    message.timestamp = discord.utils.snowflake_time(restored.id).isoformat()
    backend.commit_message(message, broadcast=False)


def _place_arena(world: World, arena: Arena) -> None:
    """Put a message where an open arena had one: the bot shows the arena there again as soon as it connects."""
    if arena.message_id is not None and arena.channel_id in world.env.backend.channels:
        bot_id = world.env.backend.bot_user.id
        _put(world.env.backend, RestoredMessage(arena.message_id, arena.channel_id, bot_id, ARENA))


def _react(backend: Backend, reply: Reply, thumbs: set[Thumb]) -> None:
    for emoji in SEEDS if reply.message_ids and reply.origin is not Origin.FIXED else ():
        backend.set_reaction(reply.channel_id, reply.message_ids[-1], emoji, backend.bot_user.id, True)
    for thumb in sorted(thumbs, key=lambda t: (t.emoji, t.user_id)):
        if thumb.message_id in reply.message_ids:
            backend.set_reaction(reply.channel_id, thumb.message_id, thumb.emoji, thumb.user_id, True)


@dataclass(frozen=True)
class RestoredGuise:
    webhook_id: int
    name: str
    avatar: str | None
    """The address of the bot's picture; None for the webhook's own."""


def restore_guise(session: Session, world: World, reply: Reply) -> RestoredGuise | None:
    """Return an answer's author with its restored webhook; None if it was the bot itself."""
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


@dataclass(frozen=True)
class BlindPairs:
    labels: dict[int, str]
    """Labels that replace answers' versions, by reply ID."""
    components: dict[int, list[dict[str, Any]]]
    """The buttons under a message, by its ID."""

    @classmethod
    def read(cls, session: Session, replies: Sequence[Reply]) -> BlindPairs:
        """Return the blind pairs whose second answers are among the replies."""
        pairs = find_blind_pairs(session, [reply.id for reply in replies])
        labels = dict.fromkeys((first for first, _ in pairs), gettext(FIRST_LABEL))
        labels |= dict.fromkeys((second for _, second in pairs), gettext(SECOND_LABEL))
        last = {reply.id: reply.message_ids[-1] for reply in replies if reply.message_ids}
        return cls(
            labels, {last[second]: [_choice_buttons(first, second)] for first, second in pairs if second in last}
        )


def _choice_buttons(first_id: int, second_id: int) -> dict[str, Any]:
    buttons = [BetterButton(better, first_id, second_id).item.to_component_dict() for better in Better]
    return {"type": discord.ComponentType.action_row.value, "components": buttons}
