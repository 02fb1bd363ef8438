"""Looks at everything an operator can get wrong, and says what to do."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import discord
from sqlalchemy import select

from bot.arenas.prompt_bank import read_bank
from bot.arenas.schedule import arena_trigger
from bot.errors import ConnectionRefused
from bot.operations.alerts import FALLBACK
from bot.operations.health import disk_check
from bot.runner import BAD_TOKEN, NO_INTENT, NO_MEMBERS_INTENT, require_token
from reactune.console import notes
from reactune.doctor.checks import Check, Unwell
from reactune.doctor.clocks import check_clock
from reactune.doctor.database import describe_database
from reactune.doctor.machine import check_gpu, check_log_file, check_memory, check_open_files, check_pages
from reactune.doctor.packages import check_packages
from reactune.doctor.remote_servers import examine_servers
from storage.adapters import open_store
from storage.adapters.folder_store import AdapterRef
from storage.backups.backup import last_backup
from storage.database.columns import utc_now
from storage.database.database import Database, open_database
from storage.database.tables import ReplyRow
from storage.errors import StorageError
from storage.models.adapter_checks import require_base
from storage.models.base_model import HUB_ID, BaseModel, resolve_base_model, window_of
from storage.models.coherence_model import resolve_coherence_model
from storage.models.hardware import has_gpu, require_quantization
from storage.models.openvino.support import UnsupportedModel
from storage.models.openvino.verifier import Verifier, prefers_graphs
from storage.models.sentence_encoder import encoder_name
from storage.operations.alerts import open_alert
from storage.operations.token_spend import describe_spend, is_used_up, spent_on
from storage.personalities.personalities import ensure_personality, list_personalities, take_cards
from storage.privacy.consent import describe_bases
from storage.privacy.retention import count_past, keeps_until
from storage.releases.versions import Version, read_alias
from storage.runtime.processes import TRAINER, is_alive, live_processes, worker_name
from storage.runtime.redaction import OWNER_ONLY
from storage.runtime.shards import shards_of
from storage.settings.sections import EVERY_SERVER, ArenaSettings, Settings
from storage.wording import count

DISCORD_PATIENCE_S = 15.0
MOST_BACKUP_DAYS = 7
ID_DIGITS = range(17, 21)
"""Of anything made on Discord, from its first years to the end of its ids."""


@dataclass(frozen=True)
class Finding:
    what: str
    is_well: bool
    says: str


def run_checks(settings: Settings, further: Iterable[Check] = ()) -> list[Finding]:
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
    yield "Packages", check_packages
    yield "Disk", lambda: _disk(settings.data.directory, settings.alerts.min_free_gb)
    yield "Open files", check_open_files
    yield "Logs", lambda: check_log_file(settings.logs)
    yield "Metrics", lambda: check_pages(settings.metrics)
    yield "Permissions", lambda: _permissions(settings.data.directory)
    yield "Access", lambda: _access(settings)
    yield "Database", lambda: _database(settings)
    yield "Backups", lambda: _backups(settings)
    yield "Clock", lambda: check_clock(settings)
    yield "Adapter store", lambda: open_store(settings).examine()
    yield "Base model", lambda: _base_model(settings)
    yield "Memory", lambda: check_memory(_base(settings).path)
    yield "GPU", check_gpu
    yield "Engine", lambda: _engine(settings)
    if settings.model.engine == "remote":
        yield "Spending", lambda: _spending(settings)
    yield "Coherence model", lambda: _coherence_model(settings)
    yield "Sentence encoder", encoder_name
    yield "Personalities", lambda: _personalities(settings)
    yield "Champions", lambda: _champions(settings)
    yield "Trainer", lambda: _trainer(settings)
    yield "Training", lambda: _training(settings)
    yield "Token", lambda: asyncio.run(_token(settings))
    yield "Prompt bank", lambda: read_bank(settings.arena.prompts).describe()
    yield "Arenas", lambda: _arenas(settings.arena)
    yield "Retention", lambda: _retention(settings)
    yield "Announcements", lambda: _channel("release.announce_channel", settings.release.announce_channel)
    yield "Alerts", lambda: _channel("alerts.channel", settings.alerts.channel)
    yield "Training basis", lambda: describe_bases(settings.privacy).removeprefix("Training basis: ")


def _disk(directory: Path, min_free_gb: float) -> str:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unwell(f"{directory} cannot be made ({error.strerror}): set data.directory to another folder") from error
    if not os.access(directory, os.W_OK):
        raise Unwell(f"{directory} is not writable: change its owner, or set data.directory to another folder")
    disk = disk_check(directory, min_free_gb)
    if not disk.is_well:
        raise Unwell(f"{disk.says} in {directory}: make room, or set data.directory to another disk")
    return f"{disk.says} in {directory}"


def _permissions(directory: Path) -> str:
    """Say whether other users of this machine may read what members wrote; Windows has no such modes."""
    if os.name != "posix":
        return "not checked on this system"
    if not directory.exists():
        return "there is no data folder yet"
    own = [directory, *directory.glob("*.db*"), *directory.glob("adapters")]
    open_to_others = [path for path in own if stat.S_IMODE(path.stat().st_mode) & OWNER_ONLY]
    if open_to_others:
        raise Unwell(
            f"other users of this machine may read {open_to_others[0]}, where members' words are kept: "
            f"run `chmod -R go= {directory}`"
        )
    return "only this user may read the data folder"


def _access(settings: Settings) -> str:
    access = settings.access
    named = {
        "access.servers": [server for server in access.servers if server != EVERY_SERVER],
        "access.channels": access.channels,
        "access.roles": access.roles,
    }
    for key, ids in named.items():
        for id_ in ids:
            _require_id(key, id_)
    if not access.servers:
        raise Unwell(
            "nobody is served: access.servers is empty. Start the bot and invite it; its log names each server with "
            "the line to write into config.toml"
        )
    whom = "every server that invites it" if EVERY_SERVER in access.servers else count(len(access.servers), "server")
    limits = [count(len(ids), word) for ids, word in ((access.channels, "channel"), (access.roles, "role")) if ids]
    direct = "direct messages of their members too" if access.direct_messages else "no direct messages"
    return ", ".join([whom, *(f"only {limit}" for limit in limits), direct])


def _open(settings: Settings) -> closing[Database]:
    return closing(open_database(settings))


def _database(settings: Settings) -> str:
    with _open(settings) as database:
        return "; ".join(describe_database(database, settings.database))


def _backups(settings: Settings) -> str:
    with _open(settings) as database, database.snapshot() as session:
        made_at = last_backup(session)
        has_answers = session.scalar(select(ReplyRow.id).limit(1)) is not None
    if made_at is None and not has_answers:
        return "nothing to back up yet"
    if made_at is None:
        raise Unwell("none was made yet: `reactune backup FILE` makes one (docs/backups.md has a timer for it)")
    days = (utc_now() - made_at).days
    if days > MOST_BACKUP_DAYS:
        raise Unwell(
            f"the last one is {days} days old: run `reactune backup FILE` (docs/backups.md has a timer for it)"
        )
    return f"the last one was made {made_at:%Y-%m-%d %H:%M} UTC"


def _base(settings: Settings) -> BaseModel:
    """Return the base model; in a new data folder it is converted, which takes a while."""
    return resolve_base_model(settings.model.base, settings.data.directory, _say)


def _say(sentence: str) -> None:
    notes.print(sentence, markup=False, highlight=False)


def _base_model(settings: Settings) -> str:
    base = _base(settings)
    return f"{base.name} ({base.architecture}, revision {base.revision})"


def _engine(settings: Settings) -> str:
    """Say who answers; nothing is compared or loaded for it."""
    base = _base(settings)
    window = window_of(base.path, settings.model)
    cut = f"; conversations are cut to the {window} tokens that the base knows"
    return _who_answers(base, settings) + (cut if window < settings.model.context_tokens else "")


def _who_answers(base: BaseModel, settings: Settings) -> str:
    if settings.model.engine == "remote":
        return examine_servers(settings, _answering(settings))
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
    _require_no_fallback(settings)
    return "OpenVINO" + ("" if reason == "" else "; the next start first compares it with transformers")


def _require_no_fallback(settings: Settings) -> None:
    """Raise Unwell where a bot runs in this data folder and has told that OpenVINO does not answer."""
    worker = worker_name(settings.data.directory)
    with _open(settings) as database, database.snapshot() as session:
        runs = any(is_alive(session, name, worker) for name in shards_of(settings.discord).names)
        alert = open_alert(session, worker, FALLBACK) if runs else None
    if alert is not None:
        raise Unwell(f"{alert.says}; {alert.remedy}")


def _answering(settings: Settings) -> list[AdapterRef]:
    """Return the versions that answer now, whether their files are sound or not."""
    with _open(settings) as database, database.transaction() as session:
        ensure_personality(session)
        versions = [read_alias(session, personality.id).version for personality in list_personalities(session)]
    folder = settings.data.directory
    return [AdapterRef(version.digest, folder) for version in versions if version is not None]


def _spending(settings: Settings) -> str:
    with _open(settings) as database, database.snapshot() as session:
        spent = spent_on(session, utc_now().date())
    if is_used_up(spent, settings.remote):
        raise Unwell(
            f"{describe_spend(spent, settings.remote)}: nothing is answered before midnight UTC; raise "
            "remote.tokens_per_day to go on, and start the bot again"
        )
    return describe_spend(spent, settings.remote)


def _coherence_model(settings: Settings) -> str:
    name = settings.gate.coherence_model
    if HUB_ID.fullmatch(name) and not Path(name).expanduser().is_dir():
        return f"{name}: no folder here, so a hub id, which the first round fetches; not checked"
    model = resolve_coherence_model(name, settings.data.directory, _say)
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
    return "; ".join(f"{name}: {_champion(settings, name, version)}" for name, version in champions)


def _champion(settings: Settings, name: str, version: Version | None) -> str:
    if version is None:
        return "base, no adapter"
    if version.trained_on_deleted_data:
        raise Unwell(
            f"{version.name} of {name} answers and learned from data that was deleted since: run "
            f"`reactune train --personality {name}`, which goes on from an older version, and promote what it makes"
        )
    folder = open_store(settings).path(version.digest)
    require_base(folder, _base(settings))
    return f"{version.name}, files sound"


def _trainer(settings: Settings) -> str:
    with _open(settings) as database, database.snapshot() as session:
        signs = live_processes(session, TRAINER)
    if not signs:
        raise Unwell("no trainer runs: `reactune run` starts one beside the bot, `reactune trainer` alone")
    return ", ".join(f"{sign.place} ({sign.age_s:.0f} s ago)" for sign in signs)


def _training(settings: Settings) -> str:
    training = settings.training
    require_quantization(training.quantization)
    together = f", {training.processes} processes" if training.processes > 1 else ""
    return f"in {training.quantization or training.number_format}, on the {'GPU' if has_gpu() else 'CPU'}{together}"


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


def _channel(setting: str, channel: int) -> str:
    if not channel:
        return f"off: {setting} is 0"
    _require_id(setting, channel)
    return f"in channel {channel}"


def _require_id(setting: str, id_: int) -> None:
    """Raise Unwell for a number that can be no id of Discord's."""
    if len(str(id_)) not in ID_DIGITS:
        raise Unwell(
            f"{setting} holds {id_}, which is no id: those have {ID_DIGITS[0]} to {ID_DIGITS[-1]} digits "
            "(in Discord: Developer Mode, right click, Copy ID)"
        )


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
