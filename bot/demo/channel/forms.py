"""Forms: those that the bot opens, and one for the options of each command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import discord
import simcord
from aiohttp import web
from discord import app_commands

from bot.console.page import without_nul
from bot.demo.channel.world import World
from bot.errors import UserFacingError

Kind = discord.AppCommandOptionType
Given = str | web.FileField
"""What a form sent for one field, or somebody typed."""
NUMBERS = {Kind.integer: int, Kind.number: float}
NAMED = (Kind.user, Kind.channel, Kind.role)
LABEL, TEXT_INPUT, RADIO_GROUP, PARAGRAPH = 18, 4, 21, 2  # Discord's numbers


class Look(StrEnum):
    """How a field is shown."""

    LINE = "line"
    TEXT = "text"
    NUMBER = "number"
    CHOICE = "choice"
    SUGGESTIONS = "suggestions"
    CHECK = "check"
    FILE = "file"


@dataclass(frozen=True)
class Field:
    key: str
    label: str
    help: str
    look: Look
    is_required: bool = False
    value: str = ""
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    """The smallest and largest number, or the fewest and most characters."""

    def filled(self, given: Mapping[str, Given]) -> Field:
        value = given.get(self.key, self.value)
        return replace(self, value=value) if isinstance(value, str) else self


def modal_fields(result: simcord.InteractionResult) -> list[Field]:
    """Return the fields of a form that the bot opened; its forms have fields for text, choices, and no others."""
    fields = []
    for label in (result.modal or {})["components"]:
        part = label.get("component", {})
        if (label["type"], part.get("type")) not in ((LABEL, TEXT_INPUT), (LABEL, RADIO_GROUP)):
            raise UserFacingError("The demo cannot show that form.")
        fields.append(
            replace(
                _text_field(part) if part["type"] == TEXT_INPUT else _choice_field(part),
                label=label["label"],
                help=label.get("description") or "",
                is_required=part.get("required", True),
            )
        )
    return fields


def _text_field(part: Mapping[str, Any]) -> Field:
    return Field(
        part["custom_id"],
        label="",
        help="",
        look=Look.TEXT if part["style"] == PARAGRAPH else Look.LINE,
        value=part.get("value") or "",
        least=part.get("min_length"),
        most=part.get("max_length"),
    )


def _choice_field(part: Mapping[str, Any]) -> Field:
    options = part["options"]
    chosen = next((one["value"] for one in options if one.get("default")), "")
    values = tuple(one["value"] for one in options)
    return Field(part["custom_id"], label="", help="", look=Look.CHOICE, value=chosen, choices=values)


def option_field(option: app_commands.Parameter, world: World) -> Field:
    look = Look.NUMBER if option.type in NUMBERS else Look.LINE
    choices: tuple[str, ...] = ()
    if option.type in NAMED or option.choices:
        look, choices = Look.CHOICE, tuple(_choices(option, world))
    elif option.autocomplete:
        look = Look.SUGGESTIONS
    elif option.type is Kind.boolean:
        look = Look.CHECK
    elif option.type is Kind.attachment:
        look = Look.FILE
    return Field(
        option.display_name,
        option.display_name,
        option.description,
        look,
        is_required=option.required,
        choices=choices,
        least=option.min_value,
        most=option.max_value,
    )


def _choices(option: app_commands.Parameter, world: World) -> dict[str, Any]:
    if option.choices:
        return {choice.name: choice.value for choice in option.choices}
    named = world.named(option.type)
    if not option.channel_types:
        return named
    kinds = {name: world.env.bot.get_channel(channel.id).type for name, channel in named.items()}
    return {name: channel for name, channel in named.items() if kinds[name] in option.channel_types}


def read_options(
    command: app_commands.Command[Any, ..., Any], given: Mapping[str, Given], world: World
) -> dict[str, Any]:
    """Return the values of the options that were filled in; raises UserFacingError."""
    return {
        option.display_name: _read_option(option, given[option.display_name], world)
        for option in command.parameters
        if given.get(option.display_name)
    }


def _read_option(option: app_commands.Parameter, value: Given, world: World) -> Any:
    """Return the value as the simulator takes it, which checks its size."""
    name = option.display_name
    if isinstance(value, web.FileField):
        return without_nul(value.filename), value.file.read()
    if option.type is Kind.attachment:
        raise UserFacingError(f"Choose a file for `{name}` in the form of the command.")
    if option.type is Kind.boolean:
        return _one_of(name, value.capitalize(), {"True": True, "False": False})
    if option.choices or option.type in NAMED:
        return _one_of(name, value.lstrip("@#"), _choices(option, world))
    if option.type not in NUMBERS:
        return value
    try:
        return NUMBERS[option.type](value)
    except ValueError as error:
        raise UserFacingError(
            f"`{name}` is {'a number' if option.type is Kind.number else 'a whole number'}."
        ) from error


def _one_of(name: str, chosen: str, choices: Mapping[str, Any]) -> Any:
    if chosen not in choices:
        raise UserFacingError(f"`{name}` can be {', '.join(choices)}, and not {chosen}.")
    return choices[chosen]
