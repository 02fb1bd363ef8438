"""`reactune demo`: the bot in a local browser page, with a folder and a port that no other demo uses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from bot.demo.community import TASTES, find_taste
from bot.demo.folder import (
    DEMO_DIRECTORY,
    choose_community,
    claim_folder,
    note_base,
    note_latest,
    note_port,
    noted_base,
)
from reactune.run import prepare_base, supervised_trainer
from reactune.shared import Config, import_from_here, needed_by, open_in_browser, progress, read_settings
from storage.errors import DataDirectoryInUse, SettingsError
from storage.operations.console_sessions import LOOPBACK
from storage.runtime.log_setup import set_up_logs
from storage.runtime.processes import BOT, sole_process

EARLIER_DEMO_S = 20.0
ANOTHER_FOLDER = "choose another folder with --directory"


def demo(
    *,
    config: Config = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 8790,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    directory: Annotated[
        Path, typer.Option(resolve_path=True, help="Folder for the demo's data, kept between starts.")
    ] = DEMO_DIRECTORY,
    start_over: Annotated[bool, typer.Option("--start-over", help="Delete the data of earlier starts first.")] = False,
    base: Annotated[
        str,
        typer.Option(
            metavar="BASE",
            help="Base model, as in model.base: a folder, a hub ID or bundled. It is kept for later starts.",
        ),
    ] = "",
    community: Annotated[
        str,
        typer.Option(
            metavar="TASTE",
            help=f"Start with votes of a simulated community of this taste: {', '.join(TASTES)} or module:function.",
        ),
    ] = "",
) -> None:
    """Try the bot in a local browser page, without a token, GPU or network."""
    with needed_by("the demo", "`pip install 'reactune[demo]'`"):
        from bot.demo.page import demo_overrides, serve_demo
        from reactune.demo_bases import bases_to_choose
    import_from_here()
    if community:
        find_taste(community)  # a misspelt one must not make a folder

    def announce(link: str) -> None:
        say("Ready.")
        print(f"Open {link}", flush=True)
        print(f"The demo's data is in {directory}. Press Ctrl-C to stop.", flush=True)
        if browser:
            # In a thread: a browser may stay in the foreground, and waits for the page that the caller serves.
            threading.Thread(target=open_in_browser, args=[link], daemon=True).start()

    port = free_port(port)
    claim_folder(directory)
    with progress() as say, sole_demo(directory, say):
        community = choose_community(directory, community, start_over=start_over)
        note_port(directory, port)
        note_latest(directory)
        chosen = base or noted_base(directory)
        while chosen is not None:
            base = chosen
            overrides = demo_overrides(str(directory), base, community=bool(community))
            settings = read_settings(config, overrides=overrides)
            set_up_logs(settings, BOT)
            prepare_base(settings, say)
            note_base(directory, base)  # only once it is known to be one
            with supervised_trainer(config, overrides):
                say("Loading the model and starting the bot …")
                taste = find_taste(community) if community else None
                serving = serve_demo(
                    settings, port=port, taste=taste, on_ready=announce, bases=bases_to_choose(settings)
                )
                # Somebody may choose another base in the page: then the demo starts again with that one.
                chosen, browser = asyncio.run(serving), False


@contextlib.contextmanager
def sole_demo(directory: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Lock the demo's folder; an earlier demo gets `EARLIER_DEMO_S` to finish closing."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(sole_process(BOT, directory, remedy=ANOTHER_FOLDER))
        except DataDirectoryInUse:
            say("Waiting for another demo to release the folder …")
            stack.enter_context(sole_process(BOT, directory, EARLIER_DEMO_S, remedy=ANOTHER_FOLDER))
        yield


def free_port(port: int) -> int:
    """Return the port, or for 0 any free one; raises SettingsError if it is in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise SettingsError(f"port {port} is in use: choose another with --port, or 0 for a free one") from error
        return int(probe.getsockname()[1])
