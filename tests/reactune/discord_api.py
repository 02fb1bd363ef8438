"""What Discord's API says about a bot."""

from __future__ import annotations

import discord

BOT = {"id": "1456074443980800001", "username": "reactune", "discriminator": "0000", "avatar": None}


def application(flags: discord.ApplicationFlags) -> dict[str, object]:
    return {
        "id": BOT["id"],
        "name": "Reactune",
        "description": "",
        "icon": None,
        "bot_public": False,
        "bot_require_code_grant": False,
        "owner": BOT,
        "verify_key": "",
        "flags": flags.value,
    }
