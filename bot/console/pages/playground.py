"""The playground: talk with any version in private, see its other candidate answers, vote."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiohttp import web
from sqlalchemy.orm import Session

from bot.arenas.prompts import bank_messages
from bot.chat.prompting import ChatMessage, exchanged_turns
from bot.chat.rendering import TOO_LONG, add_examples
from bot.console.page import TALKS, Here, get, post
from bot.console.talks import GrowingTalk, TalkQuestion, favourite
from bot.errors import UserFacingError
from bot.releases.resolver import Release
from storage.conversations.example_turns import with_earlier
from storage.database.columns import parse_id, utc_now
from storage.emoji import THUMBS
from storage.personalities.cards import settings_of
from storage.releases.versions import name_of, read_alias, usable_versions, version_named
from storage.sittings.talks import Exchange, read_talk, turn_thumb
from storage.taste.examples import ExampleTurn

LONGEST_TALK = 20
"""Maximum exchanges of a talk; a longer one continues without its beginning."""
MAX_CHARS = 4_000
MOST_ANSWERS = 4
LOST = "That question is no longer being answered: a newer one took its place, or I was restarted. Ask again."
ANSWER_DELETED = "That answer was deleted."


async def show_playground(here: Here) -> web.Response:
    query = here.request.query
    return here.fill(
        "playground.html",
        **await _talk(here, _ids(query.get("talk", ""))),
        **await here.services.database.read(_choices, here.personality.id),
        chosen=query.get("version", ""),
        beside=query.get("beside", ""),
        number=query.get("answers") or min(MOST_ANSWERS, here.services.settings.generation.candidates),
        most=MOST_ANSWERS,
        max_chars=MAX_CHARS,
    )


def _choices(session: Session, personality_id: int) -> dict[str, object]:
    versions = [version.name for version in usable_versions(session, personality_id)]
    return {"champion": name_of(read_alias(session, personality_id).version), "names": [*versions, name_of(None)]}


async def ask(here: Here) -> web.Response:
    """Ask the chosen versions, and show their answers while they grow; without scripts, wait for them."""
    talk = await _ask(here)
    if here.is_partial:
        return here.fill("growing.html", growing=talk, settings=_settings(here))
    await talk.done.wait()
    return _end(here, talk)


async def _ask(here: Here) -> GrowingTalk:
    text, asked_at = here.form.text("question"), utc_now()
    if not text:
        raise UserFacingError("Write a message first.")
    if len(text) > MAX_CHARS:
        raise UserFacingError(f"That message is longer than {MAX_CHARS:,} characters. Please shorten it.")
    earlier = _ids(here.form.text("talk", ""))
    exchanges = await here.services.database.read(read_talk, here.personality.id, here.visitor.user_id, earlier)
    releases = await _releases(here)
    try:
        rendered = await here.services.engine.render(_messages(here, exchanges, text))
    except ValueError as error:
        raise UserFacingError(TOO_LONG) from error
    prompts = await add_examples(here.services, here.personality, rendered)
    here.count_question()
    question = TalkQuestion(text, prompts, here.personality, here.author, earlier, asked_at)
    return here.request.app[TALKS].ask(here.visitor.session_key, question, releases)


def _messages(here: Here, exchanges: Sequence[Exchange], text: str) -> list[ChatMessage]:
    own = settings_of(here.services.settings, here.personality.card).chat.system_prompt
    earlier = [ExampleTurn(one.question, one.chosen.text) for one in exchanges]
    return with_earlier(bank_messages(own, text), exchanged_turns(earlier))


async def _releases(here: Here) -> list[Release]:
    form = here.form
    names = [name for name in (form.text("version"), form.text("beside", "")) if name]
    number = form.number("answers")
    if not 1 <= number <= MOST_ANSWERS:
        raise UserFacingError(f"Choose from 1 to {MOST_ANSWERS} answers.")
    services = here.services
    versions = [await services.database.read(version_named, here.personality.id, name) for name in dict.fromkeys(names)]
    return [await asyncio.to_thread(services.releases.open, version) for version in versions for _ in range(number)]


async def show_growing(here: Here) -> web.Response:
    talk = here.request.app[TALKS].find(here.visitor.session_key, here.request.match_info["key"])
    problem = talk.problem if talk else LOST
    if talk is None or problem:
        # In place of the answers, so that the page asks for them no more.
        return here.fill("problem.html", sentence=problem, is_inside=True)
    if talk.done.is_set():
        return _end(here, talk)
    return here.fill("growing.html", growing=talk, settings=_settings(here))


def _end(here: Here, talk: GrowingTalk) -> web.Response:
    if talk.problem:
        raise UserFacingError(talk.problem)
    return here.go(here.address("/playground", talk=_named(talk.talk), **_settings(here)))


async def vote(here: Here) -> web.Response:
    """Turn a thumb on one answer."""
    form = here.form
    reply_id, emoji = form.id("reply"), form.text("emoji")
    if emoji not in THUMBS:
        raise UserFacingError("Vote with 👍 or 👎.")
    author = here.author
    # Without a line in the audit trail, which other admins read: nobody else sees the talk.
    found = await here.services.database.run(
        turn_thumb, here.personality.id, author.user_id, reply_id, emoji, home=author.home
    )
    if not found:
        raise UserFacingError(ANSWER_DELETED)
    here.services.tastes.note_vote(here.personality.id, reply_id)
    talk = _ids(form.text("talk"))
    if here.is_partial:
        return here.fill("talk.html", **await _talk(here, talk))
    return here.go(here.address("/playground", talk=_named(talk)))


async def _talk(here: Here, chosen_ids: tuple[int, ...]) -> dict[str, object]:
    exchanges = await here.services.database.read(read_talk, here.personality.id, here.visitor.user_id, chosen_ids)
    newest = [answer.text for answer in exchanges[-1].answers] if exchanges else []
    liked = favourite(here.services, here.personality, newest) if len(newest) > 1 else None
    return {
        "exchanges": exchanges,
        "talk": _named([one.chosen.id for one in exchanges]),
        "before": _named([one.chosen.id for one in exchanges[:-1]]),
        "liked": None if liked is None else exchanges[-1].answers[liked].id,
    }


def _settings(here: Here) -> dict[str, str]:
    """Return the visitor's choices, so that the next question keeps them."""
    return {name: here.form.text(name, "") for name in ("version", "beside", "answers")}


def _ids(named: str) -> tuple[int, ...]:
    ids = [id_ for part in named.split(",") if (id_ := parse_id(part)) is not None]
    return tuple(ids[-LONGEST_TALK:])


def _named(talk: Sequence[int]) -> str:
    return ",".join(map(str, talk))


ROUTES = [
    get("/playground", show_playground),
    post("/playground", ask),
    get(r"/playground/growing/{key:[0-9a-f]{16}}", show_growing),
    post("/playground/vote", vote),
]
