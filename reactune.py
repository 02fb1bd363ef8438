"""The command line: it composes bot and trainer, and is the only module that imports both."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import importlib
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from bot.errors import BotError, ConnectionRefused
from bot.tastes import UnknownTaste
from storage.adapters import open_store, require_base
from storage.audit import Deed, Entry, Wanted, note_deed, read_trail
from storage.connections import explain, is_away
from storage.database import Database, open_database
from storage.errors import (
    AlreadyChampion,
    BackupRefused,
    CardError,
    CopyRefused,
    DatabaseError,
    DataDirectoryInUse,
    ExportRefused,
    NothingToRollBack,
    PersonalityConflict,
    PersonalityNotFound,
    ReleaseRefused,
    SettingsError,
    StorageError,
    VersionNotFound,
)
from storage.logs import set_up_logs
from storage.personalities import (
    DEFAULT_PERSONALITY,
    list_personalities,
    open_personality,
    personality_named,
    read_personality,
)
from storage.personalities import Personality as StoredPersonality
from storage.processes import BOT, TRAINER, sole_process
from storage.safekeeping import keep_safe
from storage.schema import AuditOutcome, Lesson
from storage.settings import Settings, VoteSettings, load_settings
from storage.versions import (
    Alias,
    Version,
    ask_gate,
    list_versions,
    name_of,
    promote,
    read_alias,
    roll_back,
    version_named,
)
from trainer.errors import TrainerError

if TYPE_CHECKING:
    from bot.comparison import Comparison

T = TypeVar("T")

USAGE_ERRORS = (
    AlreadyChampion,
    BackupRefused,
    CardError,
    ConnectionRefused,
    CopyRefused,
    DataDirectoryInUse,
    ExportRefused,
    NothingToRollBack,
    PersonalityConflict,
    PersonalityNotFound,
    ReleaseRefused,
    SettingsError,
    UnknownTaste,
    VersionNotFound,
)
NO_OVERRIDES: Mapping[str, str] = MappingProxyType({})
RESTART_PAUSE_S = 10.0
STOP_S = 20.0
DEMO_DIRECTORY = Path("demo-data")
EARLIER_DEMO_S = 20.0

HELP = "A Discord bot whose personality is tuned by the reactions of the people who talk to it."
log = logging.getLogger(__name__)
# What people read goes to standard error where a command prints JSON for scripts.
notes = Console(stderr=True)
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, help=HELP)
model = typer.Typer(no_args_is_help=True, help="Versions: list, show, promote, roll back.")
app.add_typer(model, name="model")
bench = typer.Typer(no_args_is_help=True, help="Measure, both sides in one run; needs a checkout with the bench extra.")
app.add_typer(bench, name="bench")
canary = typer.Typer(no_args_is_help=True, help="Try a version on a share of conversations.")
model.add_typer(canary, name="canary")
votes = typer.Typer(no_args_is_help=True, help="Votes: what became of them.")
app.add_typer(votes, name="votes")
privacy_app = typer.Typer(no_args_is_help=True, help="Privacy: what is stored of members.")
app.add_typer(privacy_app, name="privacy")
personality_app = typer.Typer(no_args_is_help=True, help="Personalities: list, show, export, import.")
app.add_typer(personality_app, name="personality")

db = typer.Typer(no_args_is_help=True, help="The database: migrate, copy, partition.")
app.add_typer(db, name="db")

Config = Annotated[Path | None, typer.Option("--config", help="Settings file; config.toml where it is left out.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Personality = Annotated[str, typer.Option("--personality", help="Whose versions or votes.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept in the audit trail.")]
Override = Annotated[
    bool, typer.Option("--override", help="Release what did not pass the gate; say why with --reason.")
]


@app.command()
def demo(
    *,
    config: Config = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 is a free one.")] = 8790,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    directory: Annotated[Path, typer.Option(help="Keeps the demo's data between starts.")] = DEMO_DIRECTORY,
    start_over: Annotated[bool, typer.Option("--start-over", help="Forget earlier starts first.")] = False,
    community: Annotated[str, typer.Option(help="Begin with votes of a community of this taste, such as short.")] = "",
) -> None:
    """Try the real bot in a local browser page: no token, no GPU, no network."""
    with _demo_extra():
        from bot.demo import demo_channel_id, demo_overrides, forget, serve_demo
        from bot.tastes import find_taste
    _import_from_here()
    taste = find_taste(community) if community else None
    overrides = demo_overrides(str(directory), demo_channel_id(), community=taste is not None)
    settings = _settings(config, overrides=overrides)
    set_up_logs(settings, BOT, least=logging.WARNING)

    def announce(url: str) -> None:
        say("Ready.")
        print(f"Open {url}\nThe data stays in {directory}; Ctrl-C ends the demo.", flush=True)
        if browser:
            webbrowser.open(url)

    _require_free(port)
    with _progress() as say, _sole_demo(directory, say):
        if start_over:
            forget(directory)
        _prepare_base(settings, say)
        with _trainer_beside(config, overrides):
            say("Loading the model and starting the bot …")
            asyncio.run(serve_demo(settings, port=port, taste=taste, on_ready=announce))


@app.command()
def run(config: Config = None) -> None:
    """Serve Discord, with the trainer beside the bot."""
    from bot.runner import require_token, run_bot
    from storage.cron import parse_schedule
    from trainer.schedule import SETTING

    settings = _settings(config)
    set_up_logs(settings, BOT)
    parse_schedule(SETTING, settings.training.schedule)
    require_token(settings)
    with _progress() as say:
        _prepare_base(settings, say)
    with _trainer_beside(config, {}):
        run_bot(settings)


@app.command()
def bot(config: Config = None) -> None:
    """Serve Discord without a trainer."""
    from bot.runner import run_bot

    settings = _settings(config)
    set_up_logs(settings, BOT)
    run_bot(settings)


@app.command()
def trainer(
    config: Config = None,
    until_stdin_closes: Annotated[bool, typer.Option(hidden=True, help="Stop when the starter is gone.")] = False,
) -> None:
    """Run the trainer alone: scheduled rounds and those asked for."""
    from trainer.worker import run_trainer, stopped_by_signals

    settings = _settings(config)
    set_up_logs(settings, TRAINER)
    with stopped_by_signals() as stop:
        if until_stdin_closes:
            threading.Thread(target=_stop_with_stdin, args=[stop], daemon=True).start()
        run_trainer(settings, stop)


@app.command()
def train(
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    lesson: Annotated[
        Lesson, typer.Option("--from", help="Votes and suggestions, or the example dialogues of the card.")
    ] = Lesson.VOTES,
    as_json: AsJson = False,
) -> None:
    """Train one round now, and wait for it."""
    from bot.reports import describe_round
    from storage.schema import RoundStatus
    from trainer.worker import train_now

    settings, by = _settings(config), _who()
    set_up_logs(settings, "train", least=logging.WARNING)
    with _progress() as say:
        _note(config, personality, _deed("model train", f"learn_from: {lesson}"))
        round_ = train_now(settings, personality, by, lambda r: say(_plain(describe_round(r))), lesson=lesson)
    _show(asdict(round_), describe_round(round_), as_json)
    if round_.status in (RoundStatus.FAILED, RoundStatus.INTERRUPTED):
        raise typer.Exit(1)


@app.command("compare")
def compare_offline_answers(
    prompts: Annotated[list[str] | None, typer.Argument(help="What to ask; without it, three of the bank.")] = None,
    *,
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    base: Annotated[bool, typer.Option("--base/--no-base", help="Ask the base model, told nothing.")] = True,
    prompt_only: Annotated[
        bool, typer.Option("--prompt-only/--no-prompt-only", help="Ask the base with the personality's system prompt.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Show what fine-tuning does: the same prompts, answered by base, prompt alone and personality."""
    from bot.comparison import NO_ANSWER, choose_prompts
    from bot.offline_comparison import compare_offline, contestants_of
    from bot.prompt_bank import read_bank
    from storage.base_model import resolve_base_model
    from storage.cards import settings_of

    settings = _settings(config)
    whose, champion = _with_cards(settings, lambda session: _answering(session, personality))
    settings = settings_of(settings, whose.card)
    with _progress() as say:
        model_base = resolve_base_model(settings.model.base, settings.data.directory, say)
        store = open_store(settings)
        contestants = contestants_of(
            whose,
            champion,
            store=store,
            base=model_base,
            settings=settings,
            with_base=base,
            with_prompt_only=prompt_only,
        )
        asked = prompts or choose_prompts(read_bank(settings.arena.prompts))
        comparisons = asyncio.run(compare_offline(model_base, settings, contestants, asked, say))
    names = [contestant.name for contestant in contestants]
    told = [[None if answer == NO_ANSWER else answer for answer in c.answers] for c in comparisons]
    data = [
        {"prompt": c.prompt, "answers": dict(zip(names, answers, strict=True))}
        for c, answers in zip(comparisons, told, strict=True)
    ]
    _show({"comparisons": data}, _side_by_side(names, comparisons), as_json)
    if any(None in answers for answers in told):
        raise typer.Exit(1)


def _answering(session: Session, name: str) -> tuple[StoredPersonality, Version | None]:
    whose = personality_named(session, name)
    return whose, read_alias(session, whose.id).version


def _side_by_side(names: Sequence[str], comparisons: Sequence[Comparison]) -> str:
    parts = []
    for comparison in comparisons:
        answers = [f"- **{name}:** {' '.join(a.split())}" for name, a in zip(names, comparison.answers, strict=True)]
        parts.append("\n".join([f"**{comparison.prompt}**", "", *answers]))
    return "\n\n".join(parts)


@model.command("list")
def list_models(config: Config = None, personality: Personality = DEFAULT_PERSONALITY, as_json: AsJson = False) -> None:
    """List the versions with their votes, newest first."""
    from bot.reports import describe_versions
    from storage.schema import CHALLENGER
    from storage.votes import tally_by_version

    def read(session: Session, personality_id: int) -> tuple[dict[str, Any], str]:
        versions, champion = list_versions(session, personality_id), read_alias(session, personality_id)
        challenger = read_alias(session, personality_id, CHALLENGER)
        tallies = tally_by_version(session, personality_id)
        data = {
            "champion": champion.target,
            "challenger": challenger.target if challenger.version else None,
            "versions": [asdict(v) | {"name": v.name} for v in versions],
        }
        return data, describe_versions(versions, champion, challenger, tallies)

    _show(*_read(config, personality, read), as_json)


@model.command("show")
def show_model(
    version: str, config: Config = None, personality: Personality = DEFAULT_PERSONALITY, as_json: AsJson = False
) -> None:
    """Show where a version comes from and how it measured."""
    from bot.reports import describe_version
    from storage.rounds import find_round
    from storage.versions import failed_checks, find_version, moves_of
    from storage.votes import Tally, tally_by_version

    def read(session: Session, personality_id: int) -> tuple[dict[str, Any], str]:
        found = version_named(session, personality_id, version)
        if found is None:
            return {"name": "base"}, "**base**: the base model, without an adapter"
        round_ = find_round(session, found.round_id) if found.round_id else None
        votes = tally_by_version(session, personality_id).get(found.id, Tally())
        moves, checks = moves_of(session, found), failed_checks(session, found)
        data = asdict(found) | {"name": found.name, "votes": asdict(votes), "moves": [asdict(m) for m in moves]}
        parent = find_version(session, found.parent_id)
        return data, describe_version(found, parent, round_, votes, moves, failed_checks=checks)

    _show(*_read(config, personality, read), as_json)


@model.command("promote")
def promote_model(
    version: str,
    *,
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    reason: Reason = "",
    override: Override = False,
    as_json: AsJson = False,
) -> None:
    """Make a version, or "base", the one that answers."""
    champion = _read(config, personality, read_alias)
    deed = _deed("model promote", f"version: {version}, override: {override}", reason)
    target = _releasable(config, personality, version, deed, override=override)

    def move(session: Session, personality_id: int) -> Alias:
        return promote(
            session,
            personality_id,
            target,
            expected_generation=champion.generation,
            by=_who(),
            reason=reason or "promoted on the command line",
            override=override,
        )

    _show_champion(_change(config, personality, move, deed), as_json)


@model.command("rollback")
def roll_back_model(
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    reason: Reason = "rolled back on the command line",
    as_json: AsJson = False,
) -> None:
    """Go back to the version that answered before."""
    champion = _read(config, personality, read_alias)

    def move(session: Session, personality_id: int) -> Alias:
        return roll_back(session, personality_id, expected_generation=champion.generation, by=_who(), reason=reason)

    _show_champion(_change(config, personality, move, _deed("model rollback", reason=reason)), as_json)


@model.command("prune")
def prune_models(
    config: Config = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove the adapter files that privacy.withdraw_adapters and training.keep_versions let go."""
    from storage.withdrawal import choose_withdrawals, withdraw_adapters

    settings = _settings(config)
    with contextlib.closing(open_database(settings)) as database:
        if dry_run:
            with database.snapshot() as session:
                gone = choose_withdrawals(session, settings)
        else:
            gone = withdraw_adapters(database, open_store(settings), settings)
    verb = "would be removed" if dry_run else "are removed"
    lines = [f"- The files of **{g.version.name}** of {g.personality} {verb}: {g.because}." for g in gone]
    removed = [
        {"personality": g.personality, "version": g.version.name, "digest": g.version.digest, "because": g.because}
        for g in gone
    ]
    _show({"removed": removed, "dry_run": dry_run}, "\n".join(lines) or "Nothing is to be removed.", as_json)


@model.command("lineage")
def show_lineage(
    version: str, config: Config = None, personality: Personality = DEFAULT_PERSONALITY, as_json: AsJson = False
) -> None:
    """Show which rounds, votes and people made a version."""
    from bot.lineage import NO_LINEAGE, PLAIN, lineage_lines, plain_text, user_by_id
    from storage.lineage import votes_behind

    def read(session: Session, personality_id: int) -> tuple[dict[str, Any], str]:
        found = version_named(session, personality_id, version)
        if found is None:
            return {"version": name_of(None), "chain": [name_of(None)], "rounds": []}, plain_text([NO_LINEAGE])
        lineage = votes_behind(session, found.id)
        return asdict(lineage), plain_text(lineage_lines(lineage, user_by_id, PLAIN))

    _show_plain(*_read(config, personality, read), as_json)


@model.command("report")
def draw_model_report(
    file: Annotated[Path, typer.Argument(help="Where to write the picture, a PNG.")],
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    as_json: AsJson = False,
) -> None:
    """Draw approval, votes, pairs, training and the gate into a picture."""
    from bot.charts.report import describe_report, draw_report
    from storage.schema import utc_now
    from storage.statistics import read_report

    if file.suffix.lower() != ".png":
        raise SettingsError(f"{file} cannot be written: the report is a PNG, so give it a name that ends in .png")
    report = _read(config, personality, lambda session, id_: read_report(session, id_, utc_now()))
    try:
        file.write_bytes(draw_report(report))
    except OSError as error:
        raise SettingsError(f"{file} cannot be written ({error.strerror}): choose another place") from error
    _show({"file": str(file), **asdict(report)}, f"{describe_report(report)} The picture is {file}.", as_json)


@model.command("gguf")
def write_model_gguf(
    version: str,
    folder: Annotated[Path, typer.Argument(help="Where to write the file; its name says which version it is.")],
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    as_json: AsJson = False,
) -> None:
    """Write a version as the GGUF file that llama.cpp's server is started with."""
    from storage.adapters import AdapterRef
    from storage.base_model import resolve_base_model
    from storage.gguf_adapters import gguf_name, write_gguf

    settings = _settings(config)
    found = _read(config, personality, lambda session, id_: version_named(session, id_, version))
    if found is None:
        raise SettingsError("base has no adapter, so there is nothing to write: name a version such as v3")
    adapter = AdapterRef(found.digest, open_store(settings).path(found.digest))
    with _progress() as say:
        base = resolve_base_model(settings.model.base, settings.data.directory, say)
    require_base(adapter.path, base)
    file = folder / gguf_name(adapter)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_gguf(adapter, base, file)
    except OSError as error:
        raise SettingsError(f"{file} cannot be written ({error.strerror}): choose another place") from error
    data = {"version": found.name, "digest": found.digest, "file": str(file)}
    _show(
        data,
        f"**{found.name}** is in {file}: start llama-server with `--lora {file} --lora-init-without-apply`.",
        as_json,
    )


@model.command("slim")
def write_slim_base(
    folder: Annotated[Path, typer.Argument(help="A new folder, to be copied to the bot's host as its model.base.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Write the base model without its weights, for a bot whose servers are elsewhere."""
    from storage.base_model import resolve_base_model, without_weights

    settings = _settings(config)
    with _progress() as say:
        base = resolve_base_model(settings.model.base, settings.data.directory, say)
    try:
        without_weights(base, folder)
    except OSError as error:
        raise SettingsError(f"{folder} cannot be written ({error.strerror}): choose another place") from error
    data = {"base": base.name, "revision": base.revision, "folder": str(folder)}
    _show(data, f"**{base.name}** ({base.revision}) is in {folder}, without its weights.", as_json)


@votes.command("fate")
def show_fate(
    user_id: Annotated[int, typer.Argument(min=0, max=2**63 - 1, help="The member's Discord id.")],
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    as_json: AsJson = False,
) -> None:
    """Show what became of a member's votes, newest first."""
    from bot.lineage import PLAIN, fate_lines, plain_text, user_by_id
    from storage.base_model import resolve_base_model
    from storage.fates import VoteFate, fate_of_votes

    settings = _settings(config)
    with _progress() as say:
        base = resolve_base_model(settings.model.base, settings.data.directory, say)

    def read(session: Session, personality_id: int) -> list[VoteFate]:
        whose = read_personality(session, personality_id)
        return fate_of_votes(session, user_id, personality=whose, settings=settings, base_revision=base.revision)

    fates = _read(config, personality, read)
    who = user_by_id(user_id).capitalize()
    data = {"user_id": user_id, "votes": [asdict(fate) for fate in fates]}
    _show_plain(data, plain_text(fate_lines(fates, PLAIN, who)), as_json)


@app.command("trace")
def trace_request(
    request: Annotated[str, typer.Argument(help="The reference that a member was told, or an answer's message id.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Follow a request: message, reply, votes, rounds and versions."""
    from bot.traces import trace_lines
    from storage.traces import trace

    with contextlib.closing(open_database(_settings(config))) as database, database.snapshot() as session:
        replies = trace(session, request.strip("`"))
    _show_plain({"replies": [asdict(reply) for reply in replies]}, "\n".join(trace_lines(replies)), as_json)
    if not replies:
        raise typer.Exit(1)


@personality_app.command("list")
def list_all_personalities(config: Config = None, as_json: AsJson = False) -> None:
    """List the personalities, and what answers for each."""

    def read(session: Session) -> tuple[dict[str, Any], str]:
        found = [(p, read_alias(session, p.id).target) for p in list_personalities(session)]
        lines = [f"**{p.name}** · {target} answers · {p.card.description or 'no description'}" for p, target in found]
        data = [{"name": p.name, "champion": target, "card": p.card.as_dict()} for p, target in found]
        return {"personalities": data}, "\n".join(f"- {line}" for line in lines)

    _show(*_with_cards(_settings(config), read), as_json)


@personality_app.command("show")
def show_personality(
    name: str,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show a personality's card, as a file would hold it."""
    from storage.cards import format_card

    def read(session: Session) -> tuple[dict[str, Any], str]:
        found = personality_named(session, name)
        data = {"name": found.name, "champion": read_alias(session, found.id).target, "card": found.card.as_dict()}
        return data, format_card(found.card)

    _show_plain(*_with_cards(_settings(config), read), as_json)


@personality_app.command("export")
def export_personality(
    name: str,
    folder: Annotated[Path, typer.Argument(help="A new folder for the adapter, the card and a model card.")],
    config: Config = None,
    version: Annotated[str, typer.Option(help="Which version; without it, the one that answers.")] = "",
    as_json: AsJson = False,
) -> None:
    """Write a personality's adapter as a PEFT folder that peft and transformers load by themselves."""
    from storage.base_model import resolve_base_model
    from storage.exports import Provenance, export_version, read_provenance

    settings = _settings(config)

    def read(session: Session) -> Provenance:
        found = personality_named(session, name)
        wanted = version_named(session, found.id, version) if version else read_alias(session, found.id).version
        if wanted is None:
            raise SettingsError(
                f"{name} is answered by the base model, which has no adapter: name a version with --version, or train "
                "one; `reactune personality show` prints the card alone"
            )
        return read_provenance(session, found, wanted, settings)

    origin = _with_cards(settings, read)
    with _progress() as say:
        base = resolve_base_model(settings.model.base, settings.data.directory, say)
    export_version(open_store(settings), base, origin, folder)
    exported = origin.versions[0]
    _note(config, name, _deed("personality export", f"version: {exported.name}"))
    data = {"personality": name, "version": exported.name, "folder": str(folder), "digest": exported.digest}
    _show(data, f"**{name} {exported.name}** is in {folder}; its README.md says what made it.", as_json)


@personality_app.command("import")
def import_personality(
    path: Annotated[Path, typer.Argument(help="A card (.toml), an exported folder, or a zip of one.")],
    config: Config = None,
    name: Annotated[str, typer.Option(help="The personality; without it, the name of the file or folder.")] = "",
    as_json: AsJson = False,
) -> None:
    """Take a card, or an adapter as a new version of a personality; an admin decides whether it answers."""
    from bot.reports import describe_import
    from storage.base_model import resolve_base_model
    from storage.imports import take_import

    settings = _settings(config)
    store = open_store(settings)
    with _progress() as say:
        base = resolve_base_model(settings.model.base, settings.data.directory, say)
    _with_cards(settings, lambda _session: None)
    with contextlib.closing(open_database(settings)) as database:
        imported = take_import(
            database,
            store,
            base,
            path,
            name=name or path.name.removesuffix(path.suffix),
            model_base=settings.model.base,
            by=_who(),
        )
    _note(config, imported.personality.name, _deed("personality import", f"file: {path.name}"))
    version = imported.version
    data = {
        "personality": imported.personality.name,
        "version": version.name if version else None,
        "digest": version.digest if version else None,
    }
    _show(data, describe_import(imported), as_json)


@canary.command("start")
def start_model_canary(
    version: str,
    *,
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    share: Annotated[float | None, typer.Option(help="Share of conversations, such as 0.1.")] = None,
    reason: Reason = "",
    override: Override = False,
    as_json: AsJson = False,
) -> None:
    """Let a version answer a share of conversations, until votes decide whether it stays."""
    from storage.canaries import start_canary

    settings = _settings(config).release
    deed = _deed("model canary start", f"version: {version}, share: {share}, override: {override}", reason)
    target = _releasable(config, personality, version, deed, override=override)

    def start(session: Session, personality_id: int) -> None:
        start_canary(
            session,
            personality_id,
            target,
            settings,
            share=share,
            by=_who(),
            reason=reason or "started on the command line",
            override=override,
        )

    _change(config, personality, start, deed)
    _show_canary(config, personality, as_json)


@canary.command("stop")
def stop_model_canary(
    config: Config = None, personality: Personality = DEFAULT_PERSONALITY, reason: Reason = "", as_json: AsJson = False
) -> None:
    """End the canary: the champion answers everywhere."""
    from storage.canaries import stop_canary

    deed = _deed("model canary stop", reason=reason)
    _change(config, personality, lambda session, id_: stop_canary(session, id_, by=_who(), reason=reason), deed)
    _show_canary(config, personality, as_json)


@canary.command("status")
def show_model_canary(
    config: Config = None, personality: Personality = DEFAULT_PERSONALITY, as_json: AsJson = False
) -> None:
    """Show how members like the version that is tried, beside the champion."""
    _show_canary(config, personality, as_json)


@privacy_app.command("report")
def show_privacy_report(config: Config = None, as_json: AsJson = False) -> None:
    """Show what is stored of members, by basis and age, and what was agreed, deleted and marked."""
    from bot.privacy_texts import report_lines
    from storage.privacy_report import report_privacy
    from storage.schema import utc_now

    settings = _settings(config)
    database = open_database(settings)
    with contextlib.closing(database), database.snapshot() as session:
        report = report_privacy(session, settings.privacy, utc_now())
    _show_plain(asdict(report), "\n".join(report_lines(report)), as_json)


@app.command("import")
def import_pairs(
    file: Path, config: Config = None, personality: Personality = DEFAULT_PERSONALITY, as_json: AsJson = False
) -> None:
    """Read preference pairs from JSON lines (prompt, chosen, rejected), as TRL writes them."""
    from trainer.exchange import import_file

    counts = import_file(_settings(config), file, personality)
    _note(config, personality, _deed("import", f"file: {file.name}, {counts.imported} pairs"))
    _show(asdict(counts), f"{counts.imported} pairs imported, {counts.known} were there already.", as_json)


@app.command("export")
def export_pairs(
    file: Path, config: Config = None, personality: Personality = DEFAULT_PERSONALITY, as_json: AsJson = False
) -> None:
    """Write the pairs that a round would train on now as JSON lines (prompt, chosen, rejected)."""
    from trainer.exchange import export_file

    count = export_file(_settings(config), file, personality)
    _note(config, personality, _deed("export", f"file: {file.name}, {count} pairs"))
    _show({"pairs": count, "file": str(file)}, f"{count} pairs written to {file}.", as_json)


@app.command("audit")
def show_audit(
    config: Config = None,
    limit: Annotated[int, typer.Option(min=1, help="How many lines, newest first.")] = 50,
    action: Annotated[str, typer.Option(help='A command such as "model promote", or "model" for all of them.')] = "",
    member: Annotated[int | None, typer.Option(help="A member's Discord id; 0 is the command line.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show who did what with an admin's rights, when and why."""
    with contextlib.closing(open_database(_settings(config))) as database, database.snapshot() as session:
        entries = read_trail(session, Wanted(limit, action=action, actor_id=member))
    lines = [_audit_line(entry) for entry in entries] or ["Nothing stands in the audit trail for that."]
    _show_plain({"entries": [asdict(entry) for entry in entries]}, "\n".join(lines), as_json)


def _audit_line(entry: Entry) -> str:
    where = f"in {entry.guild_id}" if entry.guild_id else ""
    parts = [entry.action, f"by {entry.actor}", where, entry.subject, entry.reason, entry.outcome, entry.note]
    return " · ".join([f"{entry.happened_at:%Y-%m-%d %H:%M:%S}", *filter(None, parts)])


@db.command("migrate")
def migrate_database(config: Config = None, as_json: AsJson = False) -> None:
    """Bring the database to the newest schema, as every start does."""
    from storage.database import open_migrated
    from storage.migrating import newest_schema

    settings = _settings(config)
    set_up_logs(settings, "db")
    database, before = open_migrated(settings.database_url, settings.database)
    database.close()
    after = newest_schema()
    text = (
        f"The schema is {after} already." if before == after else f"The schema went from {before or 'none'} to {after}."
    )
    _show({"from": before, "to": after}, text, as_json)


@db.command("copy")
def copy_database(
    target_url: Annotated[str, typer.Argument(help="Address of an empty database; without it, see --to-env.")] = "",
    *,
    to_env: Annotated[
        str,
        typer.Option("--to-env", help="Environment variable with the address, which keeps a password out of sight."),
    ] = "COPY_TO_URL",
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Copy everything into another database, SQLite or PostgreSQL; stop bot and trainer first."""
    from storage.copying import copy_rows, describe_copy
    from storage.database import open_address
    from storage.processes import TRAINER

    settings = _settings(config)
    address = target_url or os.environ.get(to_env, "")
    name = "the target" if target_url else to_env
    if not address:
        raise SettingsError(f"no target is named: give its address, or put it into the environment as {to_env}")
    with (
        sole_process(BOT, settings.data.directory),
        sole_process(TRAINER, settings.data.directory),
        contextlib.closing(open_database(settings)) as source,
        contextlib.closing(open_address(address, settings.database, name)) as target,
        _progress() as say,
    ):
        copied = copy_rows(source, target, say)
    text = f"{describe_copy(copied)}\n\nEvery row was read back. Set database.url to the new address, then start again."
    _show_plain({"tables": [asdict(table) for table in copied]}, text, as_json)


@db.command("partition")
def partition_database(config: Config = None, as_json: AsJson = False) -> None:
    """Split the vote events of a large PostgreSQL database into partitions; votes wait meanwhile, none is lost."""
    from storage.partitions import partition_votes

    with contextlib.closing(open_database(_settings(config))) as database, _progress() as say:
        say("Rebuilding the table of vote events …")
        done = partition_votes(database)
    what = "are in partitions now" if done.is_new else "were in partitions already"
    _show(asdict(done), f"{done.events} vote events {what}, {done.partitions} of them.", as_json)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="A new file, such as reactune-2026-11-26.tar.gz.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Write database and adapters to one file, while the bot runs."""
    from storage.backups import make_backup

    with _progress() as say:
        made = make_backup(_settings(config), file, say)
    lacking = len(made.missing_adapters)
    warning = f" {lacking} adapters are gone or damaged and not in it: see `reactune doctor`." if lacking else ""
    held = f"{sum(made.rows.values())} rows and {len(made.adapters)} adapters"
    _show(asdict(made), f"**{file}** holds {held}, and was read back.{warning}", as_json)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `reactune backup` wrote.")],
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Let rows that are there make way; they are saved first.")
    ] = False,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup back, into SQLite or PostgreSQL; stop bot and trainer first."""
    from storage.backups import restore_backup

    with _progress() as say:
        done = restore_backup(_settings(config), file, say, replace=replace)
    parts = [f"The state of {done.backup.made_at:%Y-%m-%d %H:%M} UTC is back."]
    if done.saved:
        parts.append(f"What was there before is in {done.saved}.")
    if done.kept_deletions:
        parts.append(f"{done.kept_deletions} members had taken their data or consent back since: that was done again.")
    _show(asdict(done), " ".join(parts), as_json)


@app.command()
def doctor(config: Config = None, as_json: AsJson = False) -> None:
    """Check settings, database, models, suites, channels, token and disk, and say what to do."""
    from bot.doctor import examine

    settings = _settings(config)
    findings = examine(settings, [("Suites", lambda: _describe_suites(settings))])
    lines = [f"{'✓' if f.is_well else '✗'} **{f.what}:** {f.says}" for f in findings]
    _show({"findings": [asdict(f) for f in findings]}, "\n\n".join(lines), as_json)
    if not all(finding.is_well for finding in findings):
        raise typer.Exit(1)


def _describe_suites(settings: Settings) -> str:
    from trainer.suites import load_suites

    return ", ".join(f"{suite.name} ({len(suite.cases)} cases)" for suite in load_suites(settings.gate))


@bench.command("votes")
def bench_votes(as_json: AsJson = False) -> None:
    """Votes stored and read per second, on SQLite and PostgreSQL."""
    _run_bench("votes", as_json)


@bench.command("loop")
def bench_loop(as_json: AsJson = False) -> None:
    """Delays of the bot's event loop while it generates and while a round trains."""
    _run_bench("loop", as_json)


@bench.command("community")
def bench_community(
    *,
    taste: Annotated[str, typer.Option(help="What members like: a built-in taste, or module:function.")] = "short",
    votes: Annotated[int, typer.Option(min=1, help="Votes in a round.")] = 300,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, each from the version before.")] = 3,
    noise: Annotated[float, typer.Option(min=0, max=1, help="Share of votes that are flipped.")] = 0.0,
    brigade: Annotated[float, typer.Option(min=0, max=1, help="Share of votes by colluding new accounts.")] = 0.0,
    single: Annotated[bool, typer.Option("--single", help="Lone votes only, no siblings.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of members and training.")] = 0,
    as_json: AsJson = False,
) -> None:
    """A simulated server with a hidden taste: does the loop improve the bot? Takes minutes."""
    _run_bench(
        "community",
        as_json,
        taste=taste,
        votes=votes,
        rounds=rounds,
        noise=noise,
        brigade=brigade,
        single=single,
        seed=seed,
    )


@bench.command("demonstration")
def bench_demonstration(
    *,
    card: Annotated[str, typer.Option(help="Whose examples are learned: a card in personalities/.")] = "default",
    base: Annotated[str, typer.Option(help="The base model, as in model.base.")] = "bundled",
    messages: Annotated[int, typer.Option(min=1, help="Strangers' messages that are answered.")] = 96,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split, the messages and the training.")] = 0,
    as_json: AsJson = False,
) -> None:
    """What a card's examples teach beyond its system prompt, before and after. Takes minutes."""
    _run_bench("demonstration", as_json, card=card, base=base, messages=messages, seed=seed)


@bench.command("knowledge")
def bench_knowledge(as_json: AsJson = False) -> None:
    """What a search in documents finds, what the model makes of it, and how long it takes. Takes minutes."""
    _run_bench("knowledge", as_json)


@bench.command("training")
def bench_training(
    *,
    base: Annotated[str, typer.Option(help="The base model, as in model.base.")] = "bundled",
    batch_size: Annotated[int, typer.Option(min=2, help="Pairs in a step.")] = 6,
    steps: Annotated[int, typer.Option(min=1, help="Measured steps of each side.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Pairs per second and memory of a round beside TRL's on the same pairs. Takes a quarter of an hour."""
    _run_bench("training", as_json, base=base, batch_size=batch_size, steps=steps)


@bench.command("serving")
def bench_serving(
    *,
    think: Annotated[float, typer.Option(min=0, help="Mean pause before a next message, s; 0 is a full load.")] = 1.0,
    window: Annotated[float, typer.Option(min=1, help="Seconds that each number of chats talks.")] = 9.0,
    chart: Annotated[Path | None, typer.Option(help="Where to draw answers per second, a PNG.")] = None,
    as_json: AsJson = False,
) -> None:
    """Waits, tokens per second and memory, beside plain generate() and llama.cpp. Takes twelve minutes."""
    _run_bench("serving", as_json, think_s=think, window_s=window, chart=chart)


@bench.command("startup")
def bench_startup(as_json: AsJson = False) -> None:
    """Seconds until the first answer of the engine, by number of versions, and of the bot. Takes three minutes."""
    _run_bench("startup", as_json)


@bench.command("capacity")
def bench_capacity(
    *,
    votes_per_day: Annotated[int, typer.Option(min=1, help="Votes of all servers in a day.")] = 1_000_000,
    answers_per_day: Annotated[int, typer.Option(min=1, help="Answers of all servers in a day.")] = 2_000_000,
    processes: Annotated[int, typer.Option(min=1, help="Processes of the bot.")] = 4,
    as_json: AsJson = False,
) -> None:
    """What database and gateway carry of a bot in thousands of servers. Takes a quarter of an hour."""
    load = {"votes_per_day": votes_per_day, "answers_per_day": answers_per_day}
    _run_bench("capacity", as_json, processes=processes, **load)


@bench.command("soak")
def bench_soak(
    *,
    answers: Annotated[int, typer.Option(min=40, help="Whole answers.")] = 10_000,
    as_json: AsJson = False,
) -> None:
    """Thousands of answers with crashes: exits with 1 where memory grew or an answer was lost. Takes ten minutes."""
    if _run_bench("soak", as_json, answers=answers)["summary"]["problems"]:
        raise typer.Exit(1)


@bench.command("faults")
def bench_faults(
    *,
    kills: Annotated[int, typer.Option(min=6, help="kill -9 of bot, database and trainer, together.")] = 210,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what members do and when things break.")] = 0,
    only: Annotated[str, typer.Option(help="One fault, such as kills; all where it is left out.")] = "",
    as_json: AsJson = False,
) -> None:
    """Break everything under load: exits with 1 where anything was lost. Linux; takes an hour."""
    if _run_bench("faults", as_json, kills=kills, seed=seed, only=only)["summary"]["lost"]:
        raise typer.Exit(1)


def _import_from_here() -> None:
    """Let a taste such as "module:function" name a module in the folder that the command is called in."""
    sys.path.append(str(Path.cwd()))


def _run_bench(name: str, as_json: bool, **options: Any) -> dict[str, Any]:
    sys.path.insert(0, str(Path(__file__).resolve().parent))  # the checkout, from wherever this is called
    _import_from_here()
    try:
        module = importlib.import_module(f"tests.benchmarks.{name}")
        began = time.perf_counter()
        result: dict[str, Any] = module.run(**options)
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"bench {name} needs {error.name}: run it in a checkout after `pip install -e '.[bench]'`"
        ) from error
    notes.print(f"It took {(time.perf_counter() - began) / 60:.1f} minutes.")
    _show(result, json.dumps(result, indent=2), as_json)
    return result


class _LineLog:
    """Prints a line each time the text changes."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, text: str) -> None:
        if text != self._last:
            self._last = text
            notes.print(text, markup=False, highlight=False)


def _plain(markdown: str) -> str:
    return markdown.replace("**", "").replace("`", "").replace("\n", " · ")


def _show(data: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps(data, default=str, ensure_ascii=False))
    else:
        Console().print(Markdown(text.replace("\n", "  \n")))


def _show_plain(data: dict[str, Any], text: str, as_json: bool) -> None:
    """Like `_show`, for long text: a line of it stays a line, for grep."""
    if as_json:
        _show(data, text, as_json)
    else:
        print(text)


def _show_champion(alias: Alias, as_json: bool) -> None:
    data = {"champion": alias.target, "generation": alias.generation}
    _show(data, f"**{name_of(alias.version)}** answers from now on.", as_json)


def _show_canary(config: Path | None, personality: str, as_json: bool) -> None:
    status = partial(_canary_status, settings=_settings(config).votes)
    _show(*_read(config, personality, status), as_json)


def _canary_status(session: Session, personality_id: int, settings: VoteSettings) -> tuple[dict[str, Any], str]:
    from bot.news import canary_data, describe_canary, describe_last_canary
    from storage.canaries import latest_canary, read_canary
    from storage.schema import utc_now
    from storage.versions import find_version

    reading = read_canary(session, personality_id, settings)
    if reading is not None:
        return canary_data(reading), describe_canary(reading, utc_now())
    last = latest_canary(session, personality_id)
    challenger = name_of(find_version(session, last.challenger_id)) if last else ""
    data = {"running": False, "last": asdict(last) | {"challenger": challenger} if last else None}
    return data, describe_last_canary(last, challenger)


def _releasable(config: Path | None, personality: str, version: str, deed: Deed, *, override: bool) -> Version | None:
    """Return the version if the gate, or an admin in its place, lets it answer and its files are sound."""

    def find(session: Session, personality_id: int) -> Version | None:
        found = version_named(session, personality_id, version)
        ask_gate(session, found, override=override, reason=deed.reason)
        return found

    try:
        target = _read(config, personality, find)
        if target is not None:
            open_store(_settings(config)).path(target.digest)
    except StorageError as error:
        _note(config, personality, deed, AuditOutcome.REFUSED, str(error))
        raise
    return target


def _read(config: Path | None, personality: str, work: Callable[[Session, int], T]) -> T:
    """Return what `work` reads of the personality, while others write as they like."""
    return _call(config, personality, work, Database.snapshot)


def _change(config: Path | None, personality: str, work: Callable[[Session, int], T], deed: Deed) -> T:
    """Return what `work` changes, with a line of the audit trail in its transaction; a refusal has a line as well."""

    def changing(session: Session, personality_id: int) -> T:
        result = work(session, personality_id)
        note_deed(session, replace(deed, personality_id=personality_id))
        return result

    try:
        return _call(config, personality, changing, Database.transaction)
    except StorageError as error:
        _note(config, personality, deed, AuditOutcome.REFUSED, str(error))
        raise


def _note(
    config: Path | None,
    personality: str,
    deed: Deed,
    outcome: AuditOutcome = AuditOutcome.DONE,
    note: str = "",
) -> None:
    """Add a line to the audit trail; of a personality or database that is not there nothing is written."""
    with contextlib.suppress(StorageError):
        _call(
            config,
            personality,
            lambda session, id_: note_deed(session, replace(deed, personality_id=id_), outcome, note),
            Database.transaction,
        )


def _deed(action: str, subject: str = "", reason: str = "") -> Deed:
    return Deed(actor=_who(), action=action, subject=subject, reason=reason)


def _call(
    config: Path | None,
    personality: str,
    work: Callable[[Session, int], T],
    begin: Callable[[Database], contextlib.AbstractContextManager[Session]],
) -> T:
    database = open_database(_settings(config))
    with contextlib.closing(database), begin(database) as session:
        return work(session, personality_named(session, personality).id)


def _with_cards(settings: Settings, work: Callable[[Session], T]) -> T:
    """Return what `work` finds or does once the cards in their folder are known; before the first start as well."""
    database = open_database(settings)
    with contextlib.closing(database), database.transaction() as session:
        open_personality(session, settings, DEFAULT_PERSONALITY)
        return work(session)


def _settings(config: Path | None, overrides: Mapping[str, str] = NO_OVERRIDES) -> Settings:
    settings = load_settings(config, overrides=overrides)
    keep_safe(settings)
    return settings


def _who() -> str:
    return f"{getpass.getuser()} (command line)"[:64]


def _prepare_base(settings: Settings, say: Callable[[str], None]) -> None:
    """Find, fetch or convert the base model while saying so; it takes seconds once, and no time later."""
    from storage.base_model import resolve_base_model

    say("Looking for the base model …")
    resolve_base_model(settings.model.base, settings.data.directory, say)


@contextlib.contextmanager
def _sole_demo(directory: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the demo's folder; an earlier demo gets a moment to finish closing."""
    say("Waiting for the demo's folder …")
    try:
        with sole_process(BOT, directory, wait_s=EARLIER_DEMO_S):
            yield
    except DataDirectoryInUse as error:
        raise SettingsError(f"another demo is using {directory}: end it, or give --directory another folder") from error


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise SettingsError(f"port {port} is in use: give --port another one, or 0 for a free one") from error


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Yield a function that says what is going on: one changing line in a terminal, else a line each."""
    if not notes.is_terminal:
        yield _LineLog()
        return
    with notes.status("") as status:
        yield lambda text: status.update(Text(text))


@contextlib.contextmanager
def _demo_extra() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise SettingsError(f"the demo needs {error.name}: run `pip install 'reactune[demo]'`") from error


@contextlib.contextmanager
def _trainer_beside(config: Path | None, overrides: dict[str, str]) -> Iterator[None]:
    """Keep a trainer process running, started again where it dies, until the context ends."""
    command = [sys.executable, "-m", "reactune", "trainer", "--until-stdin-closes"]
    command += ["--config", str(config)] if config else []
    ending = threading.Event()

    def keep_running() -> None:
        while not ending.is_set():
            # The pipe closes however this process ends, and with it the trainer; a signal to the group is not for it.
            process = subprocess.Popen(
                command, env={**os.environ, **overrides}, stdin=subprocess.PIPE, start_new_session=True
            )
            while process.poll() is None and not ending.wait(0.2):
                pass
            if ending.is_set():
                _stop(process)
                return
            log.error("The trainer ended with code %s; starting it again in %g s.", process.returncode, RESTART_PAUSE_S)
            ending.wait(RESTART_PAUSE_S)

    keeper = threading.Thread(target=keep_running, name="trainer keeper")
    keeper.start()
    try:
        yield
    finally:
        ending.set()
        keeper.join()


def _stop_with_stdin(stop: threading.Event) -> None:
    sys.stdin.read()
    stop.set()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> None:
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except USAGE_ERRORS as error:
        _fail(error, 2)
    except (StorageError, BotError, TrainerError) as error:
        _fail(error, 1)
    except SQLAlchemyError as error:
        if not is_away(error):
            raise
        _fail(DatabaseError(explain(error)), 1)


def _fail(error: Exception, code: int) -> None:
    print(f"reactune: {error}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
