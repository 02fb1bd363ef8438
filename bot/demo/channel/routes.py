"""The page of the console on which the people of the simulated server talk with the bot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import discord
from aiohttp import hdrs, web

from bot.console.page import Here, SentForm, get, post
from bot.console.rendering import add_templates
from bot.console.server import FirstPage
from bot.demo.channel.commands import SLASH, Call, find_command, list_commands, read_call
from bot.demo.channel.components import read_select
from bot.demo.channel.forms import Field, Given, Look, modal_fields, read_modal
from bot.demo.channel.guide import LAST, Remembered, next_step
from bot.demo.channel.places import BOT_NAME, LOUNGE, MAX_THREAD_NAME_CHARS
from bot.demo.channel.timeline import BOT_PICTURE, PICTURES, read_timeline, summarize
from bot.demo.channel.world import Seat, World
from bot.errors import UserFacingError
from bot.localization.languages import CODES
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.database.columns import LARGEST_ID, parse_id
from storage.personalities.webhooks import picture_shown_by

HOME = "/channel"
STATIC = Path(__file__).with_name("static")
STARTERS = ("Good morning!", "What makes a good friend?", "We are going to the beach on Saturday.")
"""First messages to suggest. The bundled model answers these sensibly more often than most."""
LAST_SEAT = "reactune_channel"
"""Cookie with the person and the place that were shown last."""
GUIDE = "reactune_guide"
"""Cookie with what the browser remembers of the guide."""
YEAR_S = 365 * 24 * 3600
FIELD = "field."
"""Prefix of the names of a form's fields, so that none means something else here."""

add_templates("bot.demo.channel")


@dataclass(frozen=True)
class ShownForm:
    """A form between the messages and the field to write in."""

    title: str
    about: str
    address: str
    fields: list[Field]
    submit: str
    hidden: Mapping[str, str] = field(default_factory=dict)


class ChannelPage:
    """Shows the world to its people, and lets them act in it."""

    def __init__(self, world: World) -> None:
        self._world = world
        at = f"{HOME}/{{person}}/{{place}}"
        message = rf"{at}/messages/{{id:\d+}}"
        routes = [
            web.static(f"{HOME}/static", STATIC),
            get(HOME, self._choose_seat),
            get(at, self._show),
            get(f"{at}/news", self._show_news),
            get(f"{at}/suggestions", self._suggest),
            get(f"{at}/learned", self._show_what_it_learned),
            post(f"{at}/guide", self._close_guide),
            get(rf"{message}/files/{{file:\d+}}", self._send_file),
            get(f"{message}/picture", self._send_picture),
            post(f"{at}/say", self._say),
            post(f"{at}/command", self._use_command),
            post(f"{at}/form", self._submit_form),
            post(message, self._act_on_message),
        ]
        self.first_page = FirstPage(HOME, "Channel", tuple(routes))

    async def _choose_seat(self, here: Here) -> web.StreamResponse:
        """Lead to the place that was shown last, or that somebody chose."""
        query = here.request.query
        person, _, place = here.request.cookies.get(LAST_SEAT, "").partition("/")
        seat = self._world.seat_or_first(query.get("as", person), query.get("place", place))
        raise web.HTTPSeeOther(here.address(seat.path))

    async def _show(self, here: Here) -> web.StreamResponse:
        seat, query = self._seat(here), here.form
        before, replied = _id(query, "before"), _id(query, "reply")
        reply = seat.message(replied) if replied else None
        first_new = seat.first_new_id
        response = here.fill(
            "channel/page.html",
            engine=here.services.engine.state(),
            **await self._facts(here, seat, before) | {"first_new": first_new},
            starters=STARTERS if seat.place.key == LOUNGE and not seat.has_spoken else (),
            bot_name=BOT_NAME,
            bot_picture=BOT_PICTURE,
            people=self._world.titles,
            commands=list_commands(seat),
            form=self._asked_form(here, seat),
            reply=reply and {"id": reply.id, "said": summarize(reply, self._world.mentions())},
            before=before,
            is_news=False,
            max_chars=MAX_MESSAGE_CHARS,
        )
        response.set_cookie(LAST_SEAT, seat.path.removeprefix(f"{HOME}/"), path=HOME, httponly=True, samesite="Lax")
        return response

    def _asked_form(self, here: Here, seat: Seat) -> ShownForm | None:
        query = here.form
        if opened := query.text("form", ""):
            return self._bots_form(here, seat, opened)
        if command := query.text("command", ""):
            return _command_form(here, seat, Call(find_command(seat, command), _fields(query)))
        if parent := _id(query, "thread"):
            return _thread_form(here, seat, seat.message(parent))
        edited = _id(query, "edit")
        return _edit_form(here, seat, seat.message(edited)) if edited else None

    async def _show_news(self, here: Here) -> web.StreamResponse:
        """Return the messages if something happened since the page last looked."""
        seat = self._seat(here)
        if here.request.query.get("seen") == str(self._world.changes):
            return web.Response(status=204)
        return await self._messages(here, seat)

    async def _say(self, here: Here) -> web.StreamResponse:
        """Send a message, or use the command that it is."""
        seat, form = self._seat(here), here.form
        # A suggestion or command that was clicked comes after what stands in the field.
        text, files = _lines("".join(form.texts("text")[-1:])).strip(), form.files("file")
        if not text and not files:
            raise UserFacingError("Write a message first.")
        if text.startswith(SLASH):
            call = read_call(seat, text)
            if call.lacks_options:
                given = {f"{FIELD}{option}": value for option, value in call.given.items()}
                address = here.address(seat.path, command=call.name, **given)
                return self._open(here, seat, _command_form(here, seat, call), address)
            return await self._after(here, seat, await call.run(seat), done="replying")
        if len(text) > MAX_MESSAGE_CHARS:
            raise UserFacingError(f"That is longer than {MAX_MESSAGE_CHARS:,} characters. Please shorten it.")
        replied = _id(form, "reply")
        attached = [(one.filename, one.file.read()) for one in files]
        await seat.say(text, seat.message(replied) if replied else None, attached)
        return await self._after(here, seat, None, done="replying")

    async def _use_command(self, here: Here) -> web.StreamResponse:
        seat, call = self._filled_call(here)
        return await self._after(here, seat, await call.run(seat), done="form")

    async def _show_what_it_learned(self, here: Here) -> web.StreamResponse:
        """Lead to the page that says it, and remember that somebody looked."""
        response = web.HTTPSeeOther(here.address("/"))
        response.set_cookie(GUIDE, Remembered.LOOKED, path=HOME, max_age=YEAR_S, httponly=True, samesite="Lax")
        raise response

    async def _close_guide(self, here: Here) -> web.StreamResponse:
        response = web.HTTPSeeOther(here.address(self._seat(here).path))
        response.set_cookie(GUIDE, Remembered.CLOSED, path=HOME, max_age=YEAR_S, httponly=True, samesite="Lax")
        raise response

    async def _suggest(self, here: Here) -> web.StreamResponse:
        seat, call = self._filled_call(here)
        option = here.request.query.get("option", "")
        return here.fill("channel/suggestions.html", suggestions=await call.suggestions(seat, option))

    def _filled_call(self, here: Here) -> tuple[Seat, Call]:
        seat = self._seat(here)
        return seat, Call(find_command(seat, here.form.text("command")), _fields(here.form))

    async def _submit_form(self, here: Here) -> web.StreamResponse:
        seat, key = self._seat(here), here.form.text("key")
        values = read_modal(self._world.open_form(key), _all_fields(here.form), self._world)
        opened = await self._world.submit_form(seat, key, values)
        return await self._after(here, seat, opened, done="form")

    async def _act_on_message(self, here: Here) -> web.StreamResponse:
        """React to a message, use its controls or its menu, open a thread, edit or delete it."""
        seat, form = self._seat(here), here.form
        message, act, actor = self._message(here), self._world.act, seat.actor
        opened, done = None, ""
        if emoji := form.text("react", ""):
            await act(actor.set_reaction(message, emoji, reacted=True))
        elif emoji := form.text("unreact", ""):
            await act(actor.set_reaction(message, emoji, reacted=False))
        elif button := form.text("press", ""):
            opened = await self._world.interact(actor.click(message, custom_id=button))
        elif select := form.text("choose", ""):
            opened = await seat.choose(message, select, read_select(seat, message, select, form.texts("value")))
        elif menu := form.text("menu", ""):
            opened = await seat.use_menu(menu, message)
        elif name := form.text(f"{FIELD}thread", ""):
            return here.go(here.address((await seat.open_thread(message, name)).path))
        elif form.has("delete"):
            await act(actor.delete(message))
        else:
            await act(actor.edit(message, _lines(form.text(f"{FIELD}text"))))
            done = "form"
        return await self._after(here, seat, opened, done=done)

    async def _send_file(self, here: Here) -> web.StreamResponse:
        """Send a file of a message that this person sees: a picture to look at, anything else to save."""
        attached = self._message(here).attachments
        file = next((one for one in attached if str(one.id) == here.request.match_info["file"]), None)
        if file is None:
            raise web.HTTPNotFound
        if file.content_type in PICTURES:
            return web.Response(body=await file.read(), content_type=file.content_type)
        saved = f"attachment; filename*=UTF-8''{quote(file.filename)}"
        return web.Response(body=await file.read(), headers={hdrs.CONTENT_DISPOSITION: saved})

    async def _send_picture(self, here: Here) -> web.Response:
        """Send the picture of the personality that wrote a message through a webhook."""
        webhook_id = self._message(here).webhook_id or 0
        picture = await here.services.database.read(picture_shown_by, webhook_id)
        if picture is None:
            raise web.HTTPNotFound
        return web.Response(body=picture, content_type="image/png")

    def _seat(self, here: Here) -> Seat:
        where = here.request.match_info
        seat = self._world.seat(where["person"], where["place"])
        if seat is None or not here.visitor.may_see_server(self._world.guild.id):
            raise web.HTTPNotFound
        self._world.language = _language_of(here.request)
        return seat

    def _message(self, here: Here) -> discord.Message:
        return self._seat(here).message(here.number_in_path("id", LARGEST_ID))

    async def _after(self, here: Here, seat: Seat, opened: str | None, *, done: str) -> web.StreamResponse:
        """Show the result of an action: the messages, and the form that the bot opened, if it did."""
        if opened is not None:
            return self._open(here, seat, self._bots_form(here, seat, opened), here.address(seat.path, form=opened))
        if here.is_partial:
            return await self._messages(here, seat, done)
        return here.go(here.address(seat.path))

    def _open(self, here: Here, seat: Seat, form: ShownForm, address: str) -> web.StreamResponse:
        """Show a form: in the page, or on a page of its own at the address."""
        if not here.is_partial:
            return here.go(address)
        response = here.fill("channel/form.html", form=form, seat=seat, look=Look)
        response.headers.update({"HX-Retarget": "#form", "HX-Reswap": "outerHTML"})
        return response

    async def _messages(self, here: Here, seat: Seat, done: str = "") -> web.Response:
        return here.fill("channel/news.html", **await self._facts(here, seat), done=done, is_news=True)

    async def _facts(self, here: Here, seat: Seat, before: int | None = None) -> dict[str, object]:
        seat.note_read()
        cookie = here.request.cookies.get(GUIDE)
        remembered = next((one for one in Remembered if one == cookie), Remembered.NOTHING)
        guide = None
        if seat.place.key == LOUNGE:
            guide = await here.services.database.read(next_step, here.personality.id, remembered)
        return {
            "guide": guide,
            "guide_steps": LAST,
            "seat": seat,
            "seats": self._world.seats_of(seat.member.name),
            "timeline": read_timeline(seat, before),
            "first_new": None,
            "menus": seat.menus(),
            "emojis": self._world.emoji,
            "look": Look,
        }

    def _bots_form(self, here: Here, seat: Seat, key: str) -> ShownForm:
        result = self._world.open_form(key)
        title = (result.modal or {})["title"]
        address = here.address(f"{seat.path}/form")
        return ShownForm(title, "", address, modal_fields(result, self._world), "Submit", {"key": key})


def _language_of(request: web.Request) -> str:
    """Return Discord's code of the browser's first language, as if the people had chosen it in Discord."""
    first = request.headers.get(hdrs.ACCEPT_LANGUAGE, "").partition(",")[0].partition(";")[0].strip()
    return next(
        (code for code in (first, first.partition("-")[0]) if code in CODES), discord.Locale.american_english.value
    )


def _command_form(here: Here, seat: Seat, call: Call) -> ShownForm:
    return ShownForm(
        f"/{call.name}",
        call.command.description,
        here.address(f"{seat.path}/command"),
        call.fields(seat),
        "Run",
        {"command": call.name},
    )


def _edit_form(here: Here, seat: Seat, message: discord.Message) -> ShownForm:
    text = Field("text", "Your message", "", Look.TEXT, True, message.content, most=MAX_MESSAGE_CHARS)
    return ShownForm("Edit a message", "", _address_of(here, seat, message), [text], "Save")


def _thread_form(here: Here, seat: Seat, message: discord.Message) -> ShownForm:
    suggested = " ".join(message.clean_content.split("\n-# ")[0].split())[:MAX_THREAD_NAME_CHARS]
    name = Field("thread", "Name of the thread", "", Look.LINE, True, suggested, most=MAX_THREAD_NAME_CHARS)
    return ShownForm("Open a thread", "", _address_of(here, seat, message), [name], "Open")


def _address_of(here: Here, seat: Seat, message: discord.Message) -> str:
    return here.address(f"{seat.path}/messages/{message.id}")


def _id(form: SentForm, name: str) -> int | None:
    """Return the ID of a message, if one was sent."""
    return parse_id(form.text(name, ""))


def _fields(form: SentForm) -> dict[str, Given]:
    """Return the values sent for a form's fields; a file only if one was chosen."""
    return {name: values[-1] for name, values in _all_fields(form).items()}


def _all_fields(form: SentForm) -> dict[str, list[Given]]:
    """Return all values sent for each field: several where several can be chosen."""
    given: dict[str, list[Given]] = {}
    for name, value in form.values(FIELD):
        given.setdefault(name, []).append(_lines(value) if isinstance(value, str) else value)
    return given


def _lines(text: str) -> str:
    """Return the text with the line ends that Discord has: forms send others."""
    return text.replace("\r\n", "\n")
