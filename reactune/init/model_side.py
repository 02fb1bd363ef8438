"""The steps about the model: the base that answers, and the personality of the servers."""

from __future__ import annotations

from pathlib import Path

from reactune.changing_base import change_base
from reactune.importing_personality import import_from_file
from reactune.init.prompts import ask_text, choose, say
from reactune.models import FITS, FOUR_BITS, Candidate, Machine, candidates, describe_machine
from reactune.shared import plain_text_of, read_settings, with_cards
from storage.errors import StorageError
from storage.personalities.personalities import list_personalities
from storage.settings.sections import Settings
from storage.wording import format_bytes

ANOTHER = "another"


def choose_base(config: Path | None) -> None:
    """Let the operator keep the base that is set, or change it as `reactune base use` does."""
    settings = read_settings(config)
    if settings.model.engine == "remote":
        say("The base model is on the server of [remote] (docs/remote.md).")
        return
    machine = Machine.here(settings.data.directory)
    say(describe_machine(machine))
    say("A larger base answers better and slower: docs/bases.md has measured speeds. `reactune base use` changes it.")
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
