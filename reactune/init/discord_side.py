"""The steps on Discord: the token, the message content intent, the servers, and where the bot answers in each.

`/setup` in Discord asks for more.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import replace
from pathlib import Path

import discord
from dotenv import set_key

from bot.errors import ConnectionRefused
from bot.servers.checks import find_problems, first_try
from bot.servers.draft import RULE_WORDS, SetupDraft, read_known
from bot.servers.wizard import ACTION
from reactune.discord_api import Account, JoinedServer, fetch_server, find_account
from reactune.init.model_side import choose_personality
from reactune.init.prompts import ask_secret, choose, choose_several, confirm, keep, say
from reactune.shared import operator_action, operator_name, read_settings, with_cards
from storage.database.database import open_database
from storage.database.enums import Rule
from storage.errors import SettingsError
from storage.operations.audit import record_action
from storage.settings.sections import EVERY_SERVER, TOKEN_VARIABLE, Settings
from storage.wording import count

PORTAL = "https://discord.com/developers/applications"
ENV_FILE = Path(".env")
TOKEN = re.compile(r"[\w-]+(\.[\w-]+)*", re.ASCII)
WHERE_TOKEN_IS = f"""\
The bot needs a token. Open {PORTAL}, choose New Application, then Bot, then Reset Token, and copy it."""
PERMISSIONS = discord.Permissions(
    view_channel=True,
    send_messages=True,
    send_messages_in_threads=True,
    create_public_threads=True,
    embed_links=True,
    attach_files=True,
    read_message_history=True,
    add_reactions=True,
    manage_messages=True,
    manage_webhooks=True,
)
ON, WITHOUT = "on", "without"


def log_in(settings: Settings) -> Account:
    """Return the bot's account; ask for the token unless one is set that Discord accepts."""
    token = settings.discord_token.get_secret_value().strip() if settings.discord_token else ""
    if token:
        try:
            return _greet(find_account(token))
        except ConnectionRefused as error:
            if os.environ.get(TOKEN_VARIABLE):
                raise  # the environment overrides what would be kept in .env
            say(f"{error}.")
    say(WHERE_TOKEN_IS)
    account = _ask_token()
    _keep_token(account.token)
    return _greet(account)


def _keep_token(token: str) -> None:
    try:
        set_key(ENV_FILE, TOKEN_VARIABLE, token, quote_mode="auto", follow_symlinks=True)
    except OSError as error:
        raise SettingsError(
            f"{ENV_FILE.resolve()} cannot be written ({error.strerror}): make it and its folder writable for this user"
        ) from error


def _ask_token() -> Account:
    while True:
        token = ask_secret("Token:")
        if not TOKEN.fullmatch(token):
            say("That is not a token: it consists of letters, digits, dots, hyphens and underscores.")
            continue
        try:
            return find_account(token)
        except ConnectionRefused:
            say("Discord does not accept this token: copy it again. Resetting it makes earlier ones invalid.")


def _greet(account: Account) -> Account:
    say(f"Discord knows this bot as {account.name}, in {count(len(account.servers), 'server')}.")
    return account


def offer_message_content(account: Account, settings: Settings, file: Path) -> Account:
    """Let the operator turn the message content intent on, or go without it."""
    options = {
        ON: "I turned it on: check again",
        WITHOUT: "Go without: it answers mentions, direct messages and replies that ping it",
    }
    while settings.discord.message_content_intent and not account.may_read_messages:
        say(f"Message Content Intent is off. Turn it on here: {PORTAL}/{account.application_id}/bot")
        if choose("Message Content Intent", options, ON) == WITHOUT:
            keep(file, "discord", "message_content_intent", False)
            return account
        account = find_account(account.token)
    return account


def choose_servers(account: Account, settings: Settings, file: Path) -> list[int]:
    """Return the IDs of the servers to serve, and keep them in access.servers."""
    account = _await_invitation(account)
    allowed = settings.access.servers
    if EVERY_SERVER in allowed:
        say("access.servers contains 0, so the bot serves every server that invites it.")
        return list(account.servers)
    known = [server for server in allowed if server in account.servers]
    chosen = choose_several("Servers to serve", account.servers, known or list(account.servers)[:1], at_least=1)
    elsewhere = [server for server in allowed if server not in account.servers]
    keep(file, "access", "servers", sorted({*elsewhere, *chosen}))
    return chosen


def _await_invitation(account: Account) -> Account:
    link = discord.utils.oauth_url(
        account.application_id, permissions=PERMISSIONS, scopes=("bot", "applications.commands")
    )
    while not account.servers:
        say(f"The bot is in no server yet. Invite it: {link}")
        if not confirm("Is it in your server now?"):
            raise SettingsError("the bot needs a server: invite it, then run `reactune init` again")
        account = find_account(account.token)
    return account


def set_up_server(account: Account, server_id: int, config: Path | None) -> str:
    """Ask for the channels and personality of a server, keep them as `/setup` does, and name what is missing there.

    Return the personality's name.
    """
    settings, server = read_settings(config), fetch_server(account.token, server_id)
    with with_cards(settings) as session:
        known = read_known(session, settings, server_id, [channel.id for channel in server.channels])
    draft = SetupDraft.of(known)
    texts = {one.id: f"#{one.name}" for one in server.channels if isinstance(one, discord.TextChannel)}
    if texts:
        always = [id_ for id_, rule in draft.choices.rules.items() if rule is Rule.ALWAYS and id_ in texts]
        elsewhere = RULE_WORDS[draft.choices.elsewhere]
        question = f"{server.name}: channels where it answers every message; elsewhere, {elsewhere}"
        draft.choose_rule(Rule.ALWAYS, list(texts), choose_several(question, texts, always))
    draft.personality = choose_personality(settings, draft.personality, server_id)
    if draft.changes():
        _apply(settings, server_id, draft)
    for problem in find_problems(draft, settings, server.channels, server.me):
        say(_readable(problem, server))
    say(_readable(first_try(draft.choices, settings, server.channels, server.me, here=0), server))
    return draft.personality


def _apply(settings: Settings, server_id: int, draft: SetupDraft) -> None:
    action = replace(operator_action(ACTION, "; ".join(draft.changes())), guild_id=server_id)
    with contextlib.closing(open_database(settings)) as database, database.transaction() as session:
        draft.apply(session, server_id, operator_name())
        record_action(session, action)


def _readable(text: str, server: JoinedServer) -> str:
    """Return the text with names in place of the mentions, which only Discord can show."""
    names = {f"<#{channel.id}>": f"#{channel.name}" for channel in server.channels}
    names[server.me.mention] = f"@{server.me.display_name}"
    return re.sub(r"<[#@]\d+>", lambda found: names.get(found[0], found[0]), text)
