"""The components of messages: rows of buttons and selects, and Discord's layouts of text, pictures and files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from markupsafe import Markup
from simcord.enums import SELECT_TYPES, ComponentType

from bot.demo.channel.controls import Control, Option, list_choices, takes_several, with_emoji
from bot.demo.channel.world import World

BUTTON_STYLES = {1: "primary", 3: "success", 4: "danger"}


@dataclass(frozen=True)
class Media:
    """A picture or a file."""

    name: str
    attachment: str
    """The ID of the message's attachment; empty if it is elsewhere."""
    url: str


@dataclass(frozen=True)
class Part:
    """A component as the page draws it."""

    kind: str
    key: str
    """What Discord knows a control by; empty for a button that is a link."""
    label: str
    style: str
    url: str
    html: Markup
    """Of a text."""
    parts: tuple[Part, ...]
    choices: tuple[Option, ...]
    media: tuple[Media, ...]
    accent: str
    """A container's colour; empty for none."""
    is_disabled: bool
    is_optional: bool
    """Nothing needs to be chosen."""
    takes_several: bool
    is_line: bool
    """A separator that is seen."""


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
