"""Looks at everything an operator can get wrong, and says what to do."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import discord

from bot.arena_schedule import arena_trigger
from bot.errors import ConnectionRefused
from bot.prompt_bank import read_bank
from bot.runner import BAD_TOKEN, NO_INTENT, NO_MEMBERS_INTENT, require_token
from storage.adapters import open_store, require_base
from storage.base_model import HUB_ID, BaseModel, resolve_base_model, window_of
from storage.coherence_model import resolve_coherence_model
from storage.database import Database, open_database
from storage.devices import has_gpu
from storage.errors import StorageError
from storage.graphs.support import UnsupportedModel
from storage.graphs.verdict import Verifier, prefers_graphs
from storage.personalities import ensure_personality, list_personalities, take_cards
from storage.privacy import describe_bases
from storage.processes import TRAINER, is_alive
from storage.retention import count_past, keeps_until
from storage.sentence_encoder import encoder_name
from storage.settings import ArenaSettings, ReleaseSettings, Settings
from storage.versions import Version, read_alias

LEAST_FREE_BYTES = 2_000_000_000
DISCORD_PATIENCE_S = 15.0
ID_DIGITS = range(17, 21)
"""Of anything made on Discord, from its first years to the end of its ids."""

Check = tuple[str, Callable[[], str]]
"""What is looked at, and the look: it returns what it found, or raises an error that says what to do."""


@dataclass(frozen=True)
class Finding:
    what: str
    is_well: bool
    says: str


class Unwell(Exception):
    """A check failed; the text says what to do."""


def examine(settings: Settings, further: Iterable[Check] = ()) -> list[Finding]:
    """Return a finding for each check, the caller's `further` ones last.

    A settings file that cannot be read raises before this is called.
    """
    checks = [*_checks(settings), *further]
    return [Finding("Settings", True, "read"), *(_find(what, check) for what, check in checks)]


def _find(what: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, check())
    except (Unwell, StorageError, ConnectionRefused) as error:
        return Finding(what, False, str(error))


def _checks(settings: Settings) -> Iterator[Check]:
    yield "Disk", lambda: _disk(settings.data.directory)
    yield "Database", lambda: _database(settings)
    yield "Base model", lambda: _base_model(settings)
    yield "Engine", lambda: _engine(settings)
    yield "Coherence model", lambda: _coherence_model(settings)
    yield "Sentence encoder", encoder_name
    yield "Personalities", lambda: _personalities(settings)
    yield "Champions", lambda: _champions(settings)
    yield "Trainer", lambda: _trainer(settings)
    yield "Token", lambda: asyncio.run(_token(settings))
    yield "Prompt bank", lambda: read_bank(settings.arena.prompts).describe()
    yield "Arenas", lambda: _arenas(settings.arena)
    yield "Announcements", lambda: _announcements(settings.release)
    yield "Retention", lambda: _retention(settings)
    yield "Training basis", lambda: describe_bases(settings.privacy).removeprefix("Training basis: ")


def _disk(directory: Path) -> str:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unwell(f"{directory} cannot be made ({error.strerror}): set data.directory to another folder") from error
    if not os.access(directory, os.W_OK):
        raise Unwell(f"{directory} is not writable: change its owner, or set data.directory to another folder")
    free = shutil.disk_usage(directory).free
    if free < LEAST_FREE_BYTES:
        raise Unwell(f"{free / 1e9:.1f} GB are free in {directory}: make room, or set data.directory to another disk")
    return f"{free / 1e9:.1f} GB free in {directory}"


def _open(settings: Settings) -> closing[Database]:
    return closing(open_database(settings))


def _database(settings: Settings) -> str:
    with _open(settings) as database:
        return f"{database.engine.dialect.name}, schema up to date"


def _base_model(settings: Settings) -> str:
    base = resolve_base_model(settings.model.base, settings.data.directory)
    return f"{base.name} ({base.architecture}, revision {base.revision})"


def _engine(settings: Settings) -> str:
    """Say who answers; nothing is compared or loaded for it."""
    base = resolve_base_model(settings.model.base, settings.data.directory)
    window = window_of(base.path, settings.model)
    cut = f"; conversations are cut to the {window} tokens that the base knows"
    return _who_answers(base, settings) + (cut if window < settings.model.context_tokens else "")


def _who_answers(base: BaseModel, settings: Settings) -> str:
    transformers = f"transformers, in {settings.model.number_format}, on the {'GPU' if has_gpu() else 'CPU'}"
    if not prefers_graphs(settings.model):
        return transformers
    try:
        reason = Verifier(base, settings.data.directory, settings.model).verdict
    except UnsupportedModel as error:
        reason = str(error)
    if reason and settings.model.engine == "openvino":
        raise Unwell(f'OpenVINO cannot serve this base ({reason}): set model.engine = "auto"')
    if reason:
        return f"{transformers}: OpenVINO cannot serve this base ({reason})"
    return "OpenVINO" + ("" if reason == "" else "; the next start first compares it with transformers")


def _coherence_model(settings: Settings) -> str:
    name = settings.gate.coherence_model
    if HUB_ID.fullmatch(name) and not Path(name).expanduser().is_dir():
        return f"{name}: no folder here, so a hub id, which the first round fetches; not checked"
    model = resolve_coherence_model(name, settings.data.directory, lambda _sentence: None)
    return f"{model.name} (revision {model.revision})" if model else "the base model itself"


def _personalities(settings: Settings) -> str:
    with _open(settings) as database, database.transaction() as session:
        ensure_personality(session)
        problems = take_cards(session, settings)
        known = [personality.name for personality in list_personalities(session)]
    if problems:
        raise Unwell("; ".join(problems))
    return f"{', '.join(known)}; cards in {settings.personalities.directory}"


def _champions(settings: Settings) -> str:
    with _open(settings) as database, database.transaction() as session:
        ensure_personality(session)
        champions = [(p.name, read_alias(session, p.id).version) for p in list_personalities(session)]
    return "; ".join(f"{name}: {_champion(settings, version)}" for name, version in champions)


def _champion(settings: Settings, version: Version | None) -> str:
    if version is None:
        return "base, no adapter"
    folder = open_store(settings).path(version.digest)
    require_base(folder, resolve_base_model(settings.model.base, settings.data.directory))
    return f"{version.name}, files sound"


def _trainer(settings: Settings) -> str:
    with _open(settings) as database, database.snapshot() as session:
        if not is_alive(session, TRAINER):
            raise Unwell("no trainer runs: `reactune run` starts one beside the bot, `reactune trainer` alone")
    return "runs"


def _retention(settings: Settings) -> str:
    before = keeps_until(settings.privacy)
    if before is None:
        return "all is kept until members delete it: privacy.retention_days is 0"
    with _open(settings) as database, database.snapshot() as session:
        past = count_past(session, before)
    waiting = f"; the bot, while it runs, lets {past:,} go today" if past else ""
    return f"what no version was trained on goes after {settings.privacy.retention_days:g} days{waiting}"


def _arenas(settings: ArenaSettings) -> str:
    if arena_trigger(settings) is None:
        return "started by admins alone"
    return f"scheduled at {settings.schedule} UTC in channel {settings.channel}"


def _announcements(settings: ReleaseSettings) -> str:
    channel = settings.announce_channel
    if not channel:
        return "off: release.announce_channel is 0"
    if len(str(channel)) not in ID_DIGITS:
        raise Unwell(
            f"release.announce_channel = {channel} is no channel's id, which has {ID_DIGITS[0]} to {ID_DIGITS[-1]} "
            "digits: copy it in Discord (Developer Mode, Copy Channel ID), or set 0 for none"
        )
    return f"in channel {channel}"


async def _token(settings: Settings) -> str:
    """Log in as the bot, without connecting to the gateway."""
    token = require_token(settings)
    async with discord.Client(intents=discord.Intents.none()) as client:
        try:
            async with asyncio.timeout(DISCORD_PATIENCE_S):
                await client.login(token)
                flags = (await client.application_info()).flags
        except discord.LoginFailure as error:
            raise Unwell(BAD_TOKEN) from error
        except (TimeoutError, OSError, discord.HTTPException) as error:
            raise Unwell(f"Discord cannot be reached ({error!r}): check the network") from error
    if settings.discord.message_content_intent and not (
        flags.gateway_message_content or flags.gateway_message_content_limited
    ):
        raise Unwell(NO_INTENT)
    if settings.discord.members_intent and not (flags.gateway_guild_members or flags.gateway_guild_members_limited):
        raise Unwell(NO_MEMBERS_INTENT)
    return "accepted by Discord"
