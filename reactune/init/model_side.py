"""The steps about the model: the base that answers, the personality of the servers, and a first version."""

from __future__ import annotations

from pathlib import Path

from reactune.changing_base import change_base
from reactune.init.prompts import ask_text, choose, confirm, say
from reactune.models import FITS, FOUR_BITS, Candidate, Machine, candidates, describe_machine
from reactune.personality import import_from_file
from reactune.shared import plain_text_of, progress, read_settings, reading, with_cards
from reactune.train import train_personality
from storage.database.enums import TrainingSource
from storage.errors import StorageError
from storage.personalities.personalities import list_personalities, personality_named
from storage.releases.before_after import compare_round
from storage.releases.versions import version_of_round
from storage.settings.sections import Settings
from storage.training.rounds import offered_examples
from storage.wording import format_bytes

ANOTHER = "another"


def choose_base(config: Path | None) -> None:
    """Let the operator keep the base that is set, or change it as `reactune base use` does."""
    settings = read_settings(config)
    if settings.model.engine == "remote":
        say("The base model is at the address of [remote] (docs/remote.md).")
        return
    machine = Machine.here(settings.data.directory)
    say(describe_machine(machine))
    say("A larger base answers better and slower: docs/models.md has measured speeds. `reactune base use` changes it.")
    present = settings.model.base
    known = candidates(settings, machine)
    fitting = [one for one in known if one.fits in (FITS, FOUR_BITS) and not one.configured]
    now = next((f", {_describe(one)}" for one in known if one.configured), "")
    options = {present: f"{present} (set now{now})"} | {one.name: f"{one.name}: {_describe(one)}" for one in fitting}
    while True:
        which = choose("Base model", options | {ANOTHER: "Another: its name on the Hub, or a folder"}, present)
        if which == ANOTHER:
            which = ask_text("Name on the Hub (owner/name), or folder:") or present
        if which == present:
            return
        try:
            change_base(which, config, yes=True, as_json=False)
        except StorageError as error:
            say(f"{which} cannot be used: {error}.")
        else:
            return


def _describe(one: Candidate) -> str:
    remark = "" if one.fits == FITS else f", {one.fits}"
    return f"{one.parameters / 1e9:.1f} B, {format_bytes(one.disk)} of disk, {one.licence}{remark}"


def choose_personality(settings: Settings, present: str, server: int) -> str:
    """Return the name of the personality that answers in a server; `present` does now."""
    with with_cards(settings) as session:
        known = list_personalities(session, server)
    cards = {one.name: ": ".join(filter(None, (one.name, one.card.description))) for one in known}
    while True:
        choice = choose("Personality", cards | {ANOTHER: "Another: a character card in a file"}, present)
        if name := _import_card(settings, server) if choice == ANOTHER else choice:
            return name


def _import_card(settings: Settings, server: int) -> str:
    """Ask for a file and return the name of the personality that is made from it, or "" if there is none."""
    path = Path(ask_text("File of the card (.toml; from SillyTavern .json or .png):")).expanduser()
    if not path.exists():  # before the base is converted, which takes a while
        say(f"There is no file {path}.")
        return ""
    try:
        imported, text = import_from_file(settings, path, server=server)
    except StorageError as error:
        say(f"{path} cannot be imported: {error}.")
        return ""
    say(plain_text_of(text))
    return imported.personality.name


def propose_first_version(name: str, config: Path | None) -> None:
    """Offer a first version, and make it if the operator agrees; do nothing if there is none to make."""
    from bot.text.releases import before_after_text
    from bot.text.rounds import describe_first_version, describe_round
    from trainer.rounds.worker import stopped_by_signals

    settings = read_settings(config)
    with reading(settings) as session:
        examples = offered_examples(session, personality_named(session, name))
    if not examples:
        return
    say(plain_text_of(describe_first_version(name, examples)))
    whose = f" --personality {name}{f' --config {config}' if config else ''}"
    say(f"Later: `reactune train --from examples{whose}`")
    if not confirm("Make it now?", default=False):
        return
    with progress() as tell, stopped_by_signals() as stop:
        round_ = train_personality(config, name, TrainingSource.EXAMPLES, tell, stop)
    say(plain_text_of(describe_round(round_)))
    with reading(settings) as session:
        made, compared = version_of_round(session, round_.id), compare_round(session, round_.id)
    if made is not None:
        say(before_after_text(compared).replace("**", ""))
        say(f"To use it: `reactune model promote {made.name}{whose}`")
