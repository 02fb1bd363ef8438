"""The Discord client: opens its parts in order, loads the model, and closes everything in reverse order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack, nullcontext
from functools import partial
from typing import Any

import discord
from discord import app_commands

from bot.arenas.host import arena_trigger
from bot.background import BackgroundTasks
from bot.cogs.arena import Arenas
from bot.cogs.chat import Chat
from bot.cogs.choose import Choose
from bot.cogs.data_lifecycle import DataLifecycle
from bot.cogs.deletions import MessageDeletions
from bot.cogs.feedback import Feedback
from bot.cogs.help import Help
from bot.cogs.knowledge import Knowledge
from bot.cogs.message_menus import MessageMenus
from bot.cogs.operations import AlertWatch, Operations
from bot.cogs.personalities import Personalities
from bot.cogs.privacy import Me, Privacy, Reset
from bot.cogs.reactions import Reactions
from bot.cogs.review import Review
from bot.cogs.setup import Setup
from bot.cogs.taste import Taste
from bot.cogs.threads import Threads
from bot.cogs.versions import VersionCommands
from bot.discord_errors import http_trace, survive_faults
from bot.engine import Engine
from bot.guards.access import who_is_not_allowed
from bot.guards.audit import action_of, is_for_admins, record_done
from bot.guards.interactions import AuditedCommandTree, PersistentButton, PersistentSelect, working_on_event
from bot.localization.languages import Languages
from bot.operations.gateway import ShardHeartbeat
from bot.releases.resolver import open_base
from bot.releases.watcher import AdapterPrefetcher, VersionPreloader
from bot.services import ServicesBot, make_services
from storage.database.database import Database, Listener, can_listen, open_database
from storage.database.enums import Basis
from storage.models.base_model import BaseModel
from storage.models.bundled import BundledEncoder, Encoder
from storage.models.withdrawal import remove_withdrawn
from storage.personalities.personalities import ensure_personality, load_cards
from storage.privacy.consent import describe_bases
from storage.settings.sections import Settings
from storage.wording import gettext_noop

log = logging.getLogger(__name__)

COGS = (
    Arenas,
    Chat,
    Choose,
    DataLifecycle,
    MessageDeletions,
    Feedback,
    Help,
    Knowledge,
    MessageMenus,
    Operations,
    AlertWatch,
    Personalities,
    Privacy,
    Me,
    Reset,
    Reactions,
    Review,
    Setup,
    Taste,
    Threads,
    VersionCommands,
)
REQUESTS = frozenset({"message", "raw_reaction_add", "raw_reaction_remove"})
LOADING = gettext_noop("Waking up: loading the model")
LEARNING = gettext_noop("Learning: back soon")
for _warning in ("warn_nacl", "warn_dave"):  # voice is not used: its libraries may be missing
    setattr(discord.VoiceClient, _warning, False)
POLL_INTERVAL_S = 3.0
"""Pause between two checks for new releases; PostgreSQL also notifies."""
SETUPS_INTERVAL_S = 30.0
"""Pause between two checks for server setups that other processes stored."""
LONGEST_WAIT_S = 30.0
"""Longest time that discord.py may hold a request that Discord delays: slow mode can delay one for hours."""
FLUSH_S = 5.0
FINISHING_S = 15.0


class ReactuneBot(ServicesBot):
    """The client, for Discord or a simulator; it opens its database and model on login."""

    loading: asyncio.Task[None]
    """Ends when the model is loaded, or failed to load."""
    failure: Exception | None = None
    """The failure to load the model, which stopped the bot."""

    def __init__(
        self,
        settings: Settings,
        *,
        engine: Engine | None = None,
        base: BaseModel | None = None,
        fixed_basis: Basis | None = None,
        load_encoder: Callable[[], Encoder] = BundledEncoder,
        tasks: BackgroundTasks | None = None,
    ) -> None:
        """`engine`, `base` and `load_encoder` replace the configured engine, the configured base model and MiniLM.

        `fixed_basis` is the training basis of everything said outside Discord. With `tasks`, a simulator can wait for
        background work.
        """
        served_shards: dict[str, Any] = {"shard_ids": settings.discord.shards} if settings.discord.shards else {}
        super().__init__(
            command_prefix=(),
            help_command=None,
            intents=_intents(settings),
            allowed_mentions=discord.AllowedMentions.none(),
            chunk_guilds_at_startup=False,  # the members intent is only for departures: members are not listed
            tree_cls=AuditedCommandTree,
            status=discord.Status.idle,
            shard_count=settings.discord.shard_count or None,
            max_ratelimit_timeout=LONGEST_WAIT_S,
            http_trace=http_trace(),
            **served_shards,
        )
        self.settings = settings
        self.tasks = tasks or BackgroundTasks()
        self._given_engine = engine
        self._given_base = base
        self._fixed_basis = fixed_basis
        self._load_encoder = load_encoder
        self._is_leaving = False
        self._was_ready = False
        self._to_close = AsyncExitStack()
        """Open resources, to close in reverse order."""

    async def start(self, token: str, *, reconnect: bool = True) -> None:
        survive_faults(self)
        await super().start(token, reconnect=reconnect)

    async def setup_hook(self) -> None:
        arena_trigger(self.settings.arena)  # refuse a bad schedule, or a bad translation, before anything is opened
        self._languages = Languages(self, self.settings.discord, lambda id_: self.services.setups.of(id_).language)
        await self.tree.set_translator(self._languages)
        self.activity = self._custom_activity(LOADING)
        database = await self._open_database()
        base = await open_base(database, self.settings, self._given_base)
        self.services = make_services(
            self,
            self.settings,
            database,
            base,
            engine=self._given_engine,
            fixed_basis=self._fixed_basis,
            load_encoder=self._load_encoder,
            tasks=self.tasks,
        )
        self._close_in_order()
        await self.services.webhooks.open()
        await self._watch_setups()
        self.add_dynamic_items(*PersistentButton.__subclasses__(), *PersistentSelect.__subclasses__())
        for cog in COGS:
            await self.add_cog(cog(self, self.services))
        if self.settings.discord.sync_commands:
            await self._sync_commands()
        # Also here: a trainer on another machine cannot remove this machine's graphs.
        remove = asyncio.to_thread(remove_withdrawn, database, self.services.adapters, self.settings.data.directory)
        self.tasks.spawn(remove, "remove files of withdrawn versions")
        await self._watch_releases()
        self.services.tastes.watch()
        self._to_close.callback(self.services.tastes.close)
        self.loading = self.tasks.spawn(self._load_model(), "load the model")

    async def _open_database(self) -> Database:
        """Open it, and take this process's shards."""
        database = await asyncio.to_thread(open_database, self.settings)
        self._to_close.callback(database.close)
        heartbeat = ShardHeartbeat(database, self.settings, self.tasks)
        await heartbeat.begin()
        self._to_close.push_async_callback(heartbeat.end)
        self._default_id = await database.run(ensure_personality)
        await database.run(load_cards, self.settings)
        return database

    def _close_in_order(self) -> None:
        """Register the steps of closing, the last one first: finish answers, store votes, disconnect."""
        services = self.services
        self._to_close.push_async_callback(super().close)
        self._to_close.callback(self.tasks.cancel)
        self._to_close.push_async_callback(services.vote_queue.flush, FLUSH_S)
        self._to_close.push_async_callback(self.tasks.finish, FINISHING_S)
        self._to_close.callback(services.library.close)
        self._to_close.push_async_callback(services.engine.close, self.settings.chat.drain_s)

    async def _watch_setups(self) -> None:
        setups = self.services.setups
        await setups.load()
        watching = self.tasks.repeat(setups.load, SETUPS_INTERVAL_S, "read what servers chose")
        self._to_close.callback(watching.cancel)

    async def _watch_releases(self) -> None:
        services = self.services
        watcher = services.release_watcher
        watcher.subscribe(VersionPreloader(services.engine, services.releases, services.database))
        watcher.subscribe(AdapterPrefetcher(services.adapters, services.database))
        self._to_close.callback(self.tasks.repeat(watcher.poll, POLL_INTERVAL_S, "watch releases").cancel)
        if can_listen(services.database):
            listener = Listener(services.database, partial(self.loop.call_soon_threadsafe, self._poll_releases))
            listener.start()
            self._to_close.push_async_callback(asyncio.to_thread, listener.stop)

    def _poll_releases(self) -> None:
        if not self._is_leaving:
            self.tasks.spawn(self.services.release_watcher.poll(), "poll releases")

    async def _sync_commands(self) -> None:
        try:
            await self.tree.sync()
        except (discord.HTTPException, discord.RateLimited) as error:
            log.warning("Discord refused the new slash commands, so the previous ones stay: %s", error)

    async def _load_model(self) -> None:
        """Load the model while the gateway connects; if that fails, stop the bot."""
        services = self.services
        log.info("Loading the model %s. Questions are answered once it is ready.", services.base.name)
        try:
            release = await services.releases.current(self._default_id)
            services.engine.prepare(release.adapter)
            services.tastes.of(self._default_id)
            await services.engine.start()
        except Exception as error:
            self.failure = error
            await self.close()
            return
        if not self._is_leaving:
            services.model_loaded.set()
            who = "Answering" if not services.engine.state().pause_reason else "Soon answering"
            bases = describe_bases(self.settings.privacy)
            log.info("%s with %s on %s. %s", who, release.name, services.base.name, bases)
            self.status, self.activity = discord.Status.online, None
            self.tasks.repeat(self._show_pause, POLL_INTERVAL_S, "show whether the engine has stepped aside")
            # Not earlier: members wait for the model.
            self.tasks.spawn(services.library.prepare(), "prepare documents")
            await self._show_status()

    def dispatch(self, event_name: str, /, *args: Any, **kwargs: Any) -> None:
        """Give each message and each reaction a request ID and its place's language for all work that follows."""
        with working_on_event(self, args[0]) if event_name in REQUESTS else nullcontext():
            super().dispatch(event_name, *args, **kwargs)

    async def on_ready(self) -> None:
        """Show the status, because the model may have loaded earlier, and log which servers are not allowed."""
        await self._show_status()
        if self._was_ready:
            return  # Discord has only started a new session
        self._was_ready = True
        log.info("Connected to Discord as %s. Servers: %d.", self.user, len(self.guilds))
        for sentence in who_is_not_allowed(self.guilds, self.settings.access):
            log.warning(sentence)

    async def on_guild_join(self, guild: discord.Guild) -> None:
        for sentence in who_is_not_allowed([guild], self.settings.access):
            log.warning(sentence)

    async def _show_status(self) -> None:
        if self.is_ready() and self.activity is None:
            await self.change_presence(status=self.status)

    async def _show_pause(self) -> None:
        """Show on Discord that the engine has stepped aside for a round, or that it is back."""
        is_paused = bool(self.services.engine.state().pause_reason)
        if is_paused == (self.activity is None):
            self.status = discord.Status.idle if is_paused else discord.Status.online
            self.activity = activity = self._custom_activity(LEARNING) if is_paused else None
            if self.is_ready():
                await self.change_presence(status=self.status, activity=activity)

    def _custom_activity(self, text: str) -> discord.CustomActivity:
        """Return a status, which all servers see alike."""
        return discord.CustomActivity(self._languages.of_server(None).translations.gettext(text))

    async def on_app_command_completion(
        self, interaction: discord.Interaction, command: app_commands.Command[Any, ..., Any] | app_commands.ContextMenu
    ) -> None:
        if is_for_admins(command):
            await record_done(interaction, action_of(interaction))

    async def on_message(self, message: discord.Message) -> None:
        """Do nothing: there are no prefix commands, and the chat cog listens."""

    async def close(self) -> None:
        """Let answers in progress finish, store the last votes, then disconnect."""
        if self._is_leaving:
            return
        self._is_leaving = True
        await self._to_close.aclose()
        await super().close()  # if the start failed before anything else was opened


def _intents(settings: Settings) -> discord.Intents:
    intents = discord.Intents.default()
    intents.message_content = settings.discord.message_content_intent
    intents.members = settings.discord.members_intent
    return intents
