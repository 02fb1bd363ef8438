"""What the bot is made of, as cogs and persistent buttons get it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import discord
from discord.ext import commands

from bot.background.tasks import BackgroundTasks
from bot.background.vote_queue import PickQueue, VoteQueue
from bot.chat.answering import Answerer
from bot.engine import Engine
from bot.guards.access import AccessPolicy
from bot.guards.rate_limit import RateLimiter
from bot.knowledge.library import Library
from bot.operations.metrics import Metrics
from bot.privacy.recent_deletions import Deletions
from bot.releases.resolver import ReleaseResolver
from bot.releases.watcher import ReleaseWatcher
from storage.adapters.folder_store import AdapterStore
from storage.database.database import Database
from storage.database.enums import Basis
from storage.models.base_model import BaseModel
from storage.runtime.shards import Shards
from storage.settings.sections import Settings


@dataclass(frozen=True)
class Services:
    settings: Settings
    database: Database
    base: BaseModel
    engine: Engine
    adapters: AdapterStore
    releases: ReleaseResolver
    release_watcher: ReleaseWatcher
    library: Library
    answerer: Answerer
    vote_queue: VoteQueue
    pick_queue: PickQueue
    access: AccessPolicy
    rate_limiter: RateLimiter
    metrics: Metrics
    deletions: Deletions
    tasks: BackgroundTasks
    shards: Shards
    """The shards that this process serves."""
    fixed_basis: Basis | None
    """The training basis of everything said outside Discord; None on Discord."""
    model_loaded: asyncio.Event


class ServicesBot(commands.AutoShardedBot):
    services: Services
    """Set before the bot connects."""


def services_of(interaction: discord.Interaction) -> Services:
    """Return the services of the bot that an interaction reached."""
    assert isinstance(interaction.client, ServicesBot)
    return interaction.client.services
