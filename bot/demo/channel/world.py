"""The demo's simulated server: its people, its places, and people's actions there, one after the other."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import discord
import simcord
from simcord.backend.access import channel_accessible
from simcord.backend.serializers import message_payload
from simcord.builders import ChannelHandle, UserHandle
from simcord.enums import AppCommandType, InteractionType
from simcord.interactions import base_payload

from bot.chat.ask import SEEDS
from bot.demo.channel.places import (
    BOT_NAME,
    BY_RULE,
    DIRECT,
    FIRST_RULES,
    IN_PRIVATE,
    IN_THREAD,
    LOUNGE,
    MENTIONS,
    PIRATES,
    QUESTIONS,
    THREAD,
    TOPICS,
    TalkPlace,
    shared_channels,
)
from bot.demo.webhooks import complete_webhooks
from bot.errors import UserFacingError
from bot.servers.setups import rule_in
from storage.database.enums import Rule
from storage.emoji import SERVER_EMOJI

T = TypeVar("T")

Kind = discord.AppCommandOptionType

MEMBERS = ("ada", "bo")
ADMIN = "grace"
NO_VOTES = ("🎉", "👀")
"""Emoji that are not votes on an answer."""
MOST_EVENTS = 60
"""Number of newest events to search for a sign that the bot is typing."""
MESSAGE_GONE = "That message was deleted."
FORM_GONE = "That form was sent before, or the demo was restarted. Open it again."
NOT_ANSWERED = "The bot did not respond to that. The terminal may say why."
STILL_BUSY = "The bot needs longer for this. Its answer will appear here."
NO_THREAD = "That message cannot have a thread: it has one already, or is in a thread or a direct message."


class World:
    """A server with two members, an admin, four channels and a thread; all three can also write to the bot directly."""

    def __init__(self, env: simcord.Env) -> None:
        complete_webhooks()
        self.env = env
        self._begun_us = time.time_ns() // 1_000
        env.backend.bot_user.name = BOT_NAME
        self.guild = guild = env.create_guild("Reactune demo")
        self._keys: dict[int, str] = {}
        """Names of the first places in addresses; places that people opened later go by their IDs."""
        # IDs are assigned in order: people and places keep theirs from start to start as long as new ones come last.
        self.lounge = self._open(LOUNGE)
        admins = guild.create_role("admins", permissions=discord.Permissions(manage_guild=True))
        members = [guild.add_member(env.create_user(name)) for name in MEMBERS]
        admin = guild.add_member(env.create_user(ADMIN), roles=[admins])
        self.people = {member.name: member for member in (*members, admin)}
        self._open(MENTIONS)
        thread = env.backend.create_thread(self.lounge.id, "One long talk", members[0].id, broadcast=False)
        self._keys[thread.id] = THREAD
        for member in self.people.values():
            env.backend.get_dm_channel(member.id)
        self.questions, self.pirates = self._open(QUESTIONS), self._open(PIRATES)
        self._acting = asyncio.Lock()
        self._forms: dict[str, Any] = {}
        self.causes: dict[int, str] = {}
        """A person's action, by ID of the message that responds to it."""
        self.language = discord.Locale.american_english.value
        """Discord's code of the language that its people have chosen there."""
        env.backend.subscribers.insert(0, self._localize)
        self.read_to: dict[tuple[int, int], int] = {}
        """{(person's id, channel's id): id of the newest message seen}"""

    def _localize(self, _event: str, payload: Any) -> None:
        if "locale" in payload:  # of an interaction; simcord says en-US
            payload["locale"] = self.language

    def _open(self, name: str) -> ChannelHandle:
        channel = self.guild.create_text_channel(name, topic=TOPICS[name])
        self._keys[channel.id] = name
        return channel

    @property
    def changes(self) -> int:
        """A number that grows with each event, also over restarts; unchanged as long as every page is up to date."""
        return self._begun_us + len(self.env.backend.transcript)

    @property
    def titles(self) -> dict[str, str]:
        """Each person's title on the server; empty for members."""
        return dict.fromkeys(MEMBERS, "") | {ADMIN: "admin"}

    def seat(self, person: str, place: str) -> Seat | None:
        """Return the person's seat in a place; None if there is no such person or place."""
        if person not in self.people:
            return None
        return next((seat for seat in self.seats_of(person) if seat.place.key == place), None)

    def seat_or_first(self, person: str, place: str) -> Seat:
        """Return the person's seat in a place; without such a seat, one in the lounge, or the first member's."""
        first = (self.seat(name, LOUNGE) for name in (person, MEMBERS[0]))
        return self.seat(person, place) or next(filter(None, first))

    def seats_of(self, person: str) -> list[Seat]:
        """Return the person's seats: in the channels, each followed by its threads, then with the bot."""
        member = self.people[person]
        places, backend = map(self._shared_place, self._shared), self.env.backend
        shared = [one for one in places if channel_accessible(backend, one.channel.id, member.id, history=True)]
        direct = TalkPlace(DIRECT, f"@ {BOT_NAME}", IN_PRIVATE, member.user.dm_channel)
        return [Seat(self, member, place) for place in (*shared, direct)]

    @property
    def _shared(self) -> list[ChannelHandle]:
        return list(shared_channels(self.env, self.guild))

    def _shared_place(self, channel: ChannelHandle) -> TalkPlace:
        key = self._keys.get(channel.id, str(channel.id))
        if channel.is_thread:
            return TalkPlace(key, f"↳ {channel.name}", IN_THREAD, channel)
        return TalkPlace(key, f"# {channel.name}", self._about(key, channel.id), channel)

    def _about(self, key: str, channel_id: int) -> str:
        """Return a description of the bot's rule in a channel: its topic, as long as that holds."""
        rule = self._rule_in(channel_id)
        if rule is None or rule is FIRST_RULES.get(key):
            return self.env.backend.get_channel(channel_id).topic or ""
        return BY_RULE[rule]

    def _rule_in(self, channel_id: int) -> Rule | None:
        """Return the rule for answers in a channel; None until the bot is there."""
        channel = self.env.bot.get_channel(channel_id)
        if channel is None:
            return None
        services = self.env.bot.services
        return rule_in(channel, services.settings, services.setups)

    @property
    def emoji(self) -> list[str]:
        """Emoji to react with: first those that vote, except for other servers' own."""
        configured = self.env.bot.settings.votes.emoji
        return [*SEEDS, *(emoji for emoji in configured if not SERVER_EMOJI.fullmatch(emoji)), *NO_VOTES]

    def named(self, kind: Kind, channel_types: Collection[int] = ()) -> dict[str, Any]:
        """Return {name: person, role or channel} of everything that a person can choose.

        Without `channel_types`, channels of all types are among them.
        """
        if kind is Kind.channel:
            types = {channel.id: self.env.backend.get_channel(channel.id).type for channel in self._shared}
            return {
                one.name: one for one in self._shared if one.name and types[one.id] in (channel_types or types.values())
            }
        roles = {name: role for name, role in self.guild.roles.items() if name != "@everyone"}
        people_and_roles: dict[str, Any] = {**self.people, **roles}
        return {Kind.user: dict(self.people), Kind.role: roles}.get(kind, people_and_roles)

    def mentions(self) -> dict[str, str]:
        """Return {Discord's code for a mention: words for people}."""
        users = {member.mention: f"@{name}" for name, member in self.people.items()}
        users[f"<@{self.env.backend.bot_user.id}>"] = f"@{BOT_NAME}"  # before the role of this name
        roles = {role.mention: f"@{name}" for name, role in self.guild.roles.items()}
        channels = {channel.mention: f"#{name}" for name, channel in self.named(Kind.channel).items()}
        return users | roles | channels

    async def catch_up(self) -> None:
        """Move the simulated clock to now, so that messages have the real time.

        Not while somebody acts: on a slow machine, the three seconds within which the bot must respond would be over.
        """
        if not self._acting.locked():
            behind = (datetime.now(UTC) - self.env.now()).total_seconds()
            self.env.backend.advance_clock(max(0.0, behind))

    async def act(self, action: Coroutine[Any, Any, T]) -> T:
        """Run a person's action after all earlier ones, and wait until the bot has taken it up."""
        async with self._acting:
            try:
                return await action
            except TimeoutError as error:
                raise UserFacingError(STILL_BUSY) from error
            except simcord.BackendError as error:
                raise UserFacingError(f"Discord would refuse that: {error.message}.") from error
            except simcord.SetupError as error:
                raise UserFacingError(f"Discord would not offer that: {error}.") from error

    def open_form(self, key: str) -> simcord.InteractionResult:
        if key not in self._forms:
            raise UserFacingError(FORM_GONE)
        return self._forms[key]

    async def interact(self, action: Coroutine[Any, Any, simcord.InteractionResult], described: str = "") -> str | None:
        """Use a command, a button or a form; return the key of the form that the bot opens, if it does."""
        result = await self.act(action)
        if not result.acknowledged:
            raise UserFacingError(NOT_ANSWERED)
        if described and result.response is not None:
            self.causes[result.response.id] = described
        if result.modal is None:
            return None
        key = secrets.token_hex(8)
        self._forms[key] = result
        return key

    async def submit_form(self, seat: Seat, key: str, values: Mapping[str, Any]) -> str | None:
        """Send a form that the bot opened; return the key of the next one, if there is one."""
        form = self.open_form(key)
        del self._forms[key]  # before it waits: a form that is sent twice counts once
        try:
            return await self.interact(seat.actor.submit_modal(form, dict(values)))
        except BaseException:
            self._forms[key] = form
            raise


@dataclass(frozen=True)
class Seat:
    """A person in one of the places."""

    world: World
    member: simcord.MemberActor
    place: TalkPlace

    @property
    def channel(self) -> ChannelHandle:
        return self.place.channel

    @property
    def is_direct(self) -> bool:
        return self.place.is_direct

    @property
    def actor(self) -> simcord.MemberActor | UserHandle:
        return self.member.user if self.is_direct else self.member

    @property
    def path(self) -> str:
        return f"/channel/{self.member.name}/{self.place.key}"

    @property
    def newest_id(self) -> int:
        """The ID of the newest message that this person sees here; 0 if there is none."""
        messages = self.world.env.backend.messages[self.channel.id].values()
        return max((message.id for message in messages if message.visible_to(self.member.id)), default=0)

    @property
    def has_news(self) -> bool:
        return self.newest_id > self.world.read_to.get((self.member.id, self.channel.id), 0)

    @property
    def first_new_id(self) -> int | None:
        """The ID of the oldest message since this person last looked; None if there is none, or they never did."""
        read_to = self.world.read_to.get((self.member.id, self.channel.id))
        return next((one.id for one in self.messages() if one.id > read_to), None) if read_to else None

    @property
    def has_spoken(self) -> bool:
        return any(one.author.id == self.member.id for one in self.messages())

    @property
    def is_bot_typing(self) -> bool:
        """Whether the bot has begun to type here and not said anything since."""
        here, me = str(self.channel.id), str(self.world.env.backend.bot_user.id)
        for _, event, payload in reversed(self.world.env.backend.transcript[-MOST_EVENTS:]):
            if isinstance(payload, dict) and payload.get("channel_id") == here:
                if event == "TYPING_START" and payload["user_id"] == me:
                    return True
                if event in ("MESSAGE_CREATE", "MESSAGE_UPDATE") and payload.get("author", {}).get("bot"):
                    return False
        return False

    def note_read(self) -> None:
        self.world.read_to[self.member.id, self.channel.id] = self.newest_id

    def messages(self) -> list[discord.Message]:
        """Return the messages that this person sees here, oldest first."""
        return self.channel.history(viewer=self.actor)

    def message(self, message_id: int) -> discord.Message:
        found = next((message for message in self.messages() if message.id == message_id), None)
        if found is None:
            raise UserFacingError(MESSAGE_GONE)
        return found

    def command_names(self) -> tuple[str, ...]:
        return self.actor.available_commands(*self._where)

    async def say(self, text: str, reply_to: discord.Message | None, files: Sequence[tuple[str, bytes]] = ()) -> None:
        """Send a message with files, each with its name."""
        content = self._with_mentions(text)
        if not self.is_direct:
            await self.world.act(self.member.send(self.channel, content, reply_to=reply_to, attachments=files))
            return
        answers = {"message_id": str(reply_to.id), "channel_id": str(self.channel.id)} if reply_to else None
        stored = self.world.env.backend.store_attachments(self.channel.id, files)
        await self.world.act(self.member.send_dm(content, reference=answers, attachments=stored))

    async def slash(self, name: str, options: Mapping[str, Any]) -> str | None:
        action = self.actor.slash(*self._where, name, **options)
        return await self.world.interact(action, f"{self.member.name} used /{name}")

    def menus(self) -> list[str]:
        """Return the commands in the menu of a message, by name."""
        where = {"user_id": self.member.id, "channel_id": self.channel.id}
        found = self.world.env.backend.visible_commands(**where, type=AppCommandType.MESSAGE)
        return [command["name"] for command in found]

    async def use_menu(self, name: str, message: discord.Message) -> str | None:
        if self.is_direct:
            action = self._use_menu_in_private(name, message)
        else:
            action = self.member.context_menu(self.channel, name, message)
        return await self.world.interact(action, f"{self.member.name} used {name}")

    async def _use_menu_in_private(self, name: str, message: discord.Message) -> simcord.InteractionResult:
        """Use a message's menu as this person outside of servers, which simcord's members cannot."""
        env, backend = self.world.env, self.world.env.backend
        command = backend.find_command(name, None, AppCommandType.MESSAGE)
        if command is None or name not in self.menus():
            raise UserFacingError(f"There is no “{name}” here.")
        target = message_payload(backend, backend.get_message(self.channel.id, message.id))
        data = {"id": command["id"], "name": name, "type": AppCommandType.MESSAGE, "target_id": str(message.id)}
        record, payload = base_payload(
            backend,
            type=InteractionType.APPLICATION_COMMAND,
            channel_id=self.channel.id,
            guild_id=None,
            user_id=self.member.id,
            data=data | {"resolved": {"messages": {str(message.id): target}}},
        )
        backend.emit("INTERACTION_CREATE", payload)
        await env.settle()
        return simcord.InteractionResult(env, record)

    @property
    def may_open_threads(self) -> bool:
        return not self.is_direct and not self.channel.is_thread

    async def open_thread(self, message: discord.Message, name: str) -> Seat:
        """Open a thread under a message; return this person's seat in it."""
        await self.world.act(self._open_thread(message, name))
        opened = self.world.seat(self.member.name, str(message.id))
        assert opened is not None
        return opened

    async def _open_thread(self, message: discord.Message, name: str) -> None:
        backend = self.world.env.backend
        if not self.may_open_threads or message.id in backend.channels:
            raise UserFacingError(NO_THREAD)
        backend.require_permissions(self.world.guild.id, self.member.id, self.channel.id, "create_public_threads")
        # Its ID is the message's, and no message announces it.
        thread = backend.create_thread(self.channel.id, name, self.member.id, message_id=message.id, broadcast=False)
        backend.announce_thread_create(thread)
        await self.world.env.settle()

    async def choose(self, message: discord.Message, custom_id: str, values: Sequence[Any]) -> str | None:
        """Choose in a select; return the key of the form that the bot opens, if it does."""
        return await self.world.interact(self.actor.select(message, values, custom_id=custom_id))

    async def complete(self, name: str, option: str, typed: str, filled: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the bot's suggestions for an option of a command."""
        return await self.world.act(self.actor.autocomplete(*self._where, name, option, typed, **filled))

    def _with_mentions(self, text: str) -> str:
        """Write mentions as Discord's client does when somebody chooses a name."""
        for mention, name in self.world.mentions().items():
            text = re.sub(rf"(?<!\w){re.escape(name)}\b", mention, text, flags=re.IGNORECASE)
        return text

    @property
    def _where(self) -> tuple[ChannelHandle, ...]:
        return () if self.is_direct else (self.channel,)
