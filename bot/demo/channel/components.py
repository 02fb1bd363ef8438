"""Components of messages and forms: their look on the page, their options, and people's choices in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import discord
from markupsafe import Markup
from simcord.builders import ChannelHandle, RoleHandle
from simcord.components import walk_components
from simcord.enums import SELECT_TYPES, ComponentType

from bot.demo.channel.world import Kind, Seat, World
from bot.errors import UserFacingError

BUTTON_STYLES = {1: "primary", 3: "success", 4: "danger"}
Control = Mapping[str, Any]
"""A component as Discord writes it."""
NAMED = {
    ComponentType.USER_SELECT: Kind.user,
    ComponentType.ROLE_SELECT: Kind.role,
    ComponentType.MENTIONABLE_SELECT: Kind.mentionable,
    ComponentType.CHANNEL_SELECT: Kind.channel,
}
NOT_OFFERED = "That is not among the choices any more. Reload the page, then choose again."


@dataclass(frozen=True)
class Option:
    value: str
    label: str
    help: str = ""
    is_chosen: bool = False


def takes_several(control: Control) -> bool:
    """Return whether more than one thing can be chosen."""
    is_group = control["type"] == ComponentType.CHECKBOX_GROUP
    return is_group or (control.get("max_values") or 1) > 1


def list_choices(control: Control, world: World) -> tuple[Option, ...]:
    if control["type"] not in NAMED:
        return tuple(
            Option(one["value"], with_emoji(one), one.get("description") or "", bool(one.get("default")))
            for one in control["options"]
        )
    chosen = {str(one["id"]) for one in control.get("default_values") or ()}
    return tuple(
        Option(id_, _label(name, one), "", id_ in chosen) for id_, (name, one) in _named(control, world).items()
    )


def read_choices(control: Control, values: Sequence[str], world: World) -> list[Any]:
    """Return the choices in simcord's form: texts, or people, roles and channels. Raises UserFacingError."""
    if control["type"] not in NAMED:
        return list(values)
    offered = _named(control, world)
    if not offered.keys() >= set(values):
        raise UserFacingError(NOT_OFFERED)
    return [offered[value][1] for value in values]


def read_select(seat: Seat, message: discord.Message, custom_id: str, values: Sequence[str]) -> list[Any]:
    """Return the choices in a select of the message; raises UserFacingError."""
    stored = seat.world.env.backend.get_message(seat.channel.id, message.id)
    selects = (one for one in walk_components(stored.components) if one["type"] in SELECT_TYPES)
    control = next((one for one in selects if one["custom_id"] == custom_id), None)
    if control is None:
        raise UserFacingError(NOT_OFFERED)
    return read_choices(control, values, seat.world)


def with_emoji(control: Control) -> str:
    """Return the label of a button or an option, after its emoji."""
    emoji = (control.get("emoji") or {}).get("name")
    return " ".join(str(part) for part in (emoji, control.get("label")) if part)


def _named(control: Control, world: World) -> dict[str, tuple[str, Any]]:
    """Return {ID: (name, person, role or channel)} of all options of an entity select."""
    named = world.named(NAMED[ComponentType(control["type"])], control.get("channel_types") or ())
    return {str(one.id): (name, one) for name, one in named.items()}


def _label(name: str, one: object) -> str:
    mark = "#" if isinstance(one, ChannelHandle) else "@" if isinstance(one, RoleHandle) else ""
    return mark + name


@dataclass(frozen=True)
class Media:
    """A picture or a file."""

    name: str
    attachment: str
    """The ID of the message's attachment; empty for a file from elsewhere."""
    url: str


@dataclass(frozen=True)
class Part:
    """A component as the page draws it."""

    kind: str
    key: str
    """The control's custom ID on Discord; empty for a button that is a link."""
    label: str
    style: str
    url: str
    html: Markup
    """A text component's HTML."""
    parts: tuple[Part, ...]
    choices: tuple[Option, ...]
    media: tuple[Media, ...]
    accent: str
    """A container's colour; empty for none."""
    is_disabled: bool
    is_optional: bool
    """Whether the choice may stay empty."""
    takes_several: bool
    is_line: bool
    """Whether a separator is visible."""


class PartReader:
    """Reads components for one page."""

    def __init__(self, world: World, html: Callable[[str], Markup]) -> None:
        self._world = world
        self._html = html

    def read(self, components: Iterable[Control]) -> tuple[Part, ...]:
        return tuple(map(self._read_one, components))

    def _read_one(self, facts: Control) -> Part:
        is_select = facts["type"] in SELECT_TYPES
        accent = facts.get("accent_color")
        return Part(
            kind="select" if is_select else ComponentType(facts["type"]).name.lower(),
            key=facts.get("custom_id") or "",
            label=facts.get("placeholder") or with_emoji(facts),
            style=BUTTON_STYLES.get(facts.get("style", 0), ""),
            url=facts.get("url") or "",
            html=self._html(facts.get("content") or ""),
            parts=self.read([*(facts.get("components") or ()), *filter(None, [facts.get("accessory")])]),
            choices=list_choices(facts, self._world) if is_select else (),
            media=tuple(map(_read_media, _media_of(facts))),
            accent="" if accent is None else f"#{accent:06x}",
            is_disabled=facts.get("disabled", False),
            is_optional=facts.get("min_values") == 0,
            takes_several=takes_several(facts),
            is_line=facts.get("divider", True),
        )


def _media_of(facts: Control) -> list[Control]:
    """Return the pictures of a gallery or thumbnail, or the file of a file component."""
    media = facts.get("media") or facts.get("file")
    return list(facts.get("items") or ([{**facts, "media": media}] if media else []))


def _read_media(item: Control) -> Media:
    media = item["media"]
    name = item.get("description") or item.get("name") or media["url"].rpartition("/")[2]
    return Media(name, str(media.get("attachment_id") or ""), media["url"])
