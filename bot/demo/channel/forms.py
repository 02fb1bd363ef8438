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

from bot.demo.channel.world import World
from bot.errors import UserFacingError

Kind = discord.AppCommandOptionType
Given = str | web.FileField
"""What a form sent for one field, or somebody typed."""
NUMBERS = {Kind.integer: int, Kind.number: float}
NAMED = (Kind.user, Kind.channel, Kind.role)
LABEL, TEXT_INPUT, PARAGRAPH = 18, 4, 2  # Discord's numbers
MOST_SHOWN = 25


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
    """Return the fields of a form that the bot opened; its forms have fields for text, and no others."""
    fields = []
    for label in (result.modal or {})["components"]:
        text = label.get("component", {})
        if (label["type"], text.get("type")) != (LABEL, TEXT_INPUT):
            raise UserFacingError("The demo cannot show that form.")
        fields.append(
            Field(
                text["custom_id"],
                label["label"],
                label.get("description") or "",
                Look.TEXT if text["style"] == PARAGRAPH else Look.LINE,
                is_required=text.get("required", True),
                value=text.get("value") or "",
                least=text.get("min_length"),
                most=text.get("max_length"),
            )
        )
    return fields


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
    if option.type is Kind.channel and option.channel_types:
        allowed = {kind.value for kind in option.channel_types}
        named = {name: channel for name, channel in named.items() if _type_of(channel) in allowed}
    return named


def _type_of(channel: Any) -> int:
    kind = discord.ChannelType.public_thread if channel.is_thread else discord.ChannelType.text
    return int(kind.value)


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
    name = option.display_name
    if option.type is Kind.attachment or isinstance(value, web.FileField):
        if not isinstance(value, web.FileField):
            raise UserFacingError(f"Choose a file for `{name}` in the form of the command.")
        return value.filename, value.file.read()
    if option.type is Kind.boolean:
        return _read_boolean(name, value)
    if option.type in NUMBERS:
        return _read_number(option, value)
    if not option.choices and option.type not in NAMED:
        _check_size(option, len(value), " characters")
        return value
    choices = _choices(option, world)
    if (chosen := value.lstrip("@#")) not in choices:
        raise UserFacingError(f"`{name}` can be {', '.join(list(choices)[:MOST_SHOWN])}, and not {value}.")
    return choices[chosen]


def _read_boolean(name: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise UserFacingError(f"`{name}` is either True or False.")
    return value.lower() == "true"


def _read_number(option: app_commands.Parameter, value: str) -> float:
    kind = NUMBERS[option.type]
    try:
        number = kind(value)
    except ValueError as error:
        what = "a whole number" if kind is int else "a number"
        raise UserFacingError(f"`{option.display_name}` is {what}.") from error
    _check_size(option, number)
    return number


def _check_size(option: app_commands.Parameter, size: float, unit: str = "") -> None:
    if option.min_value is not None and size < option.min_value:
        raise UserFacingError(f"`{option.display_name}` is at least {option.min_value:g}{unit}.")
    if option.max_value is not None and size > option.max_value:
        raise UserFacingError(f"`{option.display_name}` is at most {option.max_value:g}{unit}.")
