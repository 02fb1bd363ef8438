"""Webhooks over HTTP, with payloads as Discord's documentation shows them: what the simulator cannot show."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import discord
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from discord.http import Route

from bot.chat.message_stream import MessageStream
from bot.chat.voices import BotVoice, PersonalityVoice, question_of_message
from bot.discord_errors import survive_faults
from bot.personalities.webhooks import NO_ROOM, Webhooks
from storage.database.database import open_database
from storage.database.enums import Scope
from storage.personalities.bindings import BindingPlace, bind
from storage.personalities.cards import Card
from storage.personalities.personalities import (
    archive_personality,
    change_card,
    create_personality,
    ensure_personality,
    read_personality,
)
from storage.personalities.pictures import set_picture
from storage.personalities.webhooks import OwnWebhook, list_webhook_ids, record_webhook
from storage.settings.sections import OutputSettings
from tests.bot.recorded_discord import Mishap
from tests.reactune.doctor.test_discord_side import BOT, as_json
from tests.storage.personalities.test_appearance import portrait

GUILD, CHANNEL, THREAD = 1456074443980800100, 1456074443980800101, 1456074443980800102
OWN, FOREIGN, FOLLOWER = "1456074443980800111", "1456074443980800112", "1456074443980800113"
QUESTION = 1456074443980800120
PERMISSIONS = discord.Permissions(
    view_channel=True, manage_webhooks=True, send_messages=True, send_messages_in_threads=True
)
OTHER_BOT = BOT | {"id": "1456074443980800002", "username": "weather"}
WEBHOOK = {
    "id": OWN,
    "type": 1,
    "guild_id": str(GUILD),
    "channel_id": str(CHANNEL),
    "user": BOT,
    "name": "Ebba",
    "avatar": "5b5bf0ce5b5bf0ce5b5bf0ce5b5bf0ce",
    "token": "3d89bb7572e0fb30d8128367b3b1b44fecd1726de135cbe28a41f8b2f777c372ba2939e72279b94526ff5d1bd4358d65cf11",
    "application_id": BOT["id"],
}
OTHERS = [
    # The token of another application's webhook is not shown.
    {key: value for key, value in WEBHOOK.items() if key != "token"}
    | {"id": FOREIGN, "user": OTHER_BOT, "application_id": OTHER_BOT["id"]},
    {
        "id": FOLLOWER,
        "type": 2,
        "guild_id": str(GUILD),
        "channel_id": str(CHANNEL),
        "user": BOT,
        "name": "Guildy name",
        "avatar": None,
        "application_id": None,
        "source_guild": {"id": "56188498421476534", "name": "Guildy name", "icon": None},
        "source_channel": {"id": "5618852344134324", "name": "announcements"},
    },
]
FULL = 400, {"message": "Maximum number of webhooks reached (15)", "code": 30007}
FORBIDDEN = 403, {"message": "Missing Permissions", "code": 50013}
UNKNOWN = 404, {"message": "Unknown Webhook", "code": 10015}
LIMITED = 429, {"message": "You are being rate limited.", "retry_after": 0.01, "global": False}


def message(channel_id: int, content: str) -> dict[str, Any]:
    """Return Discord's answer to a webhook's message."""
    return {
        "id": "1456074443980800130",
        "type": 0,
        "content": content,
        "channel_id": str(channel_id),
        "author": {"id": OWN, "username": "Ebba", "avatar": None, "discriminator": "0000", "bot": True},
        "attachments": [],
        "embeds": [],
        "mentions": [],
        "mention_roles": [],
        "pinned": False,
        "mention_everyone": False,
        "tts": False,
        "timestamp": "2026-11-28T12:00:00.000000+00:00",
        "edited_timestamp": None,
        "flags": 0,
        "components": [],
        "webhook_id": OWN,
        "application_id": BOT["id"],
    }


def server() -> dict[str, Any]:
    """Return a server with a channel and a thread, as GUILD_CREATE has it."""
    thread = {"id": str(THREAD), "type": 11, "parent_id": str(CHANNEL), "name": "talk", "owner_id": BOT["id"]}
    thread |= {"message_count": 1, "member_count": 1, "guild_id": str(GUILD)}
    thread["thread_metadata"] = {
        "archived": False,
        "auto_archive_duration": 1440,
        "archive_timestamp": "2026-11-28T12:00:00+00:00",
        "locked": False,
    }
    return {
        "id": str(GUILD),
        "name": "Server",
        "owner_id": "1",
        "roles": [{"id": str(GUILD), "name": "@everyone", "permissions": str(PERMISSIONS.value), "position": 0}],
        "channels": [{"id": str(CHANNEL), "type": 0, "name": "general", "position": 0, "permission_overwrites": []}],
        "threads": [thread],
        "members": [{"user": BOT, "roles": [], "joined_at": "2026-01-01T00:00:00+00:00", "flags": 0}],
        "member_count": 1,
    }


class Discord:
    """Answers as Discord does, and remembers what it was asked."""

    def __init__(self) -> None:
        self.present = [*OTHERS]
        self.refusals: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        """{"POST /path": the next answers}"""
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        """Method and path, parameters, body."""
        self.mishaps: list[Mishap] = []
        self.said: dict[str, dict[str, Any]] = {}
        """What the webhook said in the channel, oldest first."""

    async def answer(self, request: web.Request) -> web.Response:
        if not self.mishaps or not self.mishaps[0].concerns(request):
            return await self._answer(request)
        mishap = self.mishaps.pop(0)
        if mishap.is_taken:
            await self._answer(request)
        return mishap.answer(request)

    async def _answer(self, request: web.Request) -> web.Response:
        body = json.loads(await request.text() or "null")
        name = f"{request.method} {request.path}"
        self.asked.append((name, dict(request.query), body))
        if waiting := self.refusals.get(name):
            status, content = waiting.pop(0)
            refused = as_json(content, status=status)
            refused.headers["Via"] = "1.1 google"
            return refused
        if name == f"POST /channels/{CHANNEL}/webhooks":
            self.present.append(WEBHOOK)
        answers = {
            "GET /users/@me": BOT,
            f"GET /channels/{CHANNEL}/webhooks": self.present,
            f"POST /channels/{CHANNEL}/webhooks": WEBHOOK,
            f"PATCH /webhooks/{OWN}": WEBHOOK,
            f"GET /channels/{CHANNEL}/messages": list(self.said.values())[::-1],
        }
        if name in answers:
            return as_json(answers[name])
        said = message(int(request.query.get("thread_id", CHANNEL)), (body or {}).get("content", ""))
        if name == EXECUTE:
            said["id"] = str(int(said["id"]) + len(self.said))
            self.said[said["id"]] = said
        elif changed := self.said.get(request.path.rpartition("/")[2]):
            said = changed | ({"content": body["content"]} if body else {})
            self.said[said["id"]] = said
        return as_json(said)

    def times(self, name: str) -> int:
        return [one for one, _, _ in self.asked].count(name)


LIST, CREATE = f"GET /channels/{CHANNEL}/webhooks", f"POST /channels/{CHANNEL}/webhooks"
EXECUTE = f"POST /webhooks/{OWN}/{WEBHOOK['token']}"


@pytest.fixture
def discord_api() -> Discord:
    return Discord()


@pytest.fixture
def database(settings):
    with closing(open_database(settings)) as database:
        yield database


@pytest.fixture
def ebba(database):
    """Return a personality with a name and a picture."""
    card = Card(display_name="Ebba", system_prompt="You are Ebba.")
    with database.transaction() as session:
        id_ = create_personality(session, "ebba", card, by="test").id
        set_picture(session, id_, portrait("PNG"))
        return read_personality(session, id_)


@pytest_asyncio.fixture
async def webhooks(new_bot, database, discord_api, monkeypatch):
    """The webhooks of a bot that is in the server."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", discord_api.answer)
    async with TestServer(app) as address, new_bot() as bot:
        monkeypatch.setattr(Route, "BASE", str(address.make_url("")).rstrip("/"))
        state = bot._connection
        state.user = discord.ClientUser(state=state, data=await bot.http.static_login("token"))
        state._add_guild_from_data(server())
        yield Webhooks(bot, database, reads_replies=True)


async def test_one_is_made_with_the_picture_and_speaks_with_the_name_without_pings(webhooks, ebba, discord_api):
    guise = await webhooks.guise_of(ebba, GUILD, CHANNEL)
    content = f"-# ↪ <@1> · [question](https://discord.com/channels/{GUILD}/{CHANNEL}/{QUESTION})\nEvening."
    sent = await guise.send(content)
    listed, made, executed = discord_api.asked[-3:]
    assert listed[0] == LIST
    assert (made[0], made[2]["name"]) == (CREATE, "Ebba")
    assert made[2]["avatar"].startswith("data:image/png;base64,")
    assert executed[0] == EXECUTE
    assert (executed[1]["wait"], "thread_id" in executed[1]) == ("1", False)
    assert executed[2] == {"content": content, "username": "Ebba", "tts": False, "allowed_mentions": {"parse": []}}
    assert webhooks.wrote(sent)
    assert sent.author.bot
    assert question_of_message(sent) == QUESTION


async def test_a_thread_is_named_in_every_request(webhooks, ebba, discord_api):
    sent = await (await webhooks.guise_of(ebba, GUILD, THREAD)).send("Evening.")
    await sent.edit(content="Good evening.")
    await sent.delete()
    assert [asked[1]["thread_id"] for asked in discord_api.asked[-3:]] == [str(THREAD)] * 3
    assert discord_api.asked[-2][2]["allowed_mentions"] == {"parse": []}


async def test_a_reaction_under_its_message_names_the_webhook_as_author(webhooks, ebba):
    reaction = {
        "user_id": "5",
        "channel_id": str(CHANNEL),
        "message_id": "1456074443980800130",
        "guild_id": str(GUILD),
        "emoji": {"id": None, "name": "👍"},
        "message_author_id": OWN,
        "burst": False,
        "type": 0,
    }
    emoji = discord.PartialEmoji(name="👍")
    payload = discord.RawReactionActionEvent(reaction, emoji, "REACTION_ADD")
    assert not webhooks.may_have_written(payload.message_author_id)
    await webhooks.guise_of(ebba, GUILD, CHANNEL)
    assert webhooks.may_have_written(payload.message_author_id)
    assert not webhooks.may_have_written(int(FOREIGN))


async def test_after_a_restart_it_is_found_again_and_its_picture_changed_if_it_is_another(
    webhooks, ebba, database, discord_api
):
    await webhooks.guise_of(ebba, GUILD, CHANNEL)
    assert await database.read(list_webhook_ids) == {int(OWN)}
    for seed, changes in ((0, 0), (1, 1)):
        await database.run(set_picture, ebba.id, portrait("PNG", seed))
        now = await database.read(read_personality, ebba.id)
        again = Webhooks(webhooks._client, database, reads_replies=True)
        await again.open()
        assert again.may_have_written(int(OWN))
        assert (await again.guise_of(now, GUILD, CHANNEL)).webhook.id == int(OWN)
        assert discord_api.times(f"PATCH /webhooks/{OWN}") == changes
    assert discord_api.times(CREATE) == 1


@pytest.mark.parametrize(("refusal", "remedy"), [(FULL, NO_ROOM), (FORBIDDEN, "")])
async def test_where_none_can_be_made_there_is_no_guise(webhooks, ebba, discord_api, refusal, remedy, caplog):
    discord_api.refusals[CREATE] = [refusal]
    assert await webhooks.guise_of(ebba, GUILD, CHANNEL) is None
    assert webhooks.why_not(webhooks._client.get_channel(CHANNEL)) == remedy
    assert "ebba" in caplog.text
    webhooks.look_again(CHANNEL)  # as WEBHOOKS_UPDATE asks for
    assert await webhooks.guise_of(ebba, GUILD, CHANNEL) is not None
    assert not webhooks.why_not(webhooks._client.get_channel(CHANNEL))


async def test_in_a_full_channel_those_that_nobody_needs_any_more_make_room(webhooks, ebba, database, discord_api):
    def write(session):
        cards = {name: Card(display_name=name, system_prompt="x") for name in ("archived", "moved", "bound", "default")}
        ids = [create_personality(session, name, cards[name], by="test").id for name in ("archived", "moved", "bound")]
        ids.append(ensure_personality(session))
        change_card(session, read_personality(session, ids[-1]), cards["default"], by="test")
        place = BindingPlace(Scope.CHANNEL, CHANNEL)
        bind(session, place, read_personality(session, ids[2]), guild_id=GUILD, strength=1.0, by="test")
        for webhook_id, personality_id in enumerate(ids, start=1):
            record_webhook(session, OwnWebhook(webhook_id, CHANNEL, personality_id, None))
        archive_personality(session, read_personality(session, ids[0]))

    await database.run(write)
    discord_api.present += [WEBHOOK | {"id": str(id_)} for id_ in (1, 2, 3, 4)]
    discord_api.refusals[CREATE] = [FULL]
    assert (await webhooks.guise_of(ebba, GUILD, CHANNEL)).webhook.id == int(OWN)
    deleted = [name for name, _, _ in discord_api.asked if name.startswith("DELETE")]
    assert deleted == ["DELETE /webhooks/1", "DELETE /webhooks/2"]
    assert discord_api.times(CREATE) == 2


async def test_one_that_was_deleted_is_refused_with_its_own_code(webhooks, ebba, discord_api):
    guise = await webhooks.guise_of(ebba, GUILD, CHANNEL)
    discord_api.refusals[EXECUTE] = [UNKNOWN]
    with pytest.raises(discord.NotFound) as raised:
        await guise.send("Evening.")
    assert raised.value.code == UNKNOWN[1]["code"]


async def test_a_rate_limit_is_waited_for(webhooks, ebba, discord_api):
    guise = await webhooks.guise_of(ebba, GUILD, CHANNEL)
    discord_api.refusals[EXECUTE] = [LIMITED]
    assert (await guise.send("Evening.")).content == "Evening."
    assert discord_api.times(EXECUTE) == 2


@pytest.mark.parametrize("status", [500, 502, 503, None])
@pytest.mark.parametrize("is_taken", [True, False])
async def test_an_answer_is_one_message_although_discord_answers_its_first_words_with_an_error(
    webhooks, ebba, discord_api, status, is_taken
):
    async def note(*_: object) -> None:
        return None

    survive_faults(webhooks._client)
    otherwise = BotVoice(webhooks._client.get_channel(CHANNEL), None)
    voice = PersonalityVoice(webhooks, ebba, GUILD, CHANNEL, otherwise)
    stream = MessageStream(voice, edit_interval_s=0.0, output=OutputSettings(), on_message=note, on_surplus=note)
    discord_api.mishaps = [Mishap("POST", EXECUTE.removeprefix("POST "), status, is_taken=is_taken)]
    for text in ("The", "The answer"):
        await stream.show(text)
    await stream.finish("The answer.", "-# base")
    assert not discord_api.mishaps
    assert [said["content"] for said in discord_api.said.values()] == ["The answer.\n-# base"]
