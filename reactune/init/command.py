"""`reactune init`: asks one thing after another, keeps each answer at once, and starts the bot."""

from __future__ import annotations

from reactune.run import run
from reactune.shared import Config, read_settings
from storage.settings.loading import OWN_FILE

INTRODUCTION = """\
This sets up the bot: its token, your server, where it answers, its base model and its personality.
Each answer is kept at once: the token in .env, the others in {file} and the database.
Ctrl-C stops it; the next start goes on where you left off."""


def init(config: Config = None) -> None:
    """Set up the bot by answering questions, then start it."""
    from reactune.init.discord_side import choose_servers, log_in, offer_message_content, set_up_server
    from reactune.init.model_side import choose_base, propose_first_version
    from reactune.init.prompts import confirm, require_terminal, say

    require_terminal()
    settings, file = read_settings(config), config or OWN_FILE
    say(INTRODUCTION.format(file=file))
    account = offer_message_content(log_in(settings), settings, file)
    servers = choose_servers(account, settings, file)
    choose_base(config)
    speakers = [set_up_server(account, server, config) for server in servers]
    for name in dict.fromkeys(speakers):
        propose_first_version(name, config)
    say("Done. `/setup` in Discord asks for more, and `reactune doctor` checks everything.")
    if confirm("Start the bot now? (Ctrl-C stops it)"):
        run(config)
    else:
        say(f"Start it with: `reactune run{f' --config {config}' if config else ''}`")
