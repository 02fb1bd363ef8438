"""`reactune console`: a link that opens the running bot's console, once."""

from __future__ import annotations

import urllib.error
import urllib.request
import webbrowser
from contextlib import closing
from typing import Annotated

import typer

from reactune.shared import AsJson, Config, operator_name, read_settings, show_plain
from storage.database.database import open_database
from storage.database.enums import OPERATOR
from storage.errors import SettingsError
from storage.operations.console_sessions import LOOPBACK, link_address, make_link

ANSWER_S = 5.0


def console(
    config: Config = None,
    browser: Annotated[bool, typer.Option(help="Open it in a browser.")] = True,
    as_json: AsJson = False,
) -> None:
    """Open the console of the bot that runs on this machine: label pairs, watch, train, promote."""
    settings = read_settings(config)
    port = settings.console.port
    if not port:
        raise SettingsError("the console is switched off: set console.port, then restart the bot")
    _require_console(port)
    with closing(open_database(settings)) as database:
        address = link_address(port, database.call(make_link, OPERATOR, operator_name()))
    show_plain({"address": address}, f"Open {address}\nThe link works once, within ten minutes.", as_json)
    if browser:
        webbrowser.open(address)


def _require_console(port: int) -> None:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/alive", timeout=ANSWER_S):
            return
    except (urllib.error.URLError, TimeoutError) as error:
        raise SettingsError(
            f"no bot serves a console on port {port} of this machine: start it with `reactune run`, and look at the "
            "start of its log if it runs already"
        ) from error
