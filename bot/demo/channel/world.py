"""The demo's simulated server: its people and places, and what they do there, one after the other."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import discord
import simcord
from simcord.builders import ChannelHandle, UserHandle

from bot.demo.webhooks import complete_webhooks
from bot.errors import UserFacingError

T = TypeVar("T")

BOT_NAME = "Reactune"
MEMBERS = ("ada", "bo")
ADMIN = "grace"
LOUNGE, MENTIONS, THREAD, DIRECT = "lounge", "mentions", "thread", "direct"
ANSWERS_ALL = "I answer every message here."
MESSAGE_GONE = "That message was deleted."
FORM_GONE = "That form was sent before, or the demo was restarted. Open it again."
NOT_ANSWERED = "The bot did not respond to that. The terminal may say why."
STILL_BUSY = "The bot needs longer for this. Its answer will appear here."


@dataclass(frozen=True)
class TalkPlace:
    """Somewhere to talk."""

    key: str
    """Its name in addresses."""
    name: str
    about: str
    channel: ChannelHandle


class World:
    """A server with two members, an admin, two channels and a thread; all three can also write to the bot directly."""

    def __init__(self, env: simcord.Env) -> None:
        complete_webhooks()
        self.env = env
        env.backend.bot_user.name = BOT_NAME
        self.guild = guild = env.create_guild("Reactune demo")
        # IDs are assigned in order: people and places keep theirs from start to start as long as new ones come last.
        lounge = guild.create_text_channel(LOUNGE, topic=ANSWERS_ALL)
        admins = guild.create_role("admins", permissions=discord.Permissions(manage_guild=True))
        members = [guild.add_member(env.create_user(name)) for name in MEMBERS]
        admin = guild.add_member(env.create_user(ADMIN), roles=[admins])
        self.people = {member.name: member for member in (*members, admin)}
        calls = f"I answer here when you mention me: @{BOT_NAME}."
        mentions = guild.create_text_channel(MENTIONS, topic=calls)
        env.backend.create_thread(lounge.id, "One long talk", members[0].id, broadcast=False)
        (thread,) = lounge.threads
        continuous = "A thread is one conversation: I read what was said before."
        self._shared = (
            TalkPlace(LOUNGE, f"# {LOUNGE}", ANSWERS_ALL, lounge),
            TalkPlace(THREAD, "↳ One long talk", continuous, thread),
            TalkPlace(MENTIONS, f"# {MENTIONS}", calls, mentions),
        )
        self._direct = {
            name: TalkPlace(DIRECT, f"@ {BOT_NAME}", "Only the two of us read this.", member.user.dm_channel)
            for name, member in self.people.items()
        }
        self._acting = asyncio.Lock()
        self._forms: dict[str, Any] = {}
        self.causes: dict[int, str] = {}
        """What somebody did that a message responds to."""
        self.read_to: dict[tuple[int, int], int] = {}
        """The newest message that (a person, in a channel) has seen."""

    @property
    def lounge(self) -> ChannelHandle:
        return self._shared[0].channel

    @property
    def channel_ids(self) -> frozenset[int]:
        return frozenset(place.channel.id for place in (*self._shared, *self._direct.values()))

    @property
    def changes(self) -> int:
        """How much has happened: unchanged as long as every page is up to date."""
        return len(self.env.backend.transcript)

    def seat(self, person: str, place: str) -> Seat | None:
        """Return where this person reads and writes; None if there is no such person or place."""
        if person not in self.people:
            return None
        return next((seat for seat in self.seats_of(person) if seat.place.key == place), None)

    def seats_of(self, person: str) -> list[Seat]:
        return [Seat(self, self.people[person], place) for place in (*self._shared, self._direct[person])]

    def named(self, kind: discord.AppCommandOptionType) -> dict[str, Any]:
        """Return {name: what it names} of the people, roles or channels that an option can name."""
        if kind is discord.AppCommandOptionType.user:
            return dict(self.people)
        if kind is discord.AppCommandOptionType.role:
            return {name: role for name, role in self.guild.roles.items() if name != "@everyone"}
        return {place.channel.name: place.channel for place in self._shared if place.channel.name}

    def mentions(self) -> dict[str, str]:
        """Return {what Discord writes for a mention: what people read}."""
        users = {member.mention: f"@{name}" for name, member in self.people.items()}
        users[f"<@{self.env.backend.bot_user.id}>"] = f"@{BOT_NAME}"  # before the role of this name
        roles = {role.mention: f"@{name}" for name, role in self.guild.roles.items()}
        channels = {place.channel.mention: f"#{place.channel.name}" for place in self._shared}
        return users | roles | channels

    async def catch_up(self) -> None:
        """Move the simulated clock to now, so that messages have the real time.

        Not while somebody acts: on a slow machine, the three seconds within which the bot must respond would be over.
        """
        if not self._acting.locked():
            behind = (datetime.now(UTC) - self.env.now()).total_seconds()
            self.env.backend.advance_clock(max(0.0, behind))

    async def act(self, action: Coroutine[Any, Any, T]) -> T:
        """Let somebody do something after all that others began earlier, and wait until the bot has taken it up."""
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

    async def submit_form(self, seat: Seat, key: str, values: Mapping[str, str]) -> str | None:
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
        return self.channel.guild is None

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

    def note_read(self) -> None:
        self.world.read_to[self.member.id, self.channel.id] = self.newest_id

    def messages(self) -> list[discord.Message]:
        """Return what this person sees here, oldest first."""
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

    async def use_menu(self, name: str, message: discord.Message) -> str | None:
        action = self.member.context_menu(self.channel, name, message)
        return await self.world.interact(action, f"{self.member.name} used {name}")

    async def complete(self, name: str, option: str, typed: str, filled: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return what the bot offers for an option of a command."""
        return await self.world.act(self.actor.autocomplete(*self._where, name, option, typed, **filled))

    def _with_mentions(self, text: str) -> str:
        """Write mentions as Discord's client does when somebody chooses a name."""
        for mention, name in self.world.mentions().items():
            text = re.sub(rf"(?<!\w){re.escape(name)}\b", mention, text, flags=re.IGNORECASE)
        return text

    @property
    def _where(self) -> tuple[ChannelHandle, ...]:
        return () if self.is_direct else (self.channel,)
