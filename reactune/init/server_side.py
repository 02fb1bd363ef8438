"""The steps for each server: where the bot answers every message, and as whom. `/setup` in Discord asks for more."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from pathlib import Path

import discord

from bot.servers.checks import find_problems, first_try
from bot.servers.draft import RULE_WORDS, SetupDraft, read_known
from bot.servers.wizard import ACTION
from reactune.init.account import Account, JoinedServer, fetch_server
from reactune.init.model_side import choose_personality
from reactune.init.prompts import choose_several, say
from reactune.shared import operator_action, operator_name, read_settings, with_cards
from storage.database.database import open_database
from storage.database.enums import Rule
from storage.operations.audit import record_action
from storage.settings.sections import Settings


def set_up_server(account: Account, server_id: int, config: Path | None) -> str:
    """Ask where and as whom the bot answers in a server, keep it as `/setup` does, and say what is missing there.

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
