"""The parts of the bot, which cogs and persistent buttons receive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import discord
from discord.ext import commands

from bot.attachments.reader import AttachmentReader
from bot.background import BackgroundTasks, WriteBehindQueue
from bot.chat.answering import Answerer
from bot.chat.candidates import CandidateDrawer
from bot.chat.delivery import AnswerDelivery
from bot.chat.recorder import ReplyRecorder
from bot.chat.tastes import Tastes
from bot.engine import Engine
from bot.engine.selection import ChosenEngine
from bot.guards.access import AccessPolicy
from bot.guards.rate_limit import RateLimiter
from bot.knowledge.library import Library
from bot.operations.gateway import Gateway
from bot.operations.metrics import Metrics
from bot.personalities.webhooks import Webhooks
from bot.privacy.recent_deletions import Deletions
from bot.releases.resolver import ReleaseResolver
from bot.releases.watcher import ReleaseWatcher
from bot.servers.setups import ServerSetups
from bot.vote_queue import PickQueue, VoteQueue
from storage.adapters.folder_store import AdapterStore
from storage.adapters.stores import open_store
from storage.database.database import Database
from storage.database.enums import Basis
from storage.models.base_model import BaseModel
from storage.models.bundled import Encoder
from storage.runtime.shards import Shards, shards_of
from storage.settings.sections import Settings


@dataclass(frozen=True)
class Services:
    settings: Settings
    database: Database
    base: BaseModel
    engine: Engine
    adapters: AdapterStore
    releases: ReleaseResolver
    tastes: Tastes
    release_watcher: ReleaseWatcher
    library: Library
    attachments: AttachmentReader
    webhooks: Webhooks
    answerer: Answerer
    vote_queue: VoteQueue
    pick_queue: PickQueue
    setups: ServerSetups
    access: AccessPolicy
    rate_limiter: RateLimiter
    metrics: Metrics
    gateway: Gateway
    deletions: Deletions
    tasks: BackgroundTasks
    shards: Shards
    fixed_basis: Basis | None
    """The training basis of everything said outside Discord; None on Discord."""
    model_loaded: asyncio.Event


class ServicesBot(commands.AutoShardedBot):
    services: Services
    """Set before the bot connects."""


def services_of(interaction: discord.Interaction) -> Services:
    assert isinstance(interaction.client, ServicesBot)
    return interaction.client.services


def make_services(
    client: discord.Client,
    settings: Settings,
    database: Database,
    base: BaseModel,
    *,
    engine: Engine | None,
    fixed_basis: Basis | None,
    load_encoder: Callable[[], Encoder],
    tasks: BackgroundTasks,
) -> Services:
    """Put the parts together; without an `engine` it is the one of `model.engine`."""
    engine = engine or ChosenEngine(settings, base, database, tasks)
    adapters = open_store(settings)
    releases = ReleaseResolver(database, adapters, base, engine)
    metrics, deletions, shards = Metrics(), Deletions(), shards_of(settings.discord)
    tastes = Tastes(database, settings, tasks, partial(client.dispatch, "taste_learned"))
    setups = ServerSetups(database)
    on_contradiction, on_first_vote = (partial(client.dispatch, event) for event in ("contradiction", "first_vote"))
    vote_queue = VoteQueue(database, tasks, (metrics.count_vote, tastes.note_stored), on_contradiction, on_first_vote)
    write_queue = WriteBehindQueue(database, tasks)
    webhooks = Webhooks(client, database, reads_replies=settings.discord.message_content_intent)
    library = Library(database, settings.knowledge, load_encoder, deletions)
    return Services(
        settings=settings,
        database=database,
        base=base,
        engine=engine,
        adapters=adapters,
        releases=releases,
        tastes=tastes,
        release_watcher=ReleaseWatcher(database),
        library=library,
        attachments=AttachmentReader(settings, engine, deletions),
        webhooks=webhooks,
        answerer=Answerer(
            drawer=CandidateDrawer(engine, tastes, settings.generation.exploration, library.embed),
            recorder=ReplyRecorder(
                database=database,
                write_queue=write_queue,
                deletions=deletions,
                base_revision=base.revision,
                fixed_basis=fixed_basis,
            ),
            delivery=AnswerDelivery(
                database=database,
                webhooks=webhooks,
                write_queue=write_queue,
                tasks=tasks,
                edit_interval_s=settings.chat.edit_interval_s,
                output=settings.output,
                on_recorded=vote_queue.recorded,
            ),
            releases=releases,
            generation=settings.generation,
            deletions=deletions,
            on_finished=metrics.count_answer,
        ),
        vote_queue=vote_queue,
        pick_queue=PickQueue(database),
        setups=setups,
        access=AccessPolicy(client, settings, shards, setups),
        rate_limiter=RateLimiter(settings),
        metrics=metrics,
        gateway=Gateway(),
        deletions=deletions,
        tasks=tasks,
        shards=shards,
        fixed_basis=fixed_basis,
        model_loaded=asyncio.Event(),
    )
