"""`reactune base`: shows the base model, changes it, goes back, and teaches the personalities again."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from reactune.changing_base import SEES, change_base
from reactune.model import request_release
from reactune.shared import (
    AsJson,
    Config,
    operating,
    operator_action,
    progress,
    read_settings,
    reading,
    show,
    with_cards,
)
from reactune.train import train_personality
from storage.database.enums import GateVerdict, TrainingSource
from storage.errors import AlreadyChampion, BaseModelError, SettingsError
from storage.personalities.personalities import Personality, list_personalities
from storage.releases.base_change import UsedBase, describe_bases_used
from storage.releases.bases import base_in_use, previous_base
from storage.releases.promotion import promote_version
from storage.releases.versions import read_alias, version_of_round
from storage.settings.sections import Settings
from storage.training.rounds import MIN_EXAMPLES, Round
from storage.wording import count, format_bytes

if TYPE_CHECKING:
    from storage.models.base_offer import BaseOffer

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether to go on.")]

base = typer.Typer(no_args_is_help=True, help="Show or change the base model, and teach the personalities again.")
TAUGHT = "taught on the new base model"


@dataclass(frozen=True)
class Taught:
    """A round of one personality, and the version that it made if that leads now."""

    personality: str
    round: Round
    champion: str | None


@base.command("show")
def show_base(config: Config = None, as_json: AsJson = False) -> None:
    """Show the base model, and those used before with their versions and votes."""
    from storage.models.base_offer import examine_base

    settings = read_settings(config)
    setting, offer, problem = settings.model.base, None, ""
    with progress() as say:
        say(f"Looking at {setting} …")
        try:
            offer = examine_base(setting, settings)
        except (BaseModelError, SettingsError) as error:
            problem = str(error)
    with reading(settings) as session:
        used = describe_bases_used(session, settings.votes)
    data = {
        "base": setting,
        "problem": problem,
        "name": offer.name if offer else None,
        "licence": offer.licence if offer else None,
        "weight_bytes": offer.weight_bytes if offer else None,
        "download_bytes": offer.download_bytes if offer else None,
        "sees": offer.sees if offer else None,
        "used": [asdict(one) for one in used],
    }
    show(data, describe_base_models(offer or f"`model.base = {setting}` cannot be used: {problem}.", used), as_json)
    if problem:
        raise typer.Exit(1)


@base.command("use")
def use_base(
    which: Annotated[str, typer.Argument(help='"bundled", a folder, or a hub ID (owner/name).', metavar="BASE")],
    config: Config = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Check, download and compare a base model, then let it answer from the bot's next start on."""
    change_base(which, config, yes=yes, as_json=as_json)


@base.command("back")
def go_back(config: Config = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """Go back to the base model that answered before; its versions in use come back with it."""
    settings = read_settings(config)
    with reading(settings) as session:
        used, previous = base_in_use(session), previous_base(session)
    if used is not None and used.setting != settings.model.base:  # the change has not reached the bot yet
        previous = used
    if previous is None:
        raise SettingsError("no other base model answered before: choose one with `reactune base use`")
    change_base(previous.setting, config, yes=yes, as_json=as_json)


@base.command("teach")
def teach(config: Config = None, as_json: AsJson = False) -> None:
    """Teach every personality on the base model: first its card's examples, then the members' votes."""
    from storage.database.enums import RoundStatus
    from storage.runtime.log_setup import set_up_logs
    from trainer.rounds.worker import stopped_by_signals

    settings = read_settings(config)
    set_up_logs(settings, "teach", least=logging.WARNING)
    with with_cards(settings) as session:
        used = base_in_use(session)
    if used is not None and used.setting != settings.model.base:
        raise SettingsError(
            f"{used.name} still answers: start the bot again, so that {settings.model.base} does, then teach"
        )
    with progress() as say, stopped_by_signals() as stop:
        taught = teach_all(config, settings, say, stop)
    show({"taught": [asdict(one) for one in taught]}, describe_taught(taught), as_json)
    failed = (RoundStatus.FAILED, RoundStatus.INTERRUPTED, RoundStatus.REJECTED)
    if any(one.round.status in failed for one in taught):
        raise typer.Exit(1)


def teach_all(config: Path | None, settings: Settings, say: Callable[[str], None], stop: Event) -> list[Taught]:
    """Run the rounds one after another, and return their results; the rest is left out if `stop` is set.

    A version that learned from examples and passed the gate becomes the champion if the bare base was: the round of
    votes starts from it.
    """
    with reading(settings) as session:
        personalities = list_personalities(session)
    taught = []
    for personality in personalities:
        for source in _sources(personality, settings):
            if stop.is_set():
                return taught
            round_ = train_personality(config, personality.name, source, _saying(say, personality.name), stop)
            led = _lead(config, settings, personality, round_) if source is TrainingSource.EXAMPLES else None
            taught.append(Taught(personality.name, round_, led))
    return taught


def _sources(personality: Personality, settings: Settings) -> list[TrainingSource]:
    with reading(settings) as session:
        is_bare = read_alias(session, personality.id).version is None
    has_examples = len(personality.card.examples) >= MIN_EXAMPLES
    return [*([TrainingSource.EXAMPLES] if is_bare and has_examples else []), TrainingSource.VOTES]


def _saying(say: Callable[[str], None], name: str) -> Callable[[str], None]:
    return lambda sentence: say(f"{name}: {sentence}")


def _lead(config: Path | None, settings: Settings, personality: Personality, round_: Round) -> str | None:
    """Promote the version that the round made, if it passed the gate, and return its name."""
    with reading(settings) as session:
        version = version_of_round(session, round_.id)
    if version is None or version.verdict is not GateVerdict.PASS:
        return None
    command = operator_action("version promote", f"version: {version.name}", TAUGHT)
    request = request_release(settings, personality.id, version.name, TAUGHT, override=False)
    with operating(config, personality.name, command) as (database, action, _), contextlib.suppress(AlreadyChampion):
        promote_version(database, action, request)
    return version.name


def describe_base_models(offer: BaseOffer | str, used: Sequence[UsedBase]) -> str:
    """Describe the base, or say in the given sentence why it cannot be used, and list those used before."""
    lines = [offer] if isinstance(offer, str) else _offer_lines(offer, used)
    if used:
        lines.append("**Bases used, the latest first:**")
    lines += [
        f"- **{one.use.name}** since {one.use.begun_at:%Y-%m-%d %H:%M} UTC · {count(one.versions, 'version')} · "
        f"{count(one.votes, 'vote')} · `reactune base use {quote(one.use.setting)}`"
        for one in used
    ]
    return "\n".join(lines)


def _offer_lines(offer: BaseOffer, used: Sequence[UsedBase]) -> list[str]:
    lines = [f"**Base:** {offer.name} (`model.base = {offer.setting}`) · licence: {offer.licence}"]
    if offer.weight_bytes:
        lines.append(f"**Weights:** {format_bytes(offer.weight_bytes)}")
    if offer.download_bytes:
        lines.append(f"**Still to download:** {format_bytes(offer.download_bytes)}")
    if offer.sees:
        lines.append(f"**Pictures:** {SEES}.")
    if used and used[0].use.setting != offer.setting:
        lines.append(f"{used[0].use.name} still answers: start the bot again, so that {offer.name} does.")
    return lines


def describe_taught(taught: Sequence[Taught]) -> str:
    return "\n".join(
        f"- **{one.personality}** from {one.round.learns_from}: {one.round.status} (round {one.round.id})"
        + (f": {one.round.reason}" if one.round.reason else "")
        + (f". **{one.champion}** answers now." if one.champion else "")
        for one in taught
    )
