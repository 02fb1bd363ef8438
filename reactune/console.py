"""`reactune console`: a link that opens the running bot's console, once."""

from __future__ import annotations

import json
import urllib.error
from contextlib import closing, suppress
from typing import Annotated

import typer

from bot.demo.folder import demo_folders, folder_overrides, noted_port
from reactune.shared import AsJson, Config, open_in_browser, operator_name, read_settings, show_plain, this_machine
from storage.database.database import open_database
from storage.database.enums import OPERATOR
from storage.errors import SettingsError
from storage.operations.console_sessions import LOOPBACK, digest_of, link_address, make_link
from storage.settings.sections import Settings

ANSWER_S = 5.0


def console(
    config: Config = None,
    browser: Annotated[bool, typer.Option(help="Open it in a browser.")] = True,
    as_member: Annotated[
        int,
        typer.Option("--as", min=1, help="Your Discord ID, so that several people's choices count separately."),
    ] = OPERATOR,
    as_json: AsJson = False,
) -> None:
    """Open the console of the bot that runs on this machine: choose in pairs, watch, train, promote."""
    settings, whose = _find_console(read_settings(config), config)
    port = settings.console.port
    with closing(open_database(settings)) as database:
        address = link_address(port, database.call(make_link, as_member, operator_name()))
    folder = str(settings.data.directory.resolve())
    said = (
        f"Open {address}\nIt is the console of the {whose} whose data is in {folder}. The link works once, within ten "
        "minutes."
    )
    show_plain({"address": address, "of": whose, "data": folder}, said, as_json)
    if browser:
        open_in_browser(address)


def _find_console(settings: Settings, config: Config) -> tuple[Settings, str]:
    """Return the settings of the bot that serves its console here, or of a demo that runs, and which of the two."""
    try:
        if not settings.console.port:
            raise SettingsError("the console is switched off: set console.port, then restart the bot")
        _require_console(settings)
        return settings, "bot"
    except SettingsError:
        for folder in demo_folders():
            port = noted_port(folder)
            if port is None:
                continue
            demo = read_settings(config, overrides=folder_overrides(str(folder), port))
            with suppress(SettingsError):
                _require_console(demo)
                return demo, "demo"
        raise


def _require_console(settings: Settings) -> None:
    port = settings.console.port
    try:
        with this_machine.open(f"http://{LOOPBACK}:{port}/alive", timeout=ANSWER_S) as response:
            found = json.load(response).get("database")
    except (urllib.error.URLError, TimeoutError, ValueError, AttributeError) as error:
        raise SettingsError(
            f"no bot serves a console on port {port} of this machine: start it with `reactune run`, and look at the "
            "start of its log if it runs already"
        ) from error
    if found != digest_of(settings):
        raise SettingsError(
            f"the console on port {port} belongs to another bot, perhaps a demo: stop that one, or set console.port to "
            "another port and restart this one"
        )
