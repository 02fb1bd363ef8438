"""The bot in a local browser page: simcord replaces Discord, and everything else is the product."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import discord
import simcord
from simcord.backend import Backend
from simcord.builders import ChannelHandle
from simcord.preview import Preview

from bot.app import ReactuneBot
from bot.arenas.prompts import bank_messages
from bot.background import BackgroundTasks
from bot.cogs.console import ConsoleHost
from bot.demo.community import Taste, is_settled, read_community_answers, settle
from bot.demo.restore import restore_chat
from bot.engine import Engine
from bot.guards.error_handler import is_expected
from bot.runner import stop_on_signals
from bot.services import Services
from storage.database.database import open_database
from storage.database.enums import OPERATOR, Basis
from storage.models.base_model import BaseModel
from storage.operations.console_sessions import link_address, make_link
from storage.personalities.personalities import ensure_personality
from storage.settings.loading import variable_name
from storage.settings.sections import CLIENT_SECRET_VARIABLE, EVERY_SERVER, LimitSettings, Settings

log = logging.getLogger(__name__)

CHANNEL = "lounge"
MEMBERS = ("ada", "bo")
ADMIN = "grace"
REFRESH_S = 0.5
LINKS_LAST = timedelta(days=7)
NO_DIRECT_MESSAGES = 50007  # Discord's error code
# IDs are assigned in order from here, so the same people have the same IDs after each start.
WORLD_BEGINS = datetime(2026, 1, 1, tzinfo=UTC)

WELCOME = """\
**Welcome! I'm a small language model that learns from your reactions.**
1. Write something here. The small print under my answer names the version that gave it.
2. Click 👍 or 👎 under my answer. 🔁 gives another answer to the same question: rate that one too, differently.
3. Know a better answer? `/suggest` opens a form for it.
4. View the page as **grace**, the admin: `/model status`, then `/model train`. When the new version is ready, enter \
`/model promote` with v1 and ask again. If you don't like it, enter `/model rollback`. `/model report` draws it all."""
CONSOLE = """
5. Faster: label pairs of answers in the console, one key for each, and train there: {}"""
FOR_A_HANDFUL = """
-# A pair is one question with a better and a worse answer. A round needs two pairs. After ten votes it also ranks \
fresh answers by what you like: see `/taste`. People decide about a new version by choosing between two answers; to \
promote it before they have, use the options override and reason of `/model promote`."""
FOR_A_COMMUNITY = """
-# A simulated community has already voted on hundreds of answers; its members share one hidden taste. So start with \
step 4: the first round takes about two minutes on two cores."""

HANDFUL = {
    variable_name("training", "min_pairs"): "2",
    variable_name("pairs", "ranked_prompts"): "64",
    variable_name("pairs", "ranked_answers"): "4",
}
# For a first round of three minutes: fewer prompts and pairs.
COMMUNITY = {
    variable_name("pairs", "ranked_prompts"): "64",
    variable_name("pairs", "ranked_answers"): "4",
    variable_name("training", "max_pairs"): "96",
}


def demo_overrides(
    directory: str, channel_id: int, *, console_port: int = 0, community: bool = False
) -> dict[str, str]:
    """Return the environment variables that turn an operator's settings into the demo's."""
    return (COMMUNITY if community else HANDFUL) | {
        variable_name("data", "directory"): directory,
        variable_name("database", "url"): "",
        variable_name("logs", "level"): "warning",
        variable_name("discord", "free_response_channels"): str(channel_id),
        variable_name("metrics", "port"): "0",
        variable_name("metrics", "trainer_port"): "0",
        variable_name("console", "port"): str(console_port),
        variable_name("console", "public_url"): "",
        CLIENT_SECRET_VARIABLE: "",
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


class DemoTasks(BackgroundTasks):
    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        # The simulator finishes a browser action when all work of the bot that it started is done. In a separate
        # context, an answer can stream on after the click that asked for it.
        loop = asyncio.get_running_loop()
        return contextvars.Context().run(lambda: loop.create_task(work, name=name))


class DemoEnv(simcord.Env):
    def _record_error(self, error: BaseException) -> None:
        # If the bot raises, the page reports a failed action and locks; but a refusal in a sentence is an answer.
        if not is_expected(error):
            super()._record_error(error)


@dataclass(frozen=True)
class World:
    """The simulated server."""

    channel: ChannelHandle
    viewers: tuple[Any, ...]


def build_world(env: simcord.Env) -> World:
    """Make one server with a channel, two members and an admin, all without direct messages: the page has none."""
    env.backend.bot_user.name = "Reactune"
    env.inject_error(
        "POST", "/users/@me/channels", status=403, code=NO_DIRECT_MESSAGES, message="Cannot send messages", times=None
    )
    guild = env.create_guild("Reactune demo")
    channel = guild.create_text_channel(CHANNEL, topic="Talk, react, watch it learn")
    admins = guild.create_role("admins", permissions=discord.Permissions(manage_guild=True))
    members = [guild.add_member(env.create_user(name)) for name in MEMBERS]
    admin = guild.add_member(env.create_user(ADMIN), roles=[admins])
    return World(channel, (*members, admin))


def demo_channel_id() -> int:
    """Return the id that the demo's channel has in every world."""
    world = build_world(simcord.Env(discord.Client(intents=discord.Intents.default())))
    return int(world.channel.id)


async def serve_demo(
    settings: Settings,
    *,
    engine: Engine | None = None,
    base: BaseModel | None = None,
    port: int,
    taste: Taste | None = None,
    on_ready: Callable[[str, str], None],
) -> None:
    """Serve the page on loopback until it is closed, SIGINT or SIGTERM.

    `on_ready` gets its address, and a link to the console, once the model is loaded. With a taste, a simulated
    community of that taste has voted.
    """
    bot = ReactuneBot(settings, engine=engine, base=base, fixed_basis=Basis.LOCAL, tasks=DemoTasks())
    env = DemoEnv(bot, check_errors=False)
    world = build_world(env)
    _catch_up(env.backend)
    shown_link, printed_link = await asyncio.to_thread(_make_links, settings)
    welcome = WELCOME + CONSOLE.format(shown_link) + (FOR_A_COMMUNITY if taste else FOR_A_HANDFUL)
    await asyncio.to_thread(restore_chat, settings, env.backend, world.channel.id, welcome, since=WORLD_BEGINS)
    await env.start()
    try:
        await bot.loading
        if bot.failure is None:
            if taste is not None:
                await _let_vote(bot.services, taste)
            await _show_page(env, bot, world, port, lambda url: on_ready(url, printed_link))
        if bot.failure:
            raise bot.failure
    finally:
        await bot.close()
        await env.shutdown()


def _make_links(settings: Settings) -> tuple[str, str]:
    """Return two links to the console, each of which signs a browser in once: for the page and for the terminal."""
    with closing(open_database(settings)) as database, database.transaction() as session:
        secrets = [make_link(session, OPERATOR, "demo", LINKS_LAST) for _ in range(2)]
    shown, printed = (link_address(settings.console.port, secret) for secret in secrets)
    return shown, printed


async def _show_page(
    env: simcord.Env, bot: ReactuneBot, world: World, port: int, on_ready: Callable[[str], None]
) -> None:
    async with env.preview(world.channel, viewers=world.viewers, layout="channel", port=port) as preview:
        refreshing = bot.tasks.spawn(_keep_fresh(preview, bot), "refresh the page")
        stop_on_signals(preview.close)
        host = bot.get_cog(ConsoleHost.__name__)
        if isinstance(host, ConsoleHost) and host.console is not None:
            host.console.channel.address = preview.url
        on_ready(preview.url)
        try:
            await preview.wait_closed()
        finally:
            refreshing.cancel()


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


async def _keep_fresh(preview: Preview, bot: ReactuneBot) -> None:
    """Show what the bot does, such as a growing answer; the page alone would wait for a person's next action."""
    seen = 0
    while bot.failure is None:
        await asyncio.sleep(REFRESH_S)
        _catch_up(preview.env.backend)
        happened = len(preview.env.backend.transcript)
        if happened != seen and preview._active_action is None:
            seen = happened
            _republish(preview)
    await preview.close()


def _republish(preview: Preview) -> None:
    # preview.refresh() is an operation, and a click at the same time fails. A new revision would reject a click on
    # what was shown half a second ago. So the pages get new content under their current revision.
    preview._advance_presentation_time()
    for page in tuple(preview._pages.values()):
        page.revision -= 1
        preview._publish(page, reason="refresh")


def _catch_up(backend: Backend) -> None:
    """Move the simulated clock to now, so that messages have the real time."""
    backend.advance_clock(max(0.0, (datetime.now(UTC) - backend.clock.now()).total_seconds()))
