"""The real bot in a local browser page: simcord stands in for Discord, everything behind it is the product."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import shutil
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import discord
import simcord
from simcord.backend import Backend
from simcord.builders import ChannelHandle
from simcord.preview import Preview

from bot.app import ReactuneBot, create_bot
from bot.arenas.prompt_bank import bank_messages
from bot.background.tasks import BackgroundTasks
from bot.chat.answering import SEEDS, small_print
from bot.chat.message_stream import lay_out
from bot.demo.community import is_settled, read_community_answers, settle
from bot.demo.tastes import Taste
from bot.engine import Engine, Finish, RenderedPrompt
from bot.guards.error_handler import is_expected
from bot.runner import stop_on_signals
from bot.services import Services
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.conversations.replies import FINISHED_WHOLE, Reply, recent_replies
from storage.database.database import open_database
from storage.database.enums import Basis
from storage.models.base_model import BaseModel
from storage.personalities.personalities import ensure_personality
from storage.releases.versions import find_version, name_of
from storage.settings.loading import variable_name
from storage.settings.sections import EVERY_SERVER, LimitSettings, OutputSettings, Settings
from storage.votes.votes import Thumb, standing_thumbs

log = logging.getLogger(__name__)

CHANNEL = "lounge"
MEMBERS = ("ada", "bo")
ADMIN = "grace"
REFRESH_S = 0.5
RESTORED_REPLIES = 20
# Ids are given in order from here, so the same people have the same ids at every start.
WORLD_BEGINS = datetime(2026, 1, 1, tzinfo=UTC)

WELCOME = """\
**Welcome! I am a small language model that learns from your reactions.**
1. Write something here. I answer with the version named in the small print.
2. Click 👍 or 👎 under my answer. 🔁 asks for another answer to the same question: rate that too, differently.
3. Know better? `/suggest` opens a form for your own answer.
4. View as **grace**, the admin: `/model status`, then `/model train`. When the new version is ready, choose \
`/model promote` and type v1, ask again, and `/model rollback` when you do not like it. `/model report` draws it all."""
OF_A_HANDFUL = """
-# A pair is one question with a better and a worse answer. A round needs two pairs; more pairs teach more. So few \
pairs are not enough evidence for the gate: to promote all the same, give `/model promote` its options override and \
reason."""
OF_A_COMMUNITY = """
-# A simulated community has voted on hundreds of answers already, each member by the same hidden taste. So begin \
with 4: the first round takes about two minutes on two cores."""


def demo_overrides(directory: str, channel_id: int, *, community: bool = False) -> dict[str, str]:
    """Return the environment variables that turn an operator's settings into the demo's."""
    return _common_overrides(directory, channel_id) | (COMMUNITY if community else HANDFUL)


def _common_overrides(directory: str, channel_id: int) -> dict[str, str]:
    return {
        variable_name("data", "directory"): directory,
        variable_name("database", "url"): "",
        variable_name("logs", "level"): "warning",
        variable_name("discord", "free_response_channels"): str(channel_id),
        variable_name("metrics", "port"): "0",
        variable_name("metrics", "trainer_port"): "0",
        variable_name("access", "servers"): str(EVERY_SERVER),
        variable_name("access", "channels"): "",
        variable_name("access", "roles"): "",
        **{variable_name("limits", window): "0" for window in LimitSettings.model_fields},
        variable_name("chat", "cooldown_s"): "0",
        variable_name("chat", "drain_s"): "1",
        variable_name("generation", "max_new_tokens"): "160",
        variable_name("training", "schedule"): "",
        variable_name("training", "threads"): "0",
        variable_name("gate", "coherence_model"): "base",  # converting Gemma takes a minute that a first round has not
    }


# A handful of pairs needs more passes than a server's hundreds to be felt.
HANDFUL = {
    variable_name("training", "min_pairs"): "2",
    variable_name("training", "epochs"): "6",
    variable_name("training", "batch_size"): "2",
}
# Three minutes are for the first round of a community: fewer pairs and samples, and enough held out to judge by.
COMMUNITY = {
    variable_name("pairs", "lone_vote_samples"): "2",
    variable_name("training", "max_pairs"): "80",
    variable_name("training", "holdout_share"): "0.3",
}


class DemoTasks(BackgroundTasks):
    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        # The simulator finishes a browser action when all work of the bot has; in a context of its own, an answer
        # may go on streaming after the click that asked for it.
        loop = asyncio.get_running_loop()
        return contextvars.Context().run(lambda: loop.create_task(work, name=name))


class DemoEnv(simcord.Env):  # type: ignore[misc]  # simcord is not followed by mypy
    def _record_error(self, error: BaseException) -> None:
        # The page calls an action failed, and locks, when the bot raised; a refusal in a sentence is an answer.
        if not is_expected(error):
            super()._record_error(error)


@dataclass(frozen=True)
class World:
    """The simulated server."""

    channel: ChannelHandle
    viewers: tuple[Any, ...]


def build_world(env: simcord.Env) -> World:
    """Make one server with a channel, two members and an admin."""
    env.backend.bot_user.name = "Reactune"
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


def forget(directory: Path) -> None:
    """Delete what earlier starts left, but for the converted base model."""
    for path in (*directory.glob("reactune.db*"), directory / "adapters"):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


async def serve_demo(
    settings: Settings,
    *,
    engine: Engine | None = None,
    base: BaseModel | None = None,
    port: int,
    taste: Taste | None = None,
    on_ready: Callable[[str], None],
) -> None:
    """Serve the page on loopback until it is closed, SIGINT or SIGTERM; `on_ready` gets its address.

    With a taste, a simulated community of that taste has voted before.
    """
    bot = create_bot(settings, engine=engine, base=base, fixed_basis=Basis.LOCAL, tasks=DemoTasks())
    env = DemoEnv(bot, check_errors=False)
    world = build_world(env)
    _catch_up(env.backend)
    await asyncio.to_thread(_restore, settings, env.backend, world, OF_A_COMMUNITY if taste else OF_A_HANDFUL)
    await env.start()
    try:
        if taste is not None:
            await _let_vote(bot.services, taste)
        async with env.preview(world.channel, viewers=world.viewers, layout="channel", port=port) as preview:
            refreshing = bot.tasks.spawn(_keep_fresh(preview, bot), "refresh the page")
            stop_on_signals(preview.close)
            on_ready(preview.url)
            try:
                await preview.wait_closed()
            finally:
                refreshing.cancel()
        if bot.failure:
            raise bot.failure
    finally:
        await bot.close()
        await env.shutdown()


async def _let_vote(services: Services, taste: Taste) -> None:
    """Fill an empty demo with a community's votes; one that has been filled keeps what it has."""
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
    """Show what the bot does by itself, such as a growing answer; the page would wait for a person's next action."""
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
    # preview.refresh() is an operation of its own: a click that meets it fails. And a new revision would refuse
    # a click on what was shown half a second ago. So the pages get new content under their present revision.
    preview._advance_presentation_time()
    for page in tuple(preview._pages.values()):
        page.revision -= 1
        preview._publish(page, reason="refresh")


def _catch_up(backend: Backend) -> None:
    """Move the simulated clock to now, so that messages carry the time people see on the wall."""
    backend.advance_clock(max(0.0, (datetime.now(UTC) - backend.clock.now()).total_seconds()))


def _restore(settings: Settings, backend: Backend, world: World, advice: str) -> None:
    """Put the conversation of earlier starts back into the channel, and a first message above it."""
    database = open_database(settings)
    channel_id = world.channel.id
    with database.snapshot() as session:
        replies = [
            reply
            for reply in recent_replies(session, WORLD_BEGINS, RESTORED_REPLIES)
            if reply.channel_id == channel_id and reply.outcome in FINISHED_WHOLE
        ][::-1]
        thumbs = standing_thumbs(session, [reply.id for reply in replies])
        versions = {id_: name_of(find_version(session, id_)) for id_ in {reply.version_id for reply in replies}}
    database.close()
    backend.create_message(channel_id, backend.bot_user.id, WELCOME + advice)
    for message in _messages(replies, versions, backend.bot_user.id, settings.output):
        _put(backend, channel_id, message)
    for reply in replies:
        _react(backend, channel_id, reply, thumbs)


@dataclass(frozen=True)
class RestoredDemo:
    id: int
    author_id: int
    content: str
    replies_to: int | None = None


def _messages(
    replies: Iterable[Reply], versions: dict[int | None, str], bot_id: int, output: OutputSettings
) -> list[RestoredDemo]:
    """Return every message behind the replies, in their order on Discord."""
    found: dict[int, RestoredDemo] = {}
    for reply in replies:
        asked = reply.source_message_id
        if asked is not None and asked not in found:
            found[asked] = RestoredDemo(asked, reply.author_id, reply.messages[-1]["content"])
        prompt = RenderedPrompt(reply.prompt, (), reply.prompt_tokens, reply.dropped_turns, shortened=False)
        contents = lay_out(reply.answer, small_print(versions[reply.version_id], prompt, Finish.STOP), output)
        for id_, content in zip(reply.message_ids, contents, strict=False):
            found[id_] = RestoredDemo(id_, bot_id, content, asked if id_ == reply.message_ids[0] else None)
    return [found[id_] for id_ in sorted(found)]


def _put(backend: Backend, channel_id: int, restored: RestoredDemo) -> None:
    reference = {"message_id": str(restored.replies_to)} if restored.replies_to else None
    message = backend.prepare_message(
        channel_id, restored.author_id, restored.content[:MAX_MESSAGE_CHARS], reference=reference
    )
    message.id = backend.reserve_id(restored.id)
    message.timestamp = discord.utils.snowflake_time(restored.id).isoformat()
    backend.commit_message(message, broadcast=False)


def _react(backend: Backend, channel_id: int, reply: Reply, thumbs: set[Thumb]) -> None:
    for emoji in SEEDS if reply.message_ids else ():
        backend.set_reaction(channel_id, reply.message_ids[-1], emoji, backend.bot_user.id, True)
    for thumb in sorted(thumbs, key=lambda t: (t.emoji, t.user_id)):
        if thumb.message_id in reply.message_ids:
            backend.set_reaction(channel_id, thumb.message_id, thumb.emoji, thumb.user_id, True)
