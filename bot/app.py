"""The Discord client: put together from its parts, opened and closed in order."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import discord
from discord import app_commands

from bot.arenas.schedule import arena_trigger
from bot.background.shard_heartbeat import ShardHeartbeat
from bot.background.tasks import BackgroundTasks
from bot.background.vote_queue import PickQueue, VoteQueue
from bot.background.write_queue import WriteBehindQueue
from bot.chat.answering import Answerer
from bot.engine import Engine
from bot.engine.selection import ChosenEngine
from bot.guards.access import NO_SERVER, AccessPolicy, how_to_allow
from bot.guards.audit import action_of, is_for_admins, record_done
from bot.guards.interactions import AuditedCommandTree
from bot.guards.rate_limit import RateLimiter
from bot.knowledge.library import Library
from bot.operations.metrics import Metrics
from bot.privacy.recent_deletions import Deletions
from bot.releases.resolver import ReleaseResolver
from bot.releases.watcher import AdapterPrefetcher, ReleaseWatcher, VersionPreloader
from bot.services import Services, ServicesBot
from storage.adapters.folder_store import open_store
from storage.database.database import Database, open_database
from storage.database.enums import Basis
from storage.database.notify import Listener, can_listen
from storage.models.base_model import BaseModel, resolve_base_model
from storage.models.sentence_encoder import BundledEncoder, Encoder
from storage.models.withdrawal import remove_withdrawn
from storage.personalities.personalities import ensure_personality, take_cards
from storage.privacy.consent import describe_bases
from storage.runtime.processes import worker_name
from storage.runtime.request_ids import current_request, new_request_id, working_on
from storage.runtime.shards import shards_of
from storage.settings.sections import DiscordSettings, Settings

log = logging.getLogger(__name__)

COGS = (
    "bot.cogs.arena",
    "bot.cogs.audit",
    "bot.cogs.causes",
    "bot.cogs.chat",
    "bot.cogs.data_lifecycle",
    "bot.cogs.deletions",
    "bot.cogs.feedback",
    "bot.cogs.my_votes",
    "bot.cogs.knowledge",
    "bot.cogs.gaps",
    "bot.cogs.memory",
    "bot.cogs.models",
    "bot.cogs.operations",
    "bot.cogs.personalities",
    "bot.cogs.privacy",
    "bot.cogs.canaries",
    "bot.cogs.votes",
)
REQUESTS = frozenset({"message", "raw_reaction_add", "raw_reaction_remove"})
LOADING = "Waking up: the model loads"
FLUSH_S = 5.0
FINISHING_S = 15.0


class ReactuneBot(ServicesBot):
    """The client, ready for a simulator or for Discord; it opens its database and model on login."""

    loading: asyncio.Task[None]
    """Ends when the model is loaded, or cannot be."""
    failure: Exception | None = None
    """Why there is no model, which ended the bot."""

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
        """`engine`, `base` and `load_encoder` replace the local engine, the configured base model and MiniLM.

        `fixed_basis` is the training basis of everything said outside Discord. `tasks` lets a simulator wait for
        background work.
        """
        super().__init__(
            command_prefix=(),
            help_command=None,
            intents=_intents(settings.discord),
            allowed_mentions=discord.AllowedMentions.none(),
            chunk_guilds_at_startup=False,  # the members intent is for departures only: members are not listed
            tree_cls=AuditedCommandTree,
            status=discord.Status.idle,
            activity=discord.CustomActivity(LOADING),
            shard_count=settings.discord.shard_count or None,
            **_served_shards(settings.discord),
        )
        self.settings = settings
        self.tasks = tasks or BackgroundTasks()
        self._given_engine = engine
        self._given_base = base
        self._fixed_basis = fixed_basis
        self._load_encoder = load_encoder
        self._is_leaving = False
        self._to_close = AsyncExitStack()
        """What was opened so far, in order."""

    async def setup_hook(self) -> None:
        arena_trigger(self.settings.arena)  # a bad schedule is refused before anything is opened
        database = await self._open_database()
        self.services = await self._make_services(database)
        self._close_in_order(self.services)
        for cog in COGS:
            # Not load_extension: it compiles and runs each module again for every bot of a process.
            await importlib.import_module(cog).setup(self, self.services)
        if self.settings.discord.sync_commands:
            await self._sync_commands()
        self.tasks.spawn(self._remove_withdrawn(), "files of withdrawn versions")
        await self._watch_releases()
        self.loading = self.tasks.spawn(self._load_model(), "load the model")

    async def _open_database(self) -> Database:
        """Open it, and take this process's shards."""
        database = await asyncio.to_thread(open_database, self.settings)
        self._to_close.callback(database.close)
        shards, worker = shards_of(self.settings.discord), worker_name(self.settings.data.directory)
        heartbeat = ShardHeartbeat(database, shards, worker, self.tasks)
        await heartbeat.begin()
        self._to_close.push_async_callback(heartbeat.end)
        await database.run(ensure_personality)
        await database.run(take_cards, self.settings)
        return database

    async def _make_services(self, database: Database) -> Services:
        settings = self.settings
        shards = shards_of(settings.discord)
        base = await asyncio.to_thread(self._resolve_base)
        engine = self._given_engine or ChosenEngine(settings, base, database)
        adapters = open_store(settings)
        releases = ReleaseResolver(database, adapters, base)
        metrics, deletions = Metrics(), Deletions()
        vote_queue = VoteQueue(database, self.tasks, metrics.count_vote)
        return Services(
            settings=settings,
            database=database,
            base=base,
            engine=engine,
            adapters=adapters,
            releases=releases,
            release_watcher=ReleaseWatcher(database),
            library=Library(database, settings.knowledge, self._load_encoder, deletions),
            answerer=Answerer(
                engine=engine,
                releases=releases,
                database=database,
                write_queue=WriteBehindQueue(database, self.tasks),
                base=base,
                generation=settings.generation,
                edit_interval_s=settings.chat.edit_interval_s,
                output=settings.output,
                fixed_basis=self._fixed_basis,
                on_recorded=vote_queue.recorded,
                deletions=deletions,
                on_finished=metrics.count_answer,
            ),
            vote_queue=vote_queue,
            pick_queue=PickQueue(database),
            access=AccessPolicy(self, settings, shards),
            rate_limiter=RateLimiter(settings),
            metrics=metrics,
            deletions=deletions,
            tasks=self.tasks,
            shards=shards,
            fixed_basis=self._fixed_basis,
            model_loaded=asyncio.Event(),
        )

    def _close_in_order(self, services: Services) -> None:
        """Register what closing the bot does, the last first: finish answers, store votes, leave Discord."""
        self._to_close.push_async_callback(super().close)
        self._to_close.push_async_callback(services.vote_queue.flush, FLUSH_S)
        self._to_close.push_async_callback(self.tasks.finish, FINISHING_S)
        self._to_close.callback(services.library.close)
        self._to_close.push_async_callback(services.engine.close, self.settings.chat.drain_s)

    async def _watch_releases(self) -> None:
        services = self.services
        watcher = services.release_watcher
        watcher.subscribe(VersionPreloader(services.engine, services.releases, services.database))
        watcher.subscribe(AdapterPrefetcher(services.adapters, services.database))
        self._to_close.callback(watcher.start(self.tasks).cancel)
        if can_listen(services.database):
            listener = Listener(services.database, partial(self.loop.call_soon_threadsafe, self._look_at_releases))
            listener.start()
            self._to_close.push_async_callback(asyncio.to_thread, listener.stop)

    def _look_at_releases(self) -> None:
        if not self._is_leaving:
            self.tasks.spawn(self.services.release_watcher.look(), "look at releases")

    async def _remove_withdrawn(self) -> None:
        """Remove the graphs of withdrawn versions: a trainer on another machine cannot."""
        services = self.services
        await asyncio.to_thread(remove_withdrawn, services.database, services.adapters, self.settings.data.directory)

    async def _sync_commands(self) -> None:
        try:
            await self.tree.sync()
        except discord.HTTPException as error:
            log.warning("Discord did not accept the slash commands (%s); the previous ones stay.", error)

    def _resolve_base(self) -> BaseModel:
        if self._given_base is not None:
            return self._given_base
        return resolve_base_model(self.settings.model.base, self.settings.data.directory, log.info)

    async def _load_model(self) -> None:
        """Load it while the gateway connects; without a model there is no bot."""
        services = self.services
        try:
            default = await services.database.run(ensure_personality)
            release = await services.releases.current(default)
            services.engine.prepare(release.adapter)
            await services.engine.start()
        except Exception as error:
            self.failure = error
            await self.close()
            return
        if not self._is_leaving:
            services.model_loaded.set()
            log.info(
                "Answering with %s on %s. %s", release.name, services.base.name, describe_bases(self.settings.privacy)
            )
            self.status, self.activity = discord.Status.online, None
            # Not earlier: one thread at a time loads the model or the encoder, and members wait for the model.
            self.tasks.spawn(services.library.prepare(), "waiting documents")
            await self._show_status()

    def dispatch(self, event_name: str, /, *args: Any, **kwargs: Any) -> None:
        """Give each message and each reaction a request id, which everything that follows from it shares."""
        with working_on(new_request_id() if event_name in REQUESTS else current_request()):
            super().dispatch(event_name, *args, **kwargs)

    async def on_ready(self) -> None:
        """Show the status, because the model may have loaded before Discord was ready, and log who is not served."""
        await self._show_status()
        for sentence in how_to_allow(self.guilds, self.settings.access) if self.guilds else [NO_SERVER]:
            log.warning(sentence)

    async def on_guild_join(self, guild: discord.Guild) -> None:
        for sentence in how_to_allow([guild], self.settings.access):
            log.warning(sentence)

    async def _show_status(self) -> None:
        if self.is_ready() and self.activity is None:
            await self.change_presence(status=self.status)

    async def on_app_command_completion(
        self, interaction: discord.Interaction, command: app_commands.Command[Any, ..., Any] | app_commands.ContextMenu
    ) -> None:
        if is_for_admins(command):
            await record_done(interaction, action_of(interaction))

    async def on_message(self, message: discord.Message) -> None:
        """There are no prefix commands: the chat cog listens."""

    async def close(self) -> None:
        """Let answers in progress finish, store the last votes, then leave."""
        if self._is_leaving:
            return
        self._is_leaving = True
        await self._to_close.aclose()
        await super().close()  # in case the start failed before there was more to close


create_bot = ReactuneBot
"""The stable name for those who embed the bot."""


def _intents(settings: DiscordSettings) -> discord.Intents:
    intents = discord.Intents.default()
    intents.message_content = settings.message_content_intent
    intents.members = settings.members_intent
    return intents


def _served_shards(settings: DiscordSettings) -> dict[str, Any]:
    """Return the options that restrict this process to some shards; without them it serves all."""
    return {"shard_ids": list(settings.shards)} if settings.shards else {}
