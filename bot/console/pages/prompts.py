"""Adds and removes people's own prompts for sittings."""

from __future__ import annotations

import asyncio

from aiohttp import web

from bot.console.page import Here, find_here, read_form
from bot.errors import UserFacingError
from storage.conversations.prompt_bank import PromptBank, parse_bank
from storage.sittings.prompts import add_prompts, remove_prompts

MAX_PASTED_CHARS = 2_000_000


async def add_own_prompts(request: web.Request) -> web.Response:
    """Add prompts that were pasted or uploaded, one in each line."""
    here, form = await find_here(request), await read_form(request)
    try:
        uploaded = form.file("file").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserFacingError("That file is not UTF-8 text. Save it as UTF-8, one prompt in each line.") from error
    text = form.text("text", "", limit=MAX_PASTED_CHARS) + "\n" + uploaded
    return await _add(here, await asyncio.to_thread(parse_bank, text, "what was added"))


async def add_card_prompts(request: web.Request) -> web.Response:
    """Add the questions in the examples of the personality's card."""
    here = await find_here(request)
    said = (" ".join(turn.split()) for example in here.personality.card.examples for turn in example.dialogue[::2])
    return await _add(here, parse_bank("\n".join(said), "the card"))


async def _add(here: Here, found: PromptBank) -> web.Response:
    if not found.prompts:
        raise UserFacingError("There is no prompt in it. Write one in each line.")
    texts = [prompt.text for prompt in found.prompts]
    action = here.action("add prompts", found.describe())
    await here.require_administrator(action)
    added = await here.run_audited(action, add_prompts, here.personality.id, texts, here.visitor.name)
    known = len(texts) - added + len(found.repeated_lines)
    return here.go(here.address("/label", added=added, known=known, too_long=len(found.oversized_lines)))


async def remove_own_prompts(request: web.Request) -> web.Response:
    here = await find_here(request)
    action = here.action("remove prompts")
    await here.require_administrator(action)
    await here.run_audited(action, remove_prompts, here.personality.id)
    raise web.HTTPSeeOther(here.address("/label"))


ROUTES = [
    web.post("/label/prompts", add_own_prompts),
    web.post("/label/prompts/card", add_card_prompts),
    web.post("/label/prompts/remove", remove_own_prompts),
]
