"""`/personality appearance`: what people see with a personality's messages, and what is in the way."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from storage.database.tables import AuditRow, PersonalityRow, PictureRow
from storage.personalities.card_files import parse_any_card
from storage.personalities.cards import Card
from storage.personalities.personalities import create_personality
from tests.storage.personalities.test_appearance import portrait
from tests.storage.personalities.test_tavern import card_of


@pytest.fixture
def keeper(place, query):
    """The place, and a personality that is bound there."""
    card = Card(system_prompt="You keep a lighthouse.", greeting="Evening.")
    query(lambda session: create_personality(session, "keeper", card, by="test", guild_id=place.channel.guild.id))
    return place


@pytest.fixture
def say(keeper):
    """Use a command as grace, and return what she reads."""

    async def say(command, personality="keeper", **options):
        done = await keeper.grace.slash(keeper.channel, f"personality {command}", personality=personality, **options)
        return done.response.content

    return say


def avatars(place):
    """Return the avatar of each webhook that was made or changed."""
    return [one.json["avatar"] for one in place.env.backend.http_requests if "avatar" in (one.json or {})]


async def test_a_name_and_a_picture_are_shown_from_the_next_answer_on(keeper, say, rows):
    await say("bind")
    assert keeper.last.author == keeper.env.bot.user
    said = await say("appearance", name="Ebba  Lind")
    assert said == (
        "**keeper** appears as **Ebba Lind**, with the picture of the bot from its next answer on. Older messages keep "
        "theirs."
    )
    assert (await keeper.ask("hi")).author.name == "Ebba Lind"
    assert "with a picture of its own" in await say("appearance", picture=("face.jpg", portrait("JPEG")))
    assert (await keeper.ask("hi")).author.name == "Ebba Lind"
    (picture,) = avatars(keeper)
    assert picture.startswith("data:image/png;base64,")
    sent = [one.json for one in keeper.env.backend.http_requests if "username" in (one.json or {})]
    assert ["avatar_url" in one for one in sent] == [True, False]  # the bot's picture, then the webhook's own
    assert {row.action for row in rows(AuditRow)} == {"personality bind", "personality appearance"}


async def test_both_can_be_taken_back(keeper, say, rows):
    await say("bind")
    await say("appearance", name="Ebba")
    await say("appearance", picture=("face.png", portrait("PNG")))
    assert "appears as **keeper**, with a picture of its own" in await say("appearance", reset="name")
    await say("appearance", reset="picture")
    assert "**Appears** as the bot itself" in await say("show")
    assert (await keeper.ask("hi")).author == keeper.env.bot.user
    assert rows(PictureRow) == []
    assert {row.picture_digest for row in rows(PersonalityRow)} == {None}


async def test_one_is_set_while_the_other_goes_back(say, rows):
    await say("appearance", name="Ebba")
    said = await say("appearance", picture=("face.png", portrait("PNG")), reset="name")
    assert "appears as **keeper**, with a picture of its own" in said
    said = await say("appearance", name="Ebba", reset="picture")
    assert "appears as **Ebba**, with the picture of the bot" in said
    assert rows(PictureRow) == []


async def test_nothing_given_changes_nothing(say, rows):
    await say("appearance", name="Ebba", picture=("face.png", portrait("PNG")))
    assert (await say("appearance")).startswith("Give it a `name` or a `picture`, or choose under `reset`")
    assert "**Appears** as **Ebba**, with a picture of its own" in await say("show")
    assert len(rows(PictureRow)) == 1


async def test_the_greeting_comes_under_its_name(keeper, say):
    await say("appearance", name="Ebba")
    await say("bind")
    assert (keeper.last.author.name, keeper.last.content) == ("Ebba", "Evening.")


async def test_what_is_in_the_way_is_said_with_what_to_do(keeper, say, env):
    await say("appearance", name="Ebba")
    channel = env.bot.get_channel(keeper.channel.id)
    await channel.set_permissions(channel.guild.me, manage_webhooks=False)
    await env.settle()
    sentence = (
        f"⚠️ In <#{keeper.channel.id}> it speaks as the bot itself. To change that, give me Manage Webhooks there."
    )
    assert sentence in await say("bind")
    assert sentence in await say("show")
    await channel.set_permissions(channel.guild.me, manage_webhooks=True)
    await env.settle()
    assert "⚠️" not in await say("show")
    await keeper.ask("hi")
    env.inject_error("POST", "/channels/*/webhooks", status=400, code=30007, times=None)
    env.backend.delete_webhook(keeper.last.webhook_id)
    await env.settle()
    await keeper.ask("hi")
    assert "delete one of the channel's 15 webhooks" in await say("show")


async def test_a_name_that_discord_refuses_is_refused_with_the_reason(say, env, keeper):
    for name, reason in (
        ("Discord Helper", "must not contain 'discord'"),
        ("everyone", "must not be 'everyone'"),
        ("＠here", "must not contain '@'"),
        ("\u202eebba", "turn the direction of writing"),
        ("\u200b\u2060", "must have letters that people can see"),
    ):
        assert reason in await say("appearance", name=name)
    assert "**Appears** as the bot itself" in await say("show")
    env.locales[keeper.grace.id] = "de"
    assert await say("appearance", name="\u200b") == "Der Name braucht Buchstaben, die man sehen kann."
    assert (
        await say("appearance", name="everyone") == "Der Name darf nicht 'everyone' lauten, weil Discord das ablehnt."
    )


async def test_a_file_that_is_no_picture_is_refused(say, rows):
    assert "The picture cannot be opened" in await say("appearance", picture=("face.png", b"\x89PNG\r\n\x1a\nnot"))
    assert "The picture has one colour only" in await say("appearance", picture=("red.gif", _plain_gif()))
    assert rows(PictureRow) == []


async def test_a_file_that_is_gone_from_discord_has_a_sentence(keeper, env, rows):
    env.backend.cdn.get = lambda _url: None
    face = ("face.png", portrait("PNG"))
    for command, options in (("appearance", {"personality": "keeper", "picture": face}), ("import", {"file": face})):
        done = await keeper.grace.slash(keeper.channel, f"personality {command}", **options)
        assert "I couldn't get face.png from Discord. Please send it again." in done.response.content
    assert rows(PictureRow) == []


async def test_what_is_said_of_a_name_that_discord_refuses_is_what_people_see(place, query, say):
    query(lambda session: create_personality(session, "discord-helper", Card(system_prompt="x"), by="test"))
    said = await say("appearance", personality="discord-helper", picture=("face.png", portrait("PNG")))
    assert "appears with the bot's name, with a picture of its own" in said


async def test_a_character_card_brings_its_name_and_picture_and_takes_its_name_along(place, query):
    content = portrait("PNG", text=card_of())
    done = await place.grace.slash(place.channel, "personality import", file=("ebba.png", content))
    assert "Its picture appears beside its messages in Discord." in done.response.content
    await place.grace.slash(place.channel, "personality bind", personality="ebba-lind")
    assert place.last.author.name == "Ebba Lind"
    exported = await place.grace.slash(place.channel, "personality export", personality="ebba-lind")
    (file,) = exported.response.attachments
    assert parse_any_card(await file.read(), file.filename).card.display_name == "Ebba Lind"


def _plain_gif():
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "GIF")
    return file.getvalue()
