"""The bot in a local browser page: simcord replaces Discord, and everything else is the product."""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import discord
import simcord
from discord.webhook.async_ import async_context
from sqlalchemy.orm import Session

from bot.app import ReactuneBot
from bot.arenas.prompts import bank_messages
from bot.background import BackgroundTasks
from bot.console.server import open_console
from bot.demo.bases import PAGE, BaseChoice, BaseSource
from bot.demo.channel.routes import ChannelPage
from bot.demo.channel.world import World
from bot.demo.chat_file import ChatFile
from bot.demo.community import Taste, is_settled, read_community_answers, settle
from bot.demo.folder import folder_overrides
from bot.engine import Engine
from bot.runner import stop_on_signals
from bot.services import Services
from storage.adapters.folder_store import AS_TRAINED
from storage.database.enums import OPERATOR, Basis, Scope
from storage.errors import SettingsError
from storage.models.base_model import BaseModel
from storage.operations.console_sessions import link_address, make_link
from storage.personalities.bindings import BindingPlace, bind
from storage.personalities.cards import read_card_file
from storage.personalities.personalities import create_personality, ensure_personality, find_personality
from storage.personalities.pictures import set_picture
from storage.settings.loading import variable_name
from storage.settings.sections import EVERY_SERVER, LimitSettings, Settings

CLOCK_S = 1.0
"""Pause between two updates of the simulated clock."""
SAVE_S = 0.5
"""Pause between two updates of the file with the chat: a demo that is killed loses no more."""
ACTION_S = 60.0
"""Time after which the page stops waiting for an action: drawing a picture takes seconds."""
LINK_LASTS = timedelta(days=7)

WELCOME = """\
**Welcome! I'm a small language model that learns from your reactions.**
Write something here. The line above the field where you write says what to try next, until you close it.
- The small print under my answer names the version that gave it. 🔁 gives another answer to the same question, and \
`⋯` has more emoji that count as votes, such as ❤️.
- Know a better answer? `/suggest` opens a form for it. Type `/` to see all commands.
- In <#{questions}> I answer only questions, in <#{pirates}> Captain Brine answers. **Teach**, above, shows pairs of \
answers as `/choose` does, with one key for each."""
FOR_A_COMMUNITY = """
-# A simulated community has already voted on hundreds of answers; its members share one hidden taste. So **grace**, \
the admin, can enter `/version train` right away: the first round takes some minutes."""

HANDFUL = {
    variable_name("training", "min_pairs"): "2",
    variable_name("pairs", "ranked_prompts"): "64",
    variable_name("pairs", "ranked_answers"): "4",
}
# For a short first round: fewer prompts and pairs.
COMMUNITY = {
    variable_name("pairs", "ranked_prompts"): "64",
    variable_name("pairs", "ranked_answers"): "4",
    variable_name("training", "max_pairs"): "96",
}
CAPTAIN = Path(__file__).with_name("captain.toml")
BY = "demo"


def demo_overrides(directory: str, base: str = "", *, community: bool = False) -> dict[str, str]:
    """Return the environment variables that turn an operator's settings into the demo's."""
    return (
        (COMMUNITY if community else HANDFUL)
        | channel_rules()
        | folder_overrides(directory, port=0)  # the demo opens the console itself
        | ({variable_name("model", "base"): base} if base else {})
        | {
            variable_name("logs", "level"): "warning",
            variable_name("metrics", "port"): "0",
            variable_name("access", "servers"): str(EVERY_SERVER),
            variable_name("access", "channels"): "",
            variable_name("access", "roles"): "",
            **{variable_name("limits", window): "0" for window in LimitSettings.model_fields},
            variable_name("chat", "cooldown_s"): "0",
            variable_name("chat", "drain_s"): "1",
            variable_name("generation", "max_new_tokens"): "160",
            variable_name("training", "schedule"): "",
            variable_name("training", "threads"): "0",
            variable_name("gate", "coherence_model"): "base",  # converting Gemma would take a minute of the first round
        }
    )


class DemoTasks(BackgroundTasks):
    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        # The simulator finishes a browser action when all work of the bot that it started is done. In a separate
        # context, an answer can stream on after the click that asked for it. What it sends through a webhook must
        # still go to the simulator, which discord.py finds in the context.
        context = contextvars.Context()
        context.run(async_context.set, async_context.get())
        loop = asyncio.get_running_loop()
        return context.run(lambda: loop.create_task(work, name=name))


def channel_rules() -> dict[str, str]:
    """Return the settings for answers in each channel: the demo's channels have the same IDs in every world."""
    world = World(simcord.Env(discord.Client(intents=discord.Intents.default())))
    rules = {world.lounge.id: "always", world.questions.id: "question", world.pirates.id: "always"}
    return {variable_name("chat", "channel_rules"): json.dumps(rules)}


async def serve_demo(
    settings: Settings,
    *,
    engine: Engine | None = None,
    base: BaseModel | None = None,
    port: int,
    taste: Taste | None = None,
    on_ready: Callable[[str], None],
    bases: BaseSource | None = None,
) -> str | None:
    """Serve the console with the channel on loopback until SIGINT or SIGTERM, or until somebody chose another base.

    Return that base. `on_ready` gets a link that signs a browser in, once the model is loaded. With a taste, a
    simulated community of that taste has voted. `bases` are those to choose from.
    """
    bot = ReactuneBot(settings, engine=engine, base=base, fixed_basis=Basis.LOCAL, tasks=DemoTasks())
    return await _run(bot, port, taste, on_ready, bases)


async def _run(
    bot: ReactuneBot, port: int, taste: Taste | None, on_ready: Callable[[str], None], bases: BaseSource | None
) -> str | None:
    env = simcord.Env(bot, check_errors=False, settle_timeout=ACTION_S)
    world = World(env)
    await world.catch_up()
    places = {"questions": world.questions.id, "pirates": world.pirates.id}
    welcome = f"{WELCOME.format(**places)}{FOR_A_COMMUNITY if taste else ''}"
    chat = ChatFile(bot.settings.data.directory, world)
    await asyncio.to_thread(chat.restore, welcome)
    await env.start()
    try:
        bot.tasks.repeat(chat.save, SAVE_S, "save the chat")
        await bot.loading
        if bot.failure:
            raise bot.failure
        await bot.services.database.run(move_in, world.guild.id, world.pirates.id)
        if taste is not None:
            await _let_vote(bot.services, taste)
        return await _serve(bot, world, port, on_ready, bases)
    finally:
        await bot.close()
        await env.shutdown()
        await chat.save()


async def _serve(
    bot: ReactuneBot, world: World, port: int, on_ready: Callable[[str], None], bases: BaseSource | None
) -> str | None:
    stopped, choice = asyncio.Event(), None

    async def stop() -> None:
        stopped.set()

    stop_on_signals(stop)
    # Not by the bot: the simulator would wait for requests as for the bot's own work, while they wait for it.
    settings = bot.settings.console.model_copy(update={"port": port})
    first_page = ChannelPage(world).first_page
    if bases is not None:
        choice = BaseChoice(bases, stopped)
        routes, more = (*first_page.routes, *choice.routes), ((PAGE, "Base model"),)
        first_page = replace(first_page, routes=routes, more=more)
    console = await open_console(bot, bot.services, settings, first_page)
    if console is None:
        raise SettingsError(f"port {port} is in use: choose another with --port, or 0 for a free one")
    bot.tasks.repeat(world.catch_up, CLOCK_S, "keep the time")
    secret = await bot.services.database.run(make_link, OPERATOR, "demo", LINK_LASTS)
    on_ready(link_address(port, secret))
    try:
        await stopped.wait()
        return choice.chosen if choice else None
    finally:
        await console.cleanup()


async def _let_vote(services: Services, taste: Taste) -> None:
    """Fill an empty demo with a community's votes; a filled one keeps its votes."""
    if await services.database.read(is_settled):
        return
    system_prompt = services.settings.chat.system_prompt
    answered = [
        (said, await services.engine.render(bank_messages(system_prompt, said.message)))
        for said in read_community_answers()
    ]
    default = await services.database.run(ensure_personality)
    await services.database.run(settle, default, services.base, answered, taste)


def move_in(session: Session, guild_id: int, channel_id: int) -> None:
    """Let the captain answer in a channel; later starts keep people's changes of that."""
    name = CAPTAIN.stem
    if find_personality(session, name) is None:
        captain = create_personality(session, name, read_card_file(CAPTAIN), by=BY, guild_id=guild_id)
        set_picture(session, captain.id, CAPTAIN.with_suffix(".png").read_bytes())
        bind(session, BindingPlace(Scope.CHANNEL, channel_id), captain, guild_id=guild_id, strength=AS_TRAINED, by=BY)
