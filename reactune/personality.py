"""`reactune personality`: list, show, picture, export and import personalities."""

from __future__ import annotations

import typer

from reactune.exporting_personality import export_personality
from reactune.importing_personality import import_personality
from reactune.picturing_personality import picture_personality
from reactune.shared import AsJson, Config, PersonalityName, read_settings, show, show_plain, with_cards
from storage.insights.answering_now import read_answering_now
from storage.personalities.cards import format_card
from storage.personalities.personalities import list_personalities, personality_named
from storage.releases.versions import name_of

personality = typer.Typer(no_args_is_help=True, help="List, show, picture, export or import personalities.")


@personality.command("list")
def list_all_personalities(config: Config = None, as_json: AsJson = False) -> None:
    """List the personalities and their champions."""
    settings = read_settings(config)
    with with_cards(settings) as session:
        found = [(p, read_answering_now(session, p.id, settings)) for p in list_personalities(session)]
    lines = [f"- **{p.name}** · champion {now.in_short} · {p.card.description or 'no description'}" for p, now in found]
    data = [{"name": p.name, "champion": name_of(now.champion), "card": p.card.as_dict()} for p, now in found]
    show({"personalities": data}, "\n".join(lines), as_json)


@personality.command("show")
def show_personality(name: PersonalityName, config: Config = None, as_json: AsJson = False) -> None:
    """Show a personality's card as a TOML file."""
    settings = read_settings(config)
    with with_cards(settings) as session:
        found = personality_named(session, name)
        now = read_answering_now(session, found.id, settings)
    data = {"name": found.name, "champion": name_of(now.champion), "card": found.card.as_dict()}
    show_plain(data, f"# champion: {now.in_short}\n{format_card(found.card)}", as_json)


personality.command("export")(export_personality)
personality.command("import")(import_personality)
personality.command("picture")(picture_personality)
