"""The Discord client: put together from its parts, opened and closed in order."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from bot.arenas.schedule import arena_trigger
from bot.background.periodic import Pause, Work, periodic
from bot.background.shard_heartbeat import ShardHeartbeat
from bot.background.vote_queue import VoteQueue
from bot.background.write_queue import WriteBehindQueue
from bot.chat.answering import Answerer
from bot.engine import Engine
from bot.engine.selection import ChosenEngine
from bot.guards.access import NO_SERVER, AccessPolicy, how_to_allow
from bot.guards.audit import action_of, is_for_admins, record_done
from bot.guards.error_handler import AuditedCommandTree
from bot.guards.rate_limit import RateLimiter
from bot.knowledge.library import Library
from bot.operations.metrics import Metrics
from bot.privacy.recent_deletions import Deletions
from bot.releases.adapter_prefetch import AdapterPrefetch
from bot.releases.preload import VersionPreloader
from bot.releases.resolver import ReleaseResolver
from storage.adapters.folder_store import open_store
from storage.conversations.replies import Reply, interrupt_unfinished
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
from storage.runtime.shards import Shards, shards_of
from storage.settings.sections import Settings

log = logging.getLogger(__name__)

COGS = (
    "bot.cogs.arena",
    "bot.cogs.audit",
    "bot.cogs.causes",
    "bot.cogs.chat",
    "bot.cogs.deletions",
    "bot.cogs.departures",
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
    "bot.cogs.retention",
    "bot.cogs.votes",
)
REQUESTS = frozenset({"message", "raw_reaction_add", "raw_reaction_remove"})
LOADING = "Waking up: the model loads"
FLUSH_S = 5.0
FINISHING_S = 15.0


def create_bot(
    settings: Settings,
    *,
    engine: Engine | None = None,
    base: BaseModel | None = None,
    fixed_basis: Basis | None = None,
    load_encoder: Callable[[], Encoder] = BundledEncoder,
) -> ReactuneBot:
    """Return the client, ready for a simulator or for Discord; it opens its database and model on login.

    `engine`, `base` and `load_encoder` replace the local engine, the configured base model and MiniLM. `fixed_basis` is
    the training basis of everything said outside Discord.
    """
    return ReactuneBot(settings, engine=engine, base=base, fixed_basis=fixed_basis, load_encoder=load_encoder)


class ReactuneBot(commands.AutoShardedBot):
    database: Database
    engine: Engine
    base: BaseModel
    releases: ReleaseResolver
    answerer: Answerer
    library: Library
    vote_queue: VoteQueue
    warming: VersionPreloader
    own_shards: Shards
    """Those that this process serves."""
    presence: ShardHeartbeat
    at_hand: AdapterPrefetch
    loading: asyncio.Task[None]
    """Ends when the model is there, or cannot be had."""
    personality_id: int
    """Of the default personality."""
    interrupted: list[Reply]
    """Answers that an earlier life of the bot left unfinished."""
    pause: Pause = staticmethod(asyncio.sleep)
    """How periodic work waits for its next turn; a simulator has a clock of its own."""
    failure: Exception | None = None
    """Why there is no model, which ended the bot."""

    def __init__(
        self,
        settings: Settings,
        *,
        engine: Engine | None,
        base: BaseModel | None,
        fixed_basis: Basis | None,
        load_encoder: Callable[[], Encoder] = BundledEncoder,
    ) -> None:
        intents = discord.Intents.default()
        intents.message_content = settings.discord.message_content_intent
        intents.members = settings.discord.members_intent
        super().__init__(
            command_prefix=(),
            help_command=None,
            intents=intents,
            allowed_mentions=discord.AllowedMentions.none(),
            chunk_guilds_at_startup=False,  # the members intent is for those who leave: nobody else is listed
            tree_cls=AuditedCommandTree,
            status=discord.Status.idle,
            activity=discord.CustomActivity(LOADING),
            shard_count=settings.discord.shard_count or None,
            **_served(settings),
        )
        self.settings = settings
        self.own_shards = shards_of(settings.discord)
        self.metrics = Metrics()
        self.fixed_basis = fixed_basis
        self.access = AccessPolicy(self)
        self.rate_limiter = RateLimiter(settings)
        self._given_engine = engine
        self._given_base = base
        self._load_encoder = load_encoder
        self._tasks: set[asyncio.Task[None]] = set()
        self.deletions = Deletions()
        self._is_leaving = False
        self._to_close = AsyncExitStack()
        """What was opened so far, the last first."""

    async def setup_hook(self) -> None:
        settings = self.settings
        arena_trigger(settings.arena)  # a bad schedule is refused before anything is opened
        self.database = await asyncio.to_thread(open_database, settings)
        self._to_close.callback(self.database.close)
        self.presence = ShardHeartbeat(
            self.database, self.own_shards, worker_name(settings.data.directory), self.repeat
        )
        await self.presence.begin()
        self._to_close.push_async_callback(self.presence.end)
        self.personality_id = await self.database.run(ensure_personality)
        await self.database.run(take_cards, settings)
        self.base = await asyncio.to_thread(self._resolve_base)
        self.engine = self._given_engine or ChosenEngine(settings, self.base, self.database)
        self.adapters = open_store(settings)
        self.releases = ReleaseResolver(self.database, self.adapters, self.base)
        self.library = Library(self.database, settings.knowledge, self._load_encoder, self.deletions)
        self.vote_queue = VoteQueue(self.database, self.spawn, self.metrics.count_vote)
        self.answerer = Answerer(
            engine=self.engine,
            releases=self.releases,
            database=self.database,
            write_queue=WriteBehindQueue(self.database, self.spawn),
            base=self.base,
            generation=settings.generation,
            edit_interval_s=settings.chat.edit_interval_s,
            output=settings.output,
            fixed_basis=self.fixed_basis,
            on_recorded=self.vote_queue.recorded,
            deletions=self.deletions,
            on_finished=self.metrics.count_answer,
        )
        self._to_close.push_async_callback(super().close)
        self._to_close.push_async_callback(self.vote_queue.flush, FLUSH_S)
        self._to_close.push_async_callback(self._finish_tasks)
        self._to_close.callback(self.library.close)
        self._to_close.push_async_callback(self.engine.close, settings.chat.drain_s)
        for cog in COGS:
            # Not load_extension: it compiles and runs each module anew for every bot of a process.
            await importlib.import_module(cog).setup(self)
        self.interrupted = await self.database.run(interrupt_unfinished, self.own_shards)
        if settings.discord.sync_commands:
            await self._sync_commands()
        self.spawn(self.library.prepare(), "documents that wait")
        self.spawn(self._forget_withdrawn(), "what is left of withdrawn versions")
        self.warming = VersionPreloader(self.engine, self.releases, self.database, self.repeat)
        self.at_hand = AdapterPrefetch(self.adapters, self.database, self.repeat)
        self._to_close.callback(self.warming.close)
        self._to_close.callback(self.at_hand.close)
        if can_listen(self.database):
            listener = Listener(self.database, partial(self.loop.call_soon_threadsafe, self._begin_look))
            listener.start()
            self._to_close.push_async_callback(asyncio.to_thread, listener.stop)
        self.loading = self.spawn(self._load_model(), "the model loads")

    async def _forget_withdrawn(self) -> None:
        """Remove the graphs of withdrawn versions, of which a trainer on another machine knows nothing."""
        await asyncio.to_thread(remove_withdrawn, self.database, self.adapters, self.settings.data.directory)

    async def _sync_commands(self) -> None:
        try:
            await self.tree.sync()
        except discord.HTTPException as error:
            log.warning("Discord did not take the slash commands (%s); those of an earlier start stay.", error)

    def _begin_look(self) -> None:
        if not self._is_leaving:
            self.spawn(self._look_at_releases(), "look at releases")

    async def _look_at_releases(self) -> None:
        self.dispatch("releases_changed")
        await self.warming.look()

    def _resolve_base(self) -> BaseModel:
        if self._given_base is not None:
            return self._given_base
        return resolve_base_model(self.settings.model.base, self.settings.data.directory, log.info)

    async def _load_model(self) -> None:
        """Load it while the gateway connects; without a model there is no bot."""
        try:
            release = await self.releases.current(self.personality_id)
            self.engine.prepare(release.adapter)
            await self.engine.start()
        except Exception as error:
            self.failure = error
            await self.close()
            return
        if not self._is_leaving:
            bases = describe_bases(self.settings.privacy)
            log.info("Answering with %s on %s. %s", release.name, self.base.name, bases)
            self.status, self.activity = discord.Status.online, None
            await self._show_status()

    def dispatch(self, event_name: str, /, *args: Any, **kwargs: Any) -> None:
        """Let each message and each reaction be a request of its own, which all that follows from it belongs to."""
        with working_on(new_request_id() if event_name in REQUESTS else current_request()):
            super().dispatch(event_name, *args, **kwargs)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` in the background; the task is kept, and its failure logged."""
        task = self._start_task(work, name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_log_failure)
        return task

    def repeat(self, work: Work, interval_s: float, what: str) -> asyncio.Task[None]:
        """Await `work()` every `interval_s` seconds in the background, until the task is cancelled."""
        return self._start_task(periodic(work, interval_s, what, self.pause), what)

    def _start_task(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work, name=name)

    async def on_ready(self) -> None:
        """Tell that the model has loaded, as it may have done while Discord let the bot in, and who is not served."""
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
        await super().close()  # where the start failed before there was more to close

    async def _finish_tasks(self) -> None:
        others = self._tasks - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=FINISHING_S)


def _served(settings: Settings) -> dict[str, Any]:
    """Return the options that let this process serve some shards; without them it serves all."""
    return {"shard_ids": list(settings.discord.shards)} if settings.discord.shards else {}


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("background task %r failed", task.get_name(), exc_info=task.exception())
